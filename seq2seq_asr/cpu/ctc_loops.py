"""The loops of ``cpu.ctc_prefix``: set up, score candidates, grow prefixes, in double precision.

Scoring sums probabilities, divided by the largest: posteriors are e^-600 at least, so what is lost, e^-708 of it, is
nothing beside the sum. Growing is the recursion itself, in logarithms, some prefixes side by side. Each prefix is
computed from its own frames alone, in an order that nothing else has a say in.
"""

from typing import no_type_check

import numpy as np

from seq2seq_asr.cpu.compiling import compiled

_NEVER = -np.inf
_LANES = 8
_CELLS = 6  # of a frame and lane: both forward variables, those before, the posteriors of token and blank
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # of 32 bits: exact times an exponent; and the rest
_TO_INTEGER = 1.5 * 2.0**52  # a double this large holds an integer in its lowest bits
_STRICT = {"contract", "nsz"}  # the terms of a series stay in their order


@compiled(fastmath=_STRICT, forceinline=True)
@no_type_check
def exp(x):
    """e^x for x <= 709, and 0 below -708: Taylor's series around the nearest multiple of ln 2."""
    inside = -708.0 if x < -708.0 else x
    power = np.floor(inside * (1 / np.log(2)) + 0.5)
    rest = inside - power * _LN2_HIGH - power * _LN2_LOW
    square = rest * rest
    even = square * (1 / 479001600) + 1 / 3628800  # even and odd powers at once: neither waits for the other
    even = even * square + 1 / 40320
    even = even * square + 1 / 720
    even = even * square + 1 / 24
    even = even * square + 1 / 2
    even = even * square + 1
    odd = square * (1 / 39916800) + 1 / 362880
    odd = odd * square + 1 / 5040
    odd = odd * square + 1 / 120
    odd = odd * square + 1 / 6
    odd = odd * square + 1
    scale = np.int64((np.float64(power + (_TO_INTEGER + 1023)).view(np.int64)) << np.int64(52)).view(np.float64)
    return 0.0 if x < -708.0 else (even + odd * rest) * scale


@compiled(fastmath=_STRICT, forceinline=True)
@no_type_check
def log(x):
    """Natural logarithm; minus infinity of what is no normal double."""
    bits = np.float64(x).view(np.int64)
    power = (bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52)  # from sqrt(1/2) to sqrt(2) it is 0
    near = np.int64(bits - (power << np.int64(52))).view(np.float64)
    exponent = np.float64(power)
    found = exponent * _LN2_HIGH + (_log_near_1(near - 1.0, near + 1.0) + exponent * _LN2_LOW)
    return found if x >= 2.0**-1022 else (_NEVER if x >= 0.0 else np.nan)


@compiled(fastmath=_STRICT, forceinline=True)
@no_type_check
def _log_near_1(less, more):
    """Logarithm of y from sqrt(1/2) to sqrt(2), given y - 1 and y + 1: 2 artanh of their ratio, Gregory's series."""
    ratio = less / more
    square = ratio * ratio
    fourth = square * square
    one = fourth * (2 / 17) + 2 / 13
    one = one * fourth + 2 / 9
    one = one * fourth + 2 / 5
    one = one * fourth + 2
    other = fourth * (2 / 19) + 2 / 15
    other = other * fourth + 2 / 11
    other = other * fourth + 2 / 7
    other = other * fourth + 2 / 3
    return ratio * (one + other * square)


@compiled(fastmath=_STRICT, forceinline=True)
@no_type_check
def add_logs(one, other):
    """Logarithm of the sum of two numbers whose logarithms are given."""
    top, low = (one, other) if one > other else (other, one)
    share = exp(low if low == _NEVER else low - top)
    double = share > 0.41421356237309515
    less, more = (0.5 * share - 0.5, 0.5 * share + 1.5) if double else (share, share + 2.0)
    return top + (_log_near_1(less, more) + (0.6931471805599453 if double else 0.0))


@compiled(fastmath=_STRICT)
@no_type_check
def fill(by_token, log_probs, lengths, lowest):
    """Probabilities of every token in all frames; 1 behind the last."""
    utterances, frames, vocabulary = log_probs.shape
    some = np.ones((_LANES, vocabulary))
    for row in range(utterances):
        length, own = min(lengths[row], frames), by_token[row * vocabulary : (row + 1) * vocabulary]
        for start in range(0, length, _LANES):
            many = min(_LANES, length - start)
            for lane in range(many):
                for token in range(vocabulary):
                    value = np.float64(log_probs[row, start + lane, token])
                    some[lane, token] = exp(lowest if value < lowest else value)
            for token in range(vocabulary):
                for lane in range(many):
                    own[token, start + lane] = some[lane, token]
        own[:, length:] = 1.0


