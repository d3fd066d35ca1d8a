"""One step of the default decoder for all beams of a search: four launches, no more arithmetic than there is.

What a context gives, to the gates of the next step and to the token scores, is the mixture of what its frames give,
which is computed once for all steps. `advance` moves the state by a token; ``products.linear`` takes the query, the
state's share of the next gates and of the token scores from it; ``attention.scores`` compares; `mix` finds the
alignments and adds up. The beams of an utterance stand side by side and share its keys and frames, which are nowhere
copied.
"""

from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from seq2seq_asr.kernels.attention import scores
from seq2seq_asr.kernels.cells import gru
from seq2seq_asr.kernels.products import linear
from seq2seq_asr.kernels.tiles import TILES, Tiles, bound, channel_tile


@triton.jit
@no_type_check
def advance(hidden, state, tokens, table, units, TD: tl.constexpr):
    """The recurrent state after a token; a program takes one row and a tile of units.

    Args:
        hidden: To be filled (N, D).
        state: (N, 5 D): sums of reset, update, new and what the reset gate scales, then the state before.
        tokens: (N).
        table: What every token gives to the gates (V, 3 D).
        units: D.
        TD: Units of a program.
    """
    row, unit = tl.program_id(0), tl.program_id(1) * TD + tl.arange(0, TD)
    known = unit < units
    given = table + tl.load(tokens + row) * 3 * units + unit
    own = state + row * 5 * units + unit
    reset = tl.load(given, known, 0.0) + tl.load(own, known, 0.0)
    update = tl.load(given + units, known, 0.0) + tl.load(own + units, known, 0.0)
    new = tl.load(given + 2 * units, known, 0.0) + tl.load(own + 2 * units, known, 0.0)
    inner, last = tl.load(own + 3 * units, known, 0.0), tl.load(own + 4 * units, known, 0.0)
    reset, update, new, inner, last, after = gru(reset, update, new, inner, last)
    tl.store(hidden + row * units + unit, after, known)


