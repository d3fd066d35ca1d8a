"""Gradients of `mixing.recur`: through the gates and the mixture to the alignment of the step before."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _gates_back(
    utterance, unit, known, batch, units, asked, to_hidden, shares, carried, activations, before, from_state,
    SPLITS: tl.constexpr,
):  # fmt: skip
    """Gradients (TD) by reset, update, new and by what the state gave to new; and what passes the gates."""
    place = utterance * units + unit
    error = tl.load(to_hidden + place, known, 0.0) + tl.load(carried + place, known, 0.0)
    for split in tl.static_range(SPLITS):
        error += tl.load(shares + split * batch * units + place, known, 0.0)
    gate = activations + utterance * 3 * units + unit
    reset, update = tl.load(gate, known, 0.0), tl.load(gate + units, known, 0.0)
    new, last = tl.load(gate + 2 * units, known, 0.0), tl.load(before + place, known, 0.0)
    inner = tl.load(from_state + utterance * (asked + 3 * units) + asked + 2 * units + unit, known, 0.0)
    kept = error * update
    to_new = (error - kept) * (1 - new * new)
    return to_new * inner * reset * (1 - reset), kept * (1 - update) * (last - new), to_new, to_new * reset, kept


@triton.jit
@no_type_check
def _filters_back(to_located, filters, frame, length, frames, channels, width, TS: tl.constexpr, TW: tl.constexpr):
    """Gradient (TS) by the alignment that the location filters have seen."""
    total = tl.zeros((TS, TW), tl.float32)
    for channel in range(0, channels):
        for start in range(0, width, TW):
            tap = start + tl.arange(0, TW)
            place = frame[:, None] - tap[None, :] + width // 2
            there = (place >= 0) & (place < length) & (tap < width)[None, :]
            error = tl.load(to_located + channel * frames + place, there, 0.0)
            total += error * tl.load(filters + channel * width + tap, tap < width, 0.0)[None, :]
    return tl.sum(total, 1)


@triton.jit
@no_type_check
def recur_back(
    to_alignment, to_input, to_state, kept, to_hidden, shares, carried, activations, before, from_state, frames_gates,
    to_located, filters, lengths, batch, heads, frames, units, asked, channels, width,
    MIXED: tl.constexpr, LOCATED: tl.constexpr, SPLITS: tl.constexpr, TS: tl.constexpr, TD: tl.constexpr,
    TW: tl.constexpr,
):  # fmt: skip
    """Through `recur`, and through the location features of the same step, to the alignment of the step before.

    A program takes one utterance, one head and a tile of frames. Each computes the gates' errors, the first stores
    them.

    Args:
        to_alignment: To be added to (B, H, S): gradient by the alignment that was mixed.
        to_input: To be filled (B, 3 D): by what token and context gave to the gates.
        to_state: To be filled from ``asked`` on (B, ``asked`` + 3 D): by what the state before gave to them.
        kept: To be filled (B, D): what goes past the gates to the state before.
        to_hidden: The outer gradient by the state after the step (B, D).
        shares: The same from the step behind, in parts to be summed (SPLITS, B, D).
        carried: The same from the step behind past its gates (B, D).
        activations: What `recur` has kept.
        before: As in `recur`.
        from_state: As in `recur`.
        frames_gates: As in `recur`.
        to_located: Gradient by this step's location features (B, H, C, S).
        filters: (H, C, W).
        lengths: As in `recur`.
        batch: B.
        heads: H.
        frames: S.
        units: D.
        asked: H·A.
        channels: C.
        width: W.
        MIXED: Whether there is an alignment before; without, the gates alone are computed.
        LOCATED: Whether the attention is location-aware.
        SPLITS: Parts of ``shares``.
        TS: Frames of a program.
        TD: Units at a time.
        TW: Filter taps at a time.
    """
    own, tile = tl.program_id(0), tl.program_id(1)
    utterance, head = own // heads, own % heads
    length = tl.minimum(tl.load(lengths + utterance).to(tl.int32), frames)
    frame = tile * TS + tl.arange(0, TS)
    found = tl.zeros((TS, TD), tl.float32)
    for start in range(0, units, TD):
        unit = start + tl.arange(0, TD)
        known = unit < units
        to_reset, to_update, to_new, to_inner, past = _gates_back(
            utterance, unit, known, batch, units, asked, to_hidden, shares, carried, activations, before, from_state,
            SPLITS,
        )  # fmt: skip
        if (tile == 0) & (head == 0):
            given = to_input + utterance * 3 * units + unit
            state = to_state + utterance * (asked + 3 * units) + asked + unit
            tl.store(given, to_reset, known)
            tl.store(given + units, to_update, known)
            tl.store(given + 2 * units, to_new, known)
            tl.store(state, to_reset, known)
            tl.store(state + units, to_update, known)
            tl.store(state + 2 * units, to_inner, known)
            tl.store(kept + utterance * units + unit, past, known)
        if MIXED:
            place = (own * frames + frame).to(tl.int64)[:, None] * 3 * units + unit[None, :]
            there = (frame < length)[:, None] & known[None, :]
            found += to_reset[None, :] * tl.load(frames_gates + place, there, 0.0).to(tl.float32)
            found += to_update[None, :] * tl.load(frames_gates + place + units, there, 0.0).to(tl.float32)
            found += to_new[None, :] * tl.load(frames_gates + place + 2 * units, there, 0.0).to(tl.float32)
    if MIXED:
        error = tl.sum(found, 1)
        if LOCATED:
            error += _filters_back(
                to_located + own * channels * frames, filters + head * channels * width, frame, length, frames,
                channels, width, TS, TW,
            )  # fmt: skip
        target = to_alignment + own * frames + frame
        tl.store(target, tl.load(target, frame < length, 0.0) + error, frame < frames)
