"""A recurrent layer in one launch, forward and backward: programs that stay for the whole sequence.

A program owns ``UNITS`` hidden units of one direction for a tile of ``ROWS`` utterances and keeps its slice of the
recurrent matrix on its multiprocessor. At every step it waits for the others of its group (direction and tile), reads
what they have written, past the first-level cache, multiplies, updates its own units, writes them and reports; what
nobody waits for is stored last. All programs must therefore run at once. Nothing may be software-pipelined over steps
(``num_stages=1``): a load must not pass a wait. Two slots for what is exchanged suffice: who writes one knows that all
have read what it held.

In Triton's interpreter, where programs run one after the other, a program has all units and nobody waits (``MEET``
false); its loops want a number of steps that is a constant (``STEPS``), where a GPU takes the longest utterance of the
tile (``STEPS`` 0) and compiles once.

Shapes, contiguous, in memory order (D directions, H units, G sums a unit, 4 or an Elman RNN's 1): ``given``, ``gates``,
``to_given`` (B, T, D, H, G); ``outputs``, ``cells``, ``to_outputs`` (B, T, D, H); ``weights`` (parts, D, H, G, H) in
bfloat16, the last dimension summed over; ``peepholes`` (D, 3, H); first and last states and their gradients (D, B, H)
in float32; ``exchange`` (2, D, all rows, ``WIDTH``), backward G times as wide, and ``counters`` (D, tiles): zero at
first, but for the output before the first step. ``gates`` and ``cells`` are not written past the end of an utterance;
the others that are written must be zero there before. An Elman RNN's gates are its outputs.
"""

from typing import no_type_check

import triton
import triton.language as tl

from seq2seq_asr.kernels.blocks import load_weights, over_warps, partial_product, terms
from seq2seq_asr.kernels.cells import ahead, back, load_peepholes
from seq2seq_asr.kernels.meeting import arrive, place, position, wait

RUN_TIME = ("B", "T", "first_direction", "first_tile", "tiles", "all_rows")
"""Arguments whose values must not make Triton compile anew."""