@triton.jit
@no_type_check
def mix(
    state, logits, alignment, energies, values, from_hidden, hidden, lengths,
    rows, frames, units, asked, vocabulary, TK: tl.constexpr, TS: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """Softmax, and the sums for the next gates and the token scores; a program takes an utterance and some columns.

    Args:
        state: To be filled; see `advance`.
        logits: Unnormalised scores of the tokens, to be filled (N, V).
        alignment: To be filled (N, S).
        energies: (N, S), minus infinity on padding.
        values: What every frame gives to gates and token scores (B, S, 3 D + V).
        from_hidden: What the state gives (N, A + 3 D + V): the query, then the same.
        hidden: After the step (N, D).
        lengths: Frames of each utterance (B), at least 1.
        rows: Beams of an utterance, N / B.
        frames: S.
        units: D.
        asked: A.
        vocabulary: V.
        TK: At least as many as beams.
        TS: Frames at a time.
        TX: Columns of a program.
    """
    utterance, tile = tl.program_id(0), tl.program_id(1)
    beam, columns = tl.arange(0, TK), 3 * units + vocabulary
    inside, row = beam < rows, utterance * rows + beam
    column = tile * TX + tl.arange(0, TX)
    length = tl.minimum(tl.load(lengths + utterance).to(tl.int32), frames)
    highest = tl.full((TK, TS), float("-inf"), tl.float32)
    for start in range(0, frames, TS):
        frame = start + tl.arange(0, TS)
        there = inside[:, None] & (frame < length)[None, :]
        highest = tl.maximum(highest, tl.load(energies + row[:, None] * frames + frame[None, :], there, float("-inf")))
    top, total = tl.where(inside, tl.max(highest, 1), 0.0), tl.zeros((TK, TS), tl.float32)
    for start in range(0, frames, TS):
        frame = start + tl.arange(0, TS)
        there = inside[:, None] & (frame < length)[None, :]
        energy = tl.load(energies + row[:, None] * frames + frame[None, :], there, float("-inf"))
        total += tl.exp(energy - top[:, None])
    scale = 1 / tl.where(inside, tl.sum(total, 1), 1.0)
    mixed = tl.zeros((TK, TX), tl.float32)
    for start in range(0, frames, TS):
        frame = start + tl.arange(0, TS)
        there = inside[:, None] & (frame < length)[None, :]
        energy = tl.load(energies + row[:, None] * frames + frame[None, :], there, float("-inf"))
        weight = tl.exp(energy - top[:, None]) * scale[:, None]
        if tile == 0:
            target = alignment + row[:, None] * frames + frame[None, :]
            tl.store(target, weight, inside[:, None] & (frame < frames)[None, :])
        place = (utterance * frames + frame).to(tl.int64)[:, None] * columns + column[None, :]
        value = tl.load(values + place, (frame < length)[:, None] & (column < columns)[None, :], 0.0)
        mixed = tl.dot(weight, value, mixed, input_precision="tf32x3")
    known = inside[:, None] & (column < columns)[None, :]
    own = tl.load(from_hidden + row[:, None] * (asked + columns) + asked + column[None, :], known, 0.0)
    is_new = ((column >= 2 * units) & (column < 3 * units))[None, :]  # the reset gate scales its own part alone
    total_gates = mixed + tl.where(is_new, 0.0, own)
    target = state + row[:, None] * 5 * units + column[None, :]
    tl.store(target, total_gates, known & (column < 3 * units)[None, :])
    tl.store(target + units, own, known & is_new)
    before = tl.load(hidden + row[:, None] * units + column[None, :], known & (column < units)[None, :], 0.0)
    tl.store(target + 4 * units, before, known & (column < units)[None, :])
    target = logits + row[:, None] * vocabulary + column[None, :] - 3 * units
    tl.store(target, total_gates, known & (column >= 3 * units)[None, :])


@triton.jit
@no_type_check
def log_softmax(result, logits, vocabulary, never, nor, TV: tl.constexpr):
    """Log probabilities of all tokens, minus infinity for two that are never emitted; a program takes one row.

    Args:
        result: To be filled (N, V).
        logits: (N, V).
        vocabulary: V.
        never: A token.
        nor: Another.
        TV: Tokens at a time.
    """
    row = tl.program_id(0).to(tl.int64) * vocabulary
    highest = tl.full((TV,), float("-inf"), tl.float32)
    for start in range(0, vocabulary, TV):
        token = start + tl.arange(0, TV)
        highest = tl.maximum(highest, tl.load(logits + row + token, token < vocabulary, float("-inf")))
    top, total = tl.max(highest), tl.zeros((TV,), tl.float32)
    for start in range(0, vocabulary, TV):
        token = start + tl.arange(0, TV)
        total += tl.exp(tl.load(logits + row + token, token < vocabulary, float("-inf")) - top)
    normaliser = top + tl.log(tl.sum(total))
    for start in range(0, vocabulary, TV):
        token = start + tl.arange(0, TV)
        found = tl.load(logits + row + token, token < vocabulary, 0.0) - normaliser
        emitted = (token != never) & (token != nor)
        tl.store(result + row + token, tl.where(emitted, found, float("-inf")), token < vocabulary)


WIDE = TILES._replace(batch=64, outputs=64, units=64)
"""Where rows are many: each part of a matrix is then read by fewer programs."""
_MANY = 128


class Weights(NamedTuple):
    """The decoder's, arranged, in float32."""

    table: Tensor  # (V, 3 D), what tokens give to the gates, with the gates' biases of the input
    state: Tensor  # (A + 3 D + V, D), from the state to query, gates and token scores
    state_bias: Tensor  # (A + 3 D + V)
    filters: Tensor  # (C, W)
    location: Tensor  # (A, C)
    score: Tensor  # (A)


class Utterances(NamedTuple):
    """What beams ask."""

    lengths: Tensor  # (B)
    keys: Tensor  # (B, S, A)
    values: Tensor  # (B, S, 3 D + V)


def search_step(
    weights: Weights, utterances: Utterances, tokens: Tensor, state: Tensor, alignment: Tensor, cut: Tiles | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Unnormalised token scores, state and alignments after a token of every row.

    Args:
        weights: The decoder's.
        utterances: What is asked; as many rows ask each, side by side.
        tokens: Last token of every row (N).
        state: See `advance` (N, 5 D); at first zeros, and the gates' bias in the place of what the reset gate scales.
        alignment: Of the step before (N, S).
        cut: How the work is cut up; by default as suits the number of rows.
    """
    cut = cut or (WIDE if len(tokens) >= _MANY else TILES)
    (outputs, units), count, (batch, frames, size) = weights.state.shape, len(tokens), utterances.keys.shape
    (channels, width), rows, vocabulary = weights.filters.shape, count // batch, len(weights.table)
    hidden, own, logits = (state.new_empty(count, wide) for wide in (units, outputs, vocabulary))
    energies, after, found = (torch.empty_like(one) for one in (alignment, state, alignment))
    located = state.new_empty(count, channels, frames)
    warps: Any = {"num_warps": cut.warps}
    with torch.cuda.device_of(state):
        advance[(count, triton.cdiv(units, 4 * cut.units))](
            hidden, state, tokens, weights.table, units, TD=4 * cut.units, **warps
        )
        linear[(triton.cdiv(outputs, cut.outputs), triton.cdiv(count, cut.batch))](
            own, hidden, weights.state, weights.state_bias, count, outputs, bound(units),
            TB=cut.batch, TN=cut.outputs, TK=cut.inner, **warps,
        )  # fmt: skip
        scores[(count, triton.cdiv(frames, cut.frames))](
            energies, located, utterances.keys, own, alignment, weights.filters, weights.location, weights.score,
            utterances.lengths, outputs, rows, 1, bound(frames), bound(size), channels, bound(width), 1.0,
            LOCATED=True, DOT=False, TS=cut.frames, TA=cut.size, TC=channel_tile(channels), TW=cut.taps, **warps,
        )  # fmt: skip
        mix[(batch, triton.cdiv(3 * units + vocabulary, cut.units))](
            after, logits, found, energies, utterances.values, own, hidden, utterances.lengths,
            rows, bound(frames), units, size, vocabulary,
            TK=max(16, triton.next_power_of_2(rows)), TS=cut.mixed, TX=cut.units, **warps,
        )  # fmt: skip
    return logits, after, found


def emitted_log_probs(logits: Tensor, never: int, nor: int) -> Tensor:
    """Log-softmax of every row in float32, minus infinity for two tokens that are never emitted."""
    result = logits.new_empty(logits.shape, dtype=torch.float32)
    with torch.cuda.device_of(logits):
        log_softmax[(len(logits),)](result, logits, bound(logits.shape[1]), never, nor, TV=1024, num_warps=4)
    return result
