"""The default decoder's step for a search on the CPU: what is between its matrix products, in three loops.

`advance` moves the state by a token, `attend` finds the alignment, `emitted_log_probs` adds up what state and frames
give; `products` has those. A row is computed in the same way whatever the others are.
The exponentials stand here because Numba's cache looks for changes in one file alone.
"""

from typing import no_type_check

import numpy as np

from seq2seq_asr.cpu.compiling import compiled, inlined

CHANNELS = 10
"""Location filters whose responses are added at a time; their number is a multiple of it."""
TAPS = 8
"""Weights of a filter that are looked at at a time; likewise."""
_F = np.float32
_NEVER = np.float32(-np.inf)


@inlined()
@no_type_check
def exp(x):
    """e^x, to 1e-7 of its value, for -87 <= x <= 88; beyond, as at these ends."""
    x = min(max(x, _F(-87.0)), _F(88.0))  # in this order of arguments a NaN stays one
    power = np.floor(x * _F(1.4426950408889634) + _F(0.5))
    rest = x - power * _F(0.693359375) + power * _F(2.12194440e-4)  # ln 2 in two parts, the first exact in few bits
    series = _F(1 / 5040)
    series = series * rest + _F(1 / 720)
    series = series * rest + _F(1 / 120)
    series = series * rest + _F(1 / 24)
    series = series * rest + _F(1 / 6)
    series = series * rest + _F(0.5)
    series = series * rest + _F(1)
    series = series * rest + _F(1)
    return series * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined()
@no_type_check
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return _F(1) / (_F(1) + exp(-x))


@inlined()
@no_type_check
def tanh(x):
    """Hyperbolic tangent, to 4e-7 of its value: x P(x²) / Q(x²), fitted where the quotient is not yet 1 in float32."""
    x = min(max(x, _F(-8.0)), _F(8.0))
    square = x * x
    over = _F(2.3510614764852686e-11)
    over = over * square + _F(-1.4705034245588548e-08)
    over = over * square + _F(9.878940783443376e-06)
    over = over * square + _F(0.002985893460556166)
    over = over * square + _F(0.12979253064270074)
    over = over * square + _F(0.9999999811984466)
    under = _F(0.00023720754505378086)
    under = under * square + _F(0.024028054616223413)
    under = under * square + _F(0.4631256915648652)
    under = under * square + _F(1)
    return x * over / under


@compiled()
@no_type_check
def advance(hidden, before, parents, tokens, table):
    """The recurrent state after a token of every row.

    Args:
        hidden: To be filled (N, D).
        before: Of the rows that these go on from: the state (P, D), what it gives to query, gates (reset, update, new)
            and token scores (P, A + 3 D + V), what the frames give to the latter two (P, 3 D + V).
        parents: Which of them each row goes on from (N).
        tokens: (N).
        table: What every token gives to the gates (V, 3 D).

    Raises:
        IndexError: There is no such token.
    """
    states, from_hidden, mixed = before
    units, asked = hidden.shape[1], from_hidden.shape[1] - mixed.shape[1]
    for row in range(len(hidden)):
        if not 0 <= tokens[row] < len(table):
            raise IndexError("no such token")
        parent, after = parents[row], hidden[row]
        last, own, mix, given = states[parent], from_hidden[parent, asked:], mixed[parent], table[tokens[row]]
        own_reset, own_update, own_new = own[:units], own[units : 2 * units], own[2 * units : 3 * units]
        mix_reset, mix_update, mix_new = mix[:units], mix[units : 2 * units], mix[2 * units : 3 * units]
        given_reset, given_update, given_new = given[:units], given[units : 2 * units], given[2 * units :]
        for unit in range(units):
            reset = sigmoid(given_reset[unit] + mix_reset[unit] + own_reset[unit])
            update = sigmoid(given_update[unit] + mix_update[unit] + own_update[unit])
            new = tanh(given_new[unit] + mix_new[unit] + reset * own_new[unit])
            after[unit] = new + update * (last[unit] - new)


@compiled()
@no_type_check
def _softmax(alignment, energies):
    """Exponentials divided by their sum; returns the place of the largest."""
    peak = 0
    for frame in range(1, len(energies)):
        if energies[frame] > energies[peak]:
            peak = frame
    total, top = _F(0), energies[peak]
    for frame in range(len(energies)):
        alignment[frame] = exp(energies[frame] - top)
        total += alignment[frame]
    scale = _F(1) / total
    for frame in range(len(energies)):
        alignment[frame] *= scale
    return peak


