"""One recurrent step of the decoder: softmax, the mixed frames, the gates.

The frames come multiplied with the gates' weights of the context, which is done once for all steps: what a context
gives to the gates is then the mixture of what its frames give, and a step needs no product with that matrix.
"""

from typing import no_type_check

import triton
import triton.language as tl

from seq2seq_asr.kernels.attention import tanh


@triton.jit
@no_type_check
def recur(
    hidden, activations, alignment, energies, frames_gates, gates, from_state, before, lengths,
    heads, frames, units, asked, FIRST: tl.constexpr, TS: tl.constexpr, TD: tl.constexpr,
):  # fmt: skip
    """One step of a GRU (Cho et al. 2014; the reset gate behind the product, as cuDNN's) that is fed a mixture.

    A program takes one utterance and a tile of hidden units; each computes the softmax, which is short.

    Args:
        hidden: To be filled (B, D): the state after the step.
        activations: To be filled (B, 3 D): reset, update, new.
        alignment: To be filled (B, H, S): the softmax of the energies.
        energies: Of the step before (B, H, S), minus infinity on padding.
        frames_gates: What every frame gives to the gates (B, H, S, 3 D), float32 or bfloat16.
        gates: What the token gives to the gates, bias included (B, 3 D).
        from_state: What the state before gives (B, ``asked`` + 3 D): the query, then the gates.
        before: The state before the step (B, D).
        lengths: (B), at least 1.
        heads: H.
        frames: S.
        units: D.
        asked: H·A.
        FIRST: No context yet: energies and alignment are left alone.
        TS: Frames at a time.
        TD: Units of a program.
    """
    utterance, tile = tl.program_id(0), tl.program_id(1)
    unit = tile * TD + tl.arange(0, TD)
    known = unit < units
    to_reset, to_update, to_new = (
        tl.zeros((TS, TD), tl.float32),
        tl.zeros((TS, TD), tl.float32),
        tl.zeros((TS, TD), tl.float32),
    )
    if not FIRST:
        length = tl.minimum(tl.load(lengths + utterance).to(tl.int32), frames)
        for head in range(0, heads):
            row = energies + (utterance * heads + head) * frames
            highest = tl.full((TS,), float("-inf"), tl.float32)
            for start in range(0, frames, TS):
                frame = start + tl.arange(0, TS)
                highest = tl.maximum(highest, tl.load(row + frame, frame < length, float("-inf")))
            top = tl.max(highest)
            total = tl.zeros((TS,), tl.float32)
            for start in range(0, frames, TS):
                frame = start + tl.arange(0, TS)
                total += tl.exp(tl.load(row + frame, frame < length, float("-inf")) - top)
            scale = 1 / tl.sum(total)
            for start in range(0, frames, TS):
                frame = start + tl.arange(0, TS)
                weight = tl.exp(tl.load(row + frame, frame < length, float("-inf")) - top) * scale
                if tile == 0:
                    tl.store(alignment + (utterance * heads + head) * frames + frame, weight, frame < frames)
                place = ((utterance * heads + head) * frames + frame).to(tl.int64)[:, None] * 3 * units + unit[None, :]
                there = (frame < length)[:, None] & known[None, :]
                to_reset += weight[:, None] * tl.load(frames_gates + place, there, 0.0).to(tl.float32)
                to_update += weight[:, None] * tl.load(frames_gates + place + units, there, 0.0).to(tl.float32)
                to_new += weight[:, None] * tl.load(frames_gates + place + 2 * units, there, 0.0).to(tl.float32)
    given = gates + utterance * 3 * units + unit
    state = from_state + utterance * (asked + 3 * units) + asked + unit
    last = tl.load(before + utterance * units + unit, known, 0.0)
    reset = tl.sigmoid(tl.sum(to_reset, 0) + tl.load(given, known, 0.0) + tl.load(state, known, 0.0))
    update = tl.sum(to_update, 0) + tl.load(given + units, known, 0.0) + tl.load(state + units, known, 0.0)
    update = tl.sigmoid(update)
    inner = tl.load(state + 2 * units, known, 0.0)
    new = tanh(tl.sum(to_new, 0) + tl.load(given + 2 * units, known, 0.0) + reset * inner)
    kept = activations + utterance * 3 * units + unit
    tl.store(kept, reset, known)
    tl.store(kept + units, update, known)
    tl.store(kept + 2 * units, new, known)
    tl.store(hidden + utterance * units + unit, new + update * (last - new), known)
