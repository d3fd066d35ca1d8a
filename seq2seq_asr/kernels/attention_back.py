"""Gradients of `attention.scores`: of one step, and of what all steps share."""

from typing import no_type_check

import triton
import triton.language as tl

from seq2seq_asr.kernels.attention import compared


@triton.jit
@no_type_check
def scores_back(
    to_energies, to_query, to_located, alignment, to_alignment, keys, query, located, location, score, lengths,
    query_stride, count, rows, heads, frames, size, channels, scale,
    LOCATED: tl.constexpr, DOT: tl.constexpr, SOFTMAX: tl.constexpr,
    TS: tl.constexpr, TA: tl.constexpr, TC: tl.constexpr,
):  # fmt: skip
    """From the alignment's gradient to those of energies, query and location features.

    Args:
        to_energies: To be filled (N, H, S).
        to_query: To be filled (tiles, N, H·A): the sum over the frames of each tile.
        to_located: To be filled (N, H, C, S) where the attention is location-aware.
        alignment: (N, H, S); not read without SOFTMAX.
        to_alignment: (N, H, S); without SOFTMAX the gradient by the energies.
        keys: As in `scores`.
        query: As in `scores`.
        located: What `scores` has kept.
        location: As in `scores`.
        score: As in `scores`.
        lengths: As in `scores`.
        query_stride: As in `scores`.
        count: N.
        rows: As in `scores`.
        heads: H.
        frames: S.
        size: A.
        channels: C.
        scale: Factor of a dot product.
        LOCATED: As in `scores`.
        DOT: As in `scores`.
        SOFTMAX: Whether the way leads through the softmax.
        TS: Frames of a program.
        TA: Part of the size at a time.
        TC: At least C.
    """
    own, tile = tl.program_id(0), tl.program_id(1)
    row, head = own // heads, own % heads
    utterance = row // rows
    length = tl.minimum(tl.load(lengths + utterance).to(tl.int32), frames)
    frame, channel = tile * TS + tl.arange(0, TS), tl.arange(0, TC)
    inside = frame < length
    error = tl.load(to_alignment + own * frames + frame, inside, 0.0)
    if SOFTMAX:
        shared = tl.zeros((TS,), tl.float32)
        for start in range(0, frames, TS):
            other = start + tl.arange(0, TS)
            weight = tl.load(alignment + own * frames + other, other < length, 0.0)
            shared += weight * tl.load(to_alignment + own * frames + other, other < length, 0.0)
        error = tl.load(alignment + own * frames + frame, inside, 0.0) * (error - tl.sum(shared))
        tl.store(to_energies + own * frames + frame, error, frame < frames)
    there = inside[:, None] & (channel < channels)[None, :]
    place = (own * channels + channel[None, :]) * frames + frame[:, None]
    features, to_features = tl.zeros((TS, TC), tl.float32), tl.zeros((TS, TC), tl.float32)
    if LOCATED:
        features = tl.load(located + place, there, 0.0)
    for start in range(0, size, TA):
        part = start + tl.arange(0, TA)
        source = ((utterance * frames + frame) * heads + head)[:, None] * size + part[None, :]
        key = tl.load(keys + source, inside[:, None] & (part < size)[None, :], 0.0).to(tl.float32)
        if DOT:
            inner = error[:, None] * key * scale
        else:
            asked = tl.load(query + row * query_stride + head * size + part, part < size, 0.0)
            weight = tl.load(score + head * size + part, part < size, 0.0)
            found = compared(key, asked, features, location + head * size * channels, part, size, channels, LOCATED, TC)
            inner = error[:, None] * weight[None, :] * (1 - found * found)
            if LOCATED:
                wanted = (part < size)[:, None] & (channel < channels)[None, :]
                back = tl.load(location + (head * size + part[:, None]) * channels + channel[None, :], wanted, 0.0)
                to_features = tl.dot(inner, back, to_features, input_precision="tf32x3")
        target = to_query + ((tile * count + row) * heads + head) * size + part
        tl.store(target, tl.sum(inner, 0), part < size)
    if LOCATED:
        tl.store(to_located + place, to_features, (frame < frames)[:, None] & (channel < channels)[None, :])