@compiled(fastmath=_STRICT)
@no_type_check
def _greatest(logs):
    """Of all that are numbers; the lowest double where nothing is possible."""
    top = -1.7976931348623157e308
    for one in logs:
        top = one if one > top else top
    return top


@compiled()
@no_type_check
def _sum(emitted, weights):
    total = 0.0
    for frame in range(len(weights)):
        total += emitted[frame] * weights[frame]
    return total


@compiled(fastmath=_STRICT)
@no_type_check
def score(
    change, grown, candidates, by_token, lengths, silent, nonblank, blank, prefix, last, utterance, specials
):  # fmt: skip
    """Fill ``change`` and ``grown``; see ``kernels.ctc_prefix.score``."""
    (rows, count), vocabulary = candidates.shape, len(by_token) // len(lengths)
    room = np.empty(by_token.shape[1])
    for row in range(rows):
        own, told = utterance[row], prefix[row]
        length = lengths[own]
        weights, spoken, silence = room[:length], nonblank[row, :length], blank[row, :length]
        top_silence = _greatest(silence)
        top = max(_greatest(spoken), top_silence)
        for frame in range(length):
            weights[frame] = exp(spoken[frame] - top) + exp(silence[frame] - top)
        for column in range(count):
            token = candidates[row, column]
            grown[row, column] = _sum(by_token[own * vocabulary + token], weights)
        for column in range(count):
            grown[row, column] = log(grown[row, column]) + top
        for column in range(count):
            token = candidates[row, column]
            found = grown[row, column]
            if token == last[row]:  # only what ends in blank may go on
                for frame in range(length):
                    weights[frame] = exp(silence[frame] - top_silence)
                found = log(_sum(by_token[own * vocabulary + token], weights)) + top_silence
            if token == specials[2]:
                found = add_logs(nonblank[row, length], blank[row, length])
            if token == specials[0] or token == specials[1]:
                found = _NEVER
            found = told if told < found else found  # rounding must not let a longer prefix be more probable
            grown[row, column] = found
            change[row, column] = _NEVER if found == _NEVER else found - told


@compiled(fastmath=_STRICT)
@no_type_check
def grow(
    nonblank, blank, prefix, last, utterance, parents, candidates, grown, by_token, lengths, silent,
    nonblank_before, blank_before, prefix_before, last_before, utterance_before,
):  # fmt: skip
    """Fill the state of chosen candidates; see ``kernels.ctc_prefix.grow``."""
    (rows,), frames, (_, count) = parents.shape, by_token.shape[1], candidates.shape
    vocabulary = len(by_token) // len(lengths)
    cells = np.full((frames + 1) * _CELLS * _LANES, _NEVER)
    for start in range(0, rows, _LANES):
        many, longest = min(_LANES, rows - start), 0
        for lane in range(many):
            row = start + lane
            before = parents[row] // count
            column = parents[row] - before * count
            own, token = utterance_before[before], candidates[before, column]
            prefix[row], last[row], utterance[row] = grown[before, column], token, own
            longest, emitted = max(longest, lengths[own]), by_token[own * vocabulary + token]
            for frame in range(lengths[own]):
                here = frame * _CELLS * _LANES + lane
                repeats = token == last_before[before]  # then only what ends in blank may go on
                cells[here + 2 * _LANES] = _NEVER if repeats else nonblank_before[before, frame]
                cells[here + 3 * _LANES] = blank_before[before, frame]
                cells[here + 4 * _LANES] = emitted[frame]
                cells[here + 5 * _LANES] = silent[own, frame]
        _recur(cells, longest)
        for lane in range(many):
            row = start + lane
            known = lengths[utterance[row]] + 1
            for frame in range(known):
                here = frame * _CELLS * _LANES + lane
                nonblank[row, frame], blank[row, frame] = cells[here], cells[here + _LANES]
            nonblank[row, known:] = _NEVER
            blank[row, known:] = _NEVER


@compiled(fastmath=_STRICT)
@no_type_check
def _recur(cells, frames):
    """Forward variables frame by frame; a frame holds what `grow` puts there, of all lanes."""
    for frame in range(frames):
        here = frame * _CELLS * _LANES
        for lane in range(_LANES):
            ended, silent = cells[here + lane], cells[here + _LANES + lane]
            either = add_logs(cells[here + 2 * _LANES + lane], cells[here + 3 * _LANES + lane])
            emission, silence = log(cells[here + 4 * _LANES + lane]), cells[here + 5 * _LANES + lane]
            cells[here + 6 * _LANES + lane] = add_logs(ended, either) + emission
            cells[here + 7 * _LANES + lane] = add_logs(silent, ended) + silence