@triton.jit(do_not_specialize=RUN_TIME)
@no_type_check
def layer_forward(
    given, weights, peepholes, start, lengths, exchange, counters, outputs, gates, cells, last_output, last_memory,
    B, T, first_direction, first_tile, tiles, all_rows,
    CELL: tl.constexpr, PEEPHOLES: tl.constexpr, GATES: tl.constexpr, H: tl.constexpr,
    DIRECTIONS: tl.constexpr, UNITS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, WARPS: tl.constexpr,
    SPLIT: tl.constexpr, MEET: tl.constexpr, ON_GPU: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """All steps of a layer."""
    SLICES: tl.constexpr = (H + UNITS - 1) // UNITS
    direction, tile, part = place(first_direction, first_tile, tiles, SLICES)
    rows = tile * ROWS + tl.arange(0, ROWS)
    units = part * UNITS + tl.arange(0, UNITS)
    sums = GATES * part * UNITS + tl.arange(0, GATES * UNITS)
    length = tl.load(lengths + rows, mask=rows < B, other=0)
    longest = tl.max(length, axis=0)
    inside = (rows < B)[:, None] & (units < H)[None, :]
    inside_sums = (rows < B)[:, None] & (sums < GATES * H)[None, :]
    depth, column = terms(WIDTH, WARPS)[:, :, None], sums[None, None, :]
    here = (direction * GATES * H + column) * H + depth
    w, w_low = load_weights(weights, here, (column < GATES * H) & (depth < H), DIRECTIONS * GATES * H * H, SPLIT)
    pi, pf, po = load_peepholes(peepholes + direction * 3 * H, units[None, :], H)
    counter = counters + direction * (all_rows // ROWS) + tile
    slot = DIRECTIONS * all_rows * WIDTH
    exchange += (direction * all_rows + tile * ROWS) * WIDTH
    others = tl.arange(0, ROWS)[None, :, None] * WIDTH + terms(WIDTH, WARPS)[:, None, :]
    own = tl.arange(0, ROWS)[:, None] * WIDTH + units[None, :]
    state = (direction * B + rows)[:, None] * H + units[None, :]
    memory = tl.load(start + state, mask=inside, other=0.0)
    output = tl.load(exchange + own, mask=inside, other=0.0).to(tl.float32)
    for step in range(STEPS if STEPS else longest):
        running = (step < length)[:, None]
        at = (rows.to(tl.int64) * T + position(step, length, direction)) * DIRECTIONS + direction
        gate = at[:, None] * GATES * H + sums[None, :]
        x = tl.load(given + gate, mask=inside_sums & running, other=0.0).to(tl.float32)
        if MEET:
            wait(counter, step * SLICES, ON_GPU)
        h = tl.load(exchange + step % 2 * slot + others, cache_modifier=".cg")
        x += over_warps(partial_product(h, w, w_low, SPLIT, ON_GPU), ROWS, GATES * UNITS, WARPS)
        x, new, seen = ahead(x, memory, pi, pf, po, CELL, PEEPHOLES, ROWS, UNITS)
        memory = tl.where(running, new, memory)
        output = tl.where(running, seen, output)
        tl.store(exchange + (step + 1) % 2 * slot + own, output, mask=inside & (step + 1 < longest))
        if MEET:
            arrive(counter)
        hidden = at[:, None] * H + units[None, :]
        tl.store(outputs + hidden, output, mask=inside & running)
        if GATES > 1:
            tl.store(gates + gate, x, mask=inside_sums & running)
        if CELL == "lstm":
            tl.store(cells + hidden, memory, mask=inside & running)
    tl.store(last_output + state, output, mask=inside)
    tl.store(last_memory + state, memory, mask=inside)


@triton.jit(do_not_specialize=RUN_TIME)
@no_type_check
def layer_backward(
    to_outputs, to_last_output, to_last_memory, weights, peepholes, start, lengths, exchange, counters, gates, cells,
    to_given, to_start_output, to_start_memory,
    B, T, first_direction, first_tile, tiles, all_rows,
    CELL: tl.constexpr, PEEPHOLES: tl.constexpr, GATES: tl.constexpr, H: tl.constexpr,
    DIRECTIONS: tl.constexpr, UNITS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, WARPS: tl.constexpr,
    CHUNKS: tl.constexpr, SPLIT: tl.constexpr, MEET: tl.constexpr, ON_GPU: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """All steps in reverse: gradients by what is given, and by the states before the first step.

    A GRU reads its outputs as ``cells``, an Elman RNN also as ``gates``. ``to_start_output`` lacks what the sums of the
    first step give to it.
    """
    SLICES: tl.constexpr = (H + UNITS - 1) // UNITS
    DEPTH: tl.constexpr = GATES * WIDTH // CHUNKS
    direction, tile, part = place(first_direction, first_tile, tiles, SLICES)
    rows = tile * ROWS + tl.arange(0, ROWS)
    units = part * UNITS + tl.arange(0, UNITS)
    sums = GATES * part * UNITS + tl.arange(0, GATES * UNITS)
    length = tl.load(lengths + rows, mask=rows < B, other=0)
    longest = tl.max(length, axis=0)
    inside = (rows < B)[:, None] & (units < H)[None, :]
    inside_sums = (rows < B)[:, None] & (sums < GATES * H)[None, :]
    unit = units[None, None, :]
    w = ()
    w_low = ()
    for chunk in tl.static_range(CHUNKS):
        depth = terms(DEPTH, WARPS)[:, :, None] + chunk * DEPTH
        here = (direction * GATES * H + depth) * H + unit
        high, low = load_weights(weights, here, (unit < H) & (depth < GATES * H), DIRECTIONS * GATES * H * H, SPLIT)
        w = w + (high,)
        w_low = w_low + (low,)
    pi, pf, po = load_peepholes(peepholes + direction * 3 * H, units[None, :], H)
    counter = counters + direction * (all_rows // ROWS) + tile
    slot = DIRECTIONS * all_rows * GATES * WIDTH
    exchange += (direction * all_rows + tile * ROWS) * GATES * WIDTH
    others = tl.arange(0, ROWS)[None, :, None] * GATES * WIDTH + terms(DEPTH, WARPS)[:, None, :]
    own = tl.arange(0, ROWS)[:, None] * GATES * WIDTH + sums[None, :]
    state = (direction * B + rows)[:, None] * H + units[None, :]
    first = tl.load(start + state, mask=inside, other=0.0)
    to_output = tl.load(to_last_output + state, mask=inside, other=0.0)
    to_memory = tl.load(to_last_memory + state, mask=inside, other=0.0)
    for done in range(STEPS if STEPS else longest):
        step = (STEPS if STEPS else longest) - 1 - done
        running = (step < length)[:, None]
        at = (rows.to(tl.int64) * T + position(step, length, direction)) * DIRECTIONS + direction
        before = (rows.to(tl.int64) * T + position(step - 1, length, direction)) * DIRECTIONS + direction
        gate = at[:, None] * GATES * H + sums[None, :]
        hidden = at[:, None] * H + units[None, :]
        x = tl.load(gates + gate, mask=inside_sums & running, other=0.0).to(tl.float32)
        memory = tl.load(
            cells + before[:, None] * H + units[None, :], mask=inside & running & (step > 0), other=0.0
        ).to(tl.float32)
        memory += tl.where(step == 0, first, 0.0)
        seen = tl.load(to_outputs + hidden, mask=inside & running, other=0.0).to(tl.float32)
        new = memory
        if CELL == "lstm":
            new = tl.load(cells + hidden, mask=inside & running, other=0.0)
        if MEET:
            wait(counter, done * SLICES, ON_GPU)
        total = tl.zeros([WARPS, ROWS, UNITS], tl.float32)
        for chunk in tl.static_range(CHUNKS):
            later = tl.load(exchange + done % 2 * slot + chunk * DEPTH + others, cache_modifier=".cg")
            total += partial_product(later, w[chunk], w_low[chunk], SPLIT, ON_GPU)
        to_output += over_warps(total, ROWS, UNITS, WARPS)
        to_seen = tl.where(running, to_output + seen, 0.0)
        to_new = tl.where(running, to_memory, 0.0)
        x, to_past, to_past_memory = back(x, memory, new, to_seen, to_new, pi, pf, po, CELL, PEEPHOLES, ROWS, UNITS)
        to_output = tl.where(running, to_past, to_output)
        to_memory = tl.where(running, to_past_memory, to_memory)
        tl.store(exchange + (done + 1) % 2 * slot + own, x, mask=inside_sums & (step > 0))
        if MEET:
            arrive(counter)
        tl.store(to_given + gate, x, mask=inside_sums & running)
    tl.store(to_start_output + state, to_output, mask=inside)
    tl.store(to_start_memory + state, to_memory, mask=inside)
