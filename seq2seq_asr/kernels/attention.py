"""Energies of one attention step for all frames, nothing of size rows × frames × size in memory.

Additive, location-aware and dot-product energies of rows that ask and utterances that are asked; ``rows`` rows stand
side by side that ask one utterance (target steps or beams), which share its keys. A program takes one row, one head and
a tile of frames. The hyperbolic tangents are not kept: `attention_back` computes them again.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def tanh(x):
    """Hyperbolic tangent; exact at both ends, where the exponential is zero or infinite."""
    return 1 - 2 / (tl.exp(2 * x) + 1)


@triton.jit
@no_type_check
def location_features(
    previous, filters, frame, frames, length, channels, width, TS: tl.constexpr, TC: tl.constexpr, TW: tl.constexpr
):
    """Location features (TS, TC): each filter over the alignment before (Chorowski et al. 2015, equation 8)."""
    channel = tl.arange(0, TC)
    found = tl.zeros((TS, TC), tl.float32)
    for start in range(0, width, TW):
        tap = start + tl.arange(0, TW)
        place = frame[:, None] + tap[None, :] - width // 2
        there = (place >= 0) & (place < length) & (tap < width)[None, :]
        seen = tl.load(previous + place, there, 0.0)
        wanted = (tap < width)[:, None] & (channel < channels)[None, :]
        weight = tl.load(filters + channel[None, :] * width + tap[:, None], wanted, 0.0)
        found = tl.dot(seen, weight, found, input_precision="tf32x3")
    return found


@triton.jit
@no_type_check
def compared(key, query, features, location, part, size, channels, LOCATED: tl.constexpr, TC: tl.constexpr):
    """The tanh layer (TS, TA) of a tile of frames and the part of the attention size at ``part``."""
    argument = key + query[None, :]
    if LOCATED:
        channel = tl.arange(0, TC)
        wanted = (channel < channels)[:, None] & (part < size)[None, :]
        weight = tl.load(location + part[None, :] * channels + channel[:, None], wanted, 0.0)
        argument = tl.dot(features, weight, argument, input_precision="tf32x3")
    return tanh(argument)


@triton.jit
@no_type_check
def scores(
    energies, located, keys, query, previous, filters, location, score, lengths,
    query_stride, rows, heads, frames, size, channels, width, scale,
    LOCATED: tl.constexpr, DOT: tl.constexpr, TS: tl.constexpr, TA: tl.constexpr, TC: tl.constexpr, TW: tl.constexpr,
):  # fmt: skip
    """Energies (N, H, S) of N rows, minus infinity on padding; the location features (N, H, C, S) are kept.

    Args:
        energies: To be filled.
        located: To be filled where the attention is location-aware.
        keys: (B, S, H·A), float32 or bfloat16.
        query: (N, ≥ H·A), rows ``query_stride`` apart.
        previous: Alignment of the step before (N, H, S).
        filters: (H, C, W).
        location: (H, A, C).
        score: (H, A).
        lengths: (B), at least 1.
        query_stride: See above.
        rows: That ask one utterance, N / B.
        heads: H.
        frames: S.
        size: A.
        channels: C.
        width: W.
        scale: Factor of a dot product.
        LOCATED: Whether the alignment before is looked at.
        DOT: Whether query and key are multiplied in place of added.
        TS: Frames of a program.
        TA: Part of the size at a time.
        TC: At least C.
        TW: Filter taps at a time.
    """
    own, tile = tl.program_id(0), tl.program_id(1)
    row, head = own // heads, own % heads
    utterance = row // rows
    length = tl.minimum(tl.load(lengths + utterance).to(tl.int32), frames)
    frame = tile * TS + tl.arange(0, TS)
    inside = frame < length
    features = tl.zeros((TS, TC), tl.float32)
    if LOCATED:
        channel = tl.arange(0, TC)
        features = location_features(
            previous + own * frames,
            filters + head * channels * width,
            frame,
            frames,
            length,
            channels,
            width,
            TS,
            TC,
            TW,
        )
        there = (frame < frames)[:, None] & (channel < channels)[None, :]
        tl.store(located + (own * channels + channel[None, :]) * frames + frame[:, None], features, there)
    energy = tl.zeros((TS,), tl.float32)
    for start in range(0, size, TA):
        part = start + tl.arange(0, TA)
        place = ((utterance * frames + frame) * heads + head)[:, None] * size + part[None, :]
        key = tl.load(keys + place, inside[:, None] & (part < size)[None, :], 0.0).to(tl.float32)
        asked = tl.load(query + row * query_stride + head * size + part, part < size, 0.0)
        if DOT:
            energy += tl.sum(key * asked[None, :], 1) * scale
        else:
            weight = tl.load(score + head * size + part, part < size, 0.0)
            found = compared(key, asked, features, location + head * size * channels, part, size, channels, LOCATED, TC)
            energy += tl.sum(found * weight[None, :], 1)
    tl.store(energies + own * frames + frame, tl.where(inside, energy, float("-inf")), frame < frames)
