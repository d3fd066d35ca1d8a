"""Where programs of one launch meet between two steps, and which of them does what."""

from typing import no_type_check

import triton
import triton.language as tl

POLL = tl.constexpr("""
{
    .reg .pred %later;
    .reg .u32 %thread, %seen;
    mov.u32 $0, 0;
    mov.u32 %thread, %tid.x;
    setp.ne.u32 %later, %thread, 0;
    @%later bra DONE;
AGAIN:
    ld.acquire.gpu.global.u32 %seen, [$1];
    setp.lt.u32 %later, %seen, $2;
    @%later bra AGAIN;
DONE:
}
""")
"""Thread 0 reads a counter until it has reached a value; labels and registers are local to the braces."""


@triton.jit
@no_type_check
def arrive(counter):
    """Report that this program's values of a step are written."""
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")


@triton.jit
@no_type_check
def wait(counter, target, ON_GPU: tl.constexpr = True):
    """Go on when as many reports have come in: what was written before them can then be read."""
    if ON_GPU:
        tl.inline_asm_elementwise(POLL, "=r,l,r", [counter.to(tl.int64), target], dtype=tl.int32, is_pure=False, pack=1)
        tl.debug_barrier()
    else:
        while tl.atomic_add(counter, 0) < target:
            pass


@triton.jit
@no_type_check
def place(first_direction, first_tile, tiles, SLICES: tl.constexpr):
    """Direction, tile and slice of this program."""
    group = tl.program_id(0) // SLICES
    return first_direction + group // tiles, first_tile + group % tiles, tl.program_id(0) % SLICES


@triton.jit
@no_type_check
def position(step, lengths, direction):
    """Frame that each utterance reads at a step; direction 1 starts at its last. Past the end: the frame itself."""
    return tl.where((direction == 1) & (step < lengths), lengths - 1 - step, step)