@compiled()
@no_type_check
def _filter(responses, padded, filters):
    """What filters (C, W) make of an alignment between zeros, frame by frame (C, S)."""
    responses[:] = _F(0)
    for channel in range(len(filters)):
        response = responses[channel]
        for first in range(0, filters.shape[1], TAPS):
            weights, shifted = filters[channel, first : first + TAPS], padded[first:]
            for frame in range(len(response)):
                total = response[frame]
                for tap in range(TAPS):
                    total += weights[tap] * shifted[frame + tap]
                response[frame] = total


@inlined()
@no_type_check
def _located(asked, responses, location, place):
    """The sum that goes into the tanh, with one group of responses."""
    for channel in range(CHANNELS):
        asked += responses[channel] * location[channel, place]
    return asked


@compiled()
@no_type_check
def _compare(energies, query, keys, responses, location, score):
    """Energies of frames (S): of keys (S, A), and of responses (C, S) by way of their weights (C, A)."""
    asked = np.empty_like(score)
    for frame in range(len(energies)):
        key, response = keys[frame], responses[:, frame]
        for place in range(len(asked)):
            asked[place] = _located(query[place] + key[place], response, location, place)
        for first in range(CHANNELS, len(location), CHANNELS):
            more, weights = response[first:], location[first:]
            for place in range(len(asked)):
                asked[place] = _located(asked[place], more, weights, place)
        energy = _F(0)
        for place in range(len(asked)):
            energy += score[place] * tanh(asked[place])
        energies[frame] = energy


@compiled()
@no_type_check
def attend(alignment, peaks, from_hidden, before, parents, keys, lengths, filters, location, score):
    """Location-aware energies, their softmax over the frames of an utterance and its peak.

    Args:
        alignment: To be filled (N, S); zero on padding.
        peaks: To be filled (N): the frame with the largest weight.
        from_hidden: What the state gives (N, A + 3 D + V), the query first.
        before: Alignments of the rows that these go on from (P, S).
        parents: Which of them each row goes on from (N).
        keys: (B, S, A), each for N / B rows side by side.
        lengths: Frames of each utterance (B), at least 1.
        filters: (C, W); the first ``W // 2`` weights of each are for the frames before.
        location: Weights of the filters' responses (C, A).
        score: (A).
    """
    (count, frames), (channels, width) = alignment.shape, filters.shape
    rows, half, whole = count // len(lengths), width // 2, (frames + 15) // 16 * 16  # whole vectors: all in one way
    padded, energies = np.zeros(whole + width, np.float32), np.empty(frames, np.float32)
    responses = np.empty((channels, whole), np.float32)
    for row in range(count):
        utterance, query = row // rows, from_hidden[row, : len(score)]
        length = lengths[utterance]
        padded[half : half + frames] = before[parents[row]]
        _filter(responses, padded, filters)
        _compare(energies[:length], query, keys[utterance], responses, location, score)
        peaks[row] = _softmax(alignment[row, :length], energies[:length])
        alignment[row, length:] = _F(0)


@compiled()
@no_type_check
def emitted_log_probs(log_probs, from_hidden, mixed, never, nor):
    """Log probabilities of all tokens, minus infinity for two that are never emitted.

    Args:
        log_probs: To be filled (N, V).
        from_hidden: What the state gives; the token scores last.
        mixed: What the frames give; the token scores last.
        never: A token.
        nor: Another.
    """
    vocabulary = log_probs.shape[1]
    for row in range(len(log_probs)):
        scores = log_probs[row]
        own, mix = from_hidden[row, from_hidden.shape[1] - vocabulary :], mixed[row, mixed.shape[1] - vocabulary :]
        top, total = _NEVER, _F(0)
        for token in range(vocabulary):
            scores[token] = own[token] + mix[token]
            top = max(top, scores[token])
        for token in range(vocabulary):
            total += exp(scores[token] - top)
        normaliser = top + np.log(total)
        for token in range(vocabulary):
            scores[token] -= normaliser
        scores[never] = scores[nor] = _NEVER
