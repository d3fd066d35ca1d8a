"""Small matrix products inside the decoder's loop, and the filters' gradient behind it."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def linear(result, inputs, weight, bias, batch, outputs, inner, TB: tl.constexpr, TN: tl.constexpr, TK: tl.constexpr):
    """``inputs`` (B, K) times the transpose of ``weight`` (N, K), plus ``bias`` (N), into ``result`` (B, N).

    Args:
        result: To be filled.
        inputs: See above.
        weight: See above.
        bias: See above.
        batch: B.
        outputs: N.
        inner: K.
        TB: Rows of a program.
        TN: Columns of a program.
        TK: Summed at a time.
    """
    row, column = tl.program_id(1) * TB + tl.arange(0, TB), tl.program_id(0) * TN + tl.arange(0, TN)
    total = tl.zeros((TB, TN), tl.float32)
    for start in range(0, inner, TK):
        place = start + tl.arange(0, TK)
        there = (row < batch)[:, None] & (place < inner)[None, :]
        left = tl.load(inputs + row[:, None] * inner + place[None, :], there, 0.0)
        wanted = (column < outputs)[:, None] & (place < inner)[None, :]
        right = tl.load(weight + column[:, None] * inner + place[None, :], wanted, 0.0)
        total = tl.dot(left, tl.trans(right), total, input_precision="tf32x3")
    total += tl.load(bias + column, column < outputs, 0.0)[None, :]
    tl.store(
        result + row[:, None] * outputs + column[None, :], total, (row < batch)[:, None] & (column < outputs)[None, :]
    )


@triton.jit
@no_type_check
def linear_back(
    shares, to_state, to_query, weight, batch, tiles, asked, gated, units,
    SPLITS: tl.constexpr, TB: tl.constexpr, TD: tl.constexpr, TK: tl.constexpr,
):  # fmt: skip
    """Gradient by the state from those of all it gave: the query's, in tiles to be summed, and the gates'.

    Args:
        shares: To be filled (SPLITS, B, D): parts of the sum.
        to_state: The gates' gradients (B, ``asked`` + ``gated``); the query's summed ones are filled in before them.
        to_query: (tiles, B, ``asked``).
        weight: (``asked`` + ``gated``, D).
        batch: B.
        tiles: Of ``to_query``.
        asked: H·A.
        gated: 3 D.
        units: D.
        SPLITS: Programs that share the sum.
        TB: Rows of a program.
        TD: Columns of a program.
        TK: Summed at a time.
    """
    split = tl.program_id(1)
    row, unit = tl.program_id(2) * TB + tl.arange(0, TB), tl.program_id(0) * TD + tl.arange(0, TD)
    known, total = unit < units, tl.zeros((TB, TD), tl.float32)
    for start in range(0, asked, SPLITS * TK):
        place = start + split * TK + tl.arange(0, TK)
        there = (row < batch)[:, None] & (place < asked)[None, :]
        left = tl.zeros((TB, TK), tl.float32)
        for tile in range(0, tiles):
            left += tl.load(to_query + (tile * batch + row[:, None]) * asked + place[None, :], there, 0.0)
        if tl.program_id(0) == 0:
            tl.store(to_state + row[:, None] * (asked + gated) + place[None, :], left, there)
        right = tl.load(weight + place[:, None] * units + unit[None, :], (place < asked)[:, None] & known[None, :], 0.0)
        total = tl.dot(left, right, total, input_precision="tf32x3")
    for start in range(0, gated, SPLITS * TK):
        place = start + split * TK + tl.arange(0, TK)
        there = (row < batch)[:, None] & (place < gated)[None, :]
        left = tl.load(to_state + row[:, None] * (asked + gated) + asked + place[None, :], there, 0.0)
        wanted = (place < gated)[:, None] & known[None, :]
        right = tl.load(weight + (asked + place[:, None]) * units + unit[None, :], wanted, 0.0)
        total = tl.dot(left, right, total, input_precision="tf32x3")
    target = shares + (split * batch + row[:, None]) * units + unit[None, :]
    tl.store(target, total, (row < batch)[:, None] & known[None, :])


@triton.jit
@no_type_check
def filters_back(
    to_filters, to_located, previous, lengths, steps, batch, heads, frames, channels, width,
    TS: tl.constexpr, TC: tl.constexpr, TW: tl.constexpr,
):  # fmt: skip
    """Gradient of the location filters, summed over steps and frames, for each utterance and head on its own.

    Args:
        to_filters: To be filled (B, H, C, W).
        to_located: Gradients by the location features (U, B, H, C, S).
        previous: Alignment before each step (U, B, H, S).
        lengths: (B), at least 1.
        steps: U.
        batch: B.
        heads: H.
        frames: S.
        channels: C.
        width: W.
        TS: Frames at a time.
        TC: At least C.
        TW: Filter taps of a program.
    """
    own = tl.program_id(0)
    length = tl.minimum(tl.load(lengths + own // heads).to(tl.int32), frames)
    channel, tap = tl.arange(0, TC), tl.program_id(1) * TW + tl.arange(0, TW)
    total = tl.zeros((TC, TW), tl.float32)
    for step in range(0, steps):
        row = step * batch * heads + own
        for start in range(0, frames, TS):
            frame = start + tl.arange(0, TS)
            there = (channel < channels)[:, None] & (frame < length)[None, :]
            error = tl.load(to_located + (row * channels + channel[:, None]) * frames + frame[None, :], there, 0.0)
            place = frame[:, None] + tap[None, :] - width // 2
            there = (place >= 0) & (place < length) & (tap < width)[None, :] & (frame < length)[:, None]
            seen = tl.load(previous + row * frames + place, there, 0.0)
            total = tl.dot(error, seen, total, input_precision="tf32x3")
    target = to_filters + (own * channels + channel[:, None]) * width + tap[None, :]
    tl.store(target, total, (channel < channels)[:, None] & (tap < width)[None, :])