@triton.jit
@no_type_check
def keys_back(
    to_keys, to_location, to_score, to_energies, keys, query, located, location, score, lengths,
    query_stride, steps, step_stride, batch_stride, heads, frames, size, channels, scale,
    LOCATED: tl.constexpr, DOT: tl.constexpr, TS: tl.constexpr, TA: tl.constexpr, TC: tl.constexpr,
):  # fmt: skip
    """Gradients of what all rows of an utterance share, summed over them: keys, and each tile's share of the weights.

    Row ``step * step_stride + utterance * batch_stride`` is an utterance's at this step.

    Args:
        to_keys: To be filled (B, S, H·A).
        to_location: To be filled (tiles, B, H, A, C) where the attention is location-aware.
        to_score: To be filled (tiles, B, H, A) where the attention is not a dot product.
        to_energies: (N, H, S).
        keys: As in `scores`.
        query: As in `scores`.
        located: What `scores` has kept.
        location: As in `scores`.
        score: As in `scores`.
        lengths: As in `scores`.
        query_stride: As in `scores`.
        steps: Rows of an utterance, N / B.
        step_stride: See above.
        batch_stride: See above.
        heads: H.
        frames: S.
        size: A.
        channels: C.
        scale: Factor of a dot product.
        LOCATED: As in `scores`.
        DOT: As in `scores`.
        TS: Frames of a program.
        TA: Part of the size of a program.
        TC: At least C.
    """
    own, tile = tl.program_id(0), tl.program_id(1)
    utterance, head = own // heads, own % heads
    length = tl.minimum(tl.load(lengths + utterance).to(tl.int32), frames)
    frame, channel = tile * TS + tl.arange(0, TS), tl.arange(0, TC)
    part = tl.program_id(2) * TA + tl.arange(0, TA)
    inside, wanted = frame < length, part < size
    place = ((utterance * frames + frame) * heads + head)[:, None] * size + part[None, :]
    key = tl.load(keys + place, inside[:, None] & wanted[None, :], 0.0).to(tl.float32)
    features, total = tl.zeros((TS, TC), tl.float32), tl.zeros((TS, TA), tl.float32)
    weight, to_weight = tl.zeros((TA,), tl.float32), tl.zeros((TS, TA), tl.float32)
    to_channels = tl.zeros((TA, TC), tl.float32)
    if not DOT:
        weight = tl.load(score + head * size + part, wanted, 0.0)
    for step in range(0, steps):
        row = step * step_stride + utterance * batch_stride
        error = tl.load(to_energies + (row * heads + head) * frames + frame, inside, 0.0)
        asked = tl.load(query + row * query_stride + head * size + part, wanted, 0.0)
        if DOT:
            total += error[:, None] * asked[None, :] * scale
        else:
            if LOCATED:
                source = ((row * heads + head) * channels + channel[None, :]) * frames + frame[:, None]
                features = tl.load(located + source, inside[:, None] & (channel < channels)[None, :], 0.0)
            found = compared(key, asked, features, location + head * size * channels, part, size, channels, LOCATED, TC)
            inner = error[:, None] * weight[None, :] * (1 - found * found)
            total += inner
            to_weight += error[:, None] * found
            if LOCATED:
                to_channels = tl.dot(tl.trans(inner), features, to_channels, input_precision="tf32x3")
    tl.store(to_keys + place, total, (frame < frames)[:, None] & wanted[None, :])
    share = (tile * tl.num_programs(0) + own) * size + part
    if not DOT:
        tl.store(to_score + share, tl.sum(to_weight, 0), wanted)
    if LOCATED:
        target = to_location + share[:, None] * channels + channel[None, :]
        tl.store(target, to_channels, wanted[:, None] & (channel < channels)[None, :])
