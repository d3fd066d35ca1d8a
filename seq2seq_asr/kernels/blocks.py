"""Products that are shared out among warps, and blocks of gates that lie side by side.

Each warp takes its share of the terms of a sum, so that none holds or reads what another does. Tensor cores multiply
values of 16 bits; a value of 32 bits is the sum of two of them, good to 16 bits of fraction (Henry et al. 2019).
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def terms(DEPTH: tl.constexpr, WARPS: tl.constexpr):
    """Places in a sum of ``DEPTH`` terms, a row a warp."""
    PART: tl.constexpr = DEPTH // WARPS
    return tl.arange(0, WARPS)[:, None] * PART + tl.arange(0, PART)[None, :]


@triton.jit
@no_type_check
def load_weights(weights, at, mask, low, SPLIT: tl.constexpr):
    """Weights of 16 bits and, where they are split in two, the low parts, ``low`` further on in memory."""
    w = tl.load(weights + at, mask=mask, other=0.0)
    w_low = w
    if SPLIT:
        w_low = tl.load(weights + at + low, mask=mask, other=0.0)
    return w, w_low


@triton.jit
@no_type_check
def partial_product(x, w, w_low, SPLIT: tl.constexpr, ON_GPU: tl.constexpr):
    """Every warp's share ``(WARPS, M, DEPTH / WARPS)`` times its part of the weights, to be added up over warps.

    Where values are split in two, the product of the low parts is left out.
    """
    none = tl.zeros([x.shape[0], x.shape[1], w.shape[2]], tl.float32)
    if SPLIT:
        high = x.to(tl.bfloat16)
        low = (x - high.to(tl.float32)).to(tl.bfloat16)
        total = dot(high, w, dot(high, w_low, dot(low, w, none, ON_GPU), ON_GPU), ON_GPU)
    else:
        total = dot(x, w, none, ON_GPU)
    return total


@triton.jit
@no_type_check
def dot(a, b, total, ON_GPU: tl.constexpr):
    """Add the product of values of 16 bits to ``total``.

    The interpreter of Triton 3.6 would multiply their bit patterns.
    """
    if ON_GPU:
        total = tl.dot(a, b, total)
    else:
        total = tl.dot(a.to(tl.float32), b.to(tl.float32), total)
    return total


@triton.jit
@no_type_check
def quarters(x, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """Columns ``4 u + g`` of ``(ROWS, 4 UNITS)`` as four blocks, one a gate g."""
    even, odd = tl.split(tl.reshape(x, [ROWS, UNITS, 2, 2]))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
@no_type_check
def side_by_side(first, second, third, fourth, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """The inverse of `quarters`."""
    return tl.reshape(tl.join(tl.join(first, third), tl.join(second, fourth)), [ROWS, 4 * UNITS])


@triton.jit
@no_type_check
def over_warps(x, M: tl.constexpr, N: tl.constexpr, WARPS: tl.constexpr):
    """Sum ``(M, N)`` of the shares ``(WARPS, M, N)`` of 4 or 8 warps, added up two and two.

    ``tl.sum`` over warps would take ten times as many shuffles between threads.
    """
    x = tl.permute(x, 1, 2, 0)
    if WARPS == 8:
        first, second = tl.split(tl.reshape(x, [M, N, 4, 2]))
        x = first + second
    first, second = tl.split(tl.reshape(x, [M, N, 2, 2]))
    first, second = tl.split(first + second)
    return first + second
