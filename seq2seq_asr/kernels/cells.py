"""One step of a cell, value by value, forward and backward: what is left when the products are done.

An LSTM has four sums a unit, its gates in the library's order: input, forget, candidate, output; its memory is apart
from its output. So has a GRU: reset, update, what the input gives to the candidate, and what the last output gives to
it (bias included), which the reset gate scales, as in cuDNN; its memory is its output. An Elman RNN has one sum, whose
tanh or ReLU is its output and its memory.
"""

from typing import no_type_check

import triton
import triton.language as tl

from seq2seq_asr.kernels.blocks import quarters, side_by_side


@triton.jit
@no_type_check
def tanh(x):
    """Hyperbolic tangent."""
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
@no_type_check
def load_peepholes(peepholes, units, H: tl.constexpr):
    """Peepholes ``(3, H)`` of an LSTM's input, forget and output gate to their units' own memory."""
    mask = units < H
    pi = tl.load(peepholes + units, mask=mask, other=0.0)
    pf = tl.load(peepholes + H + units, mask=mask, other=0.0)
    po = tl.load(peepholes + 2 * H + units, mask=mask, other=0.0)
    return pi, pf, po


@triton.jit
@no_type_check
def lstm(i, f, g, o, memory, pi, pf, po, PEEPHOLES: tl.constexpr):
    """Gates, new memory and output; with ``PEEPHOLES`` 1 the output gate sees the new memory, with 2 the old one."""
    if PEEPHOLES:
        i += pi * memory
        f += pf * memory
    i, f, g = tl.sigmoid(i), tl.sigmoid(f), tanh(g)
    new = f * memory + i * g
    if PEEPHOLES == 1:
        o += po * new
    if PEEPHOLES == 2:
        o += po * memory
    o = tl.sigmoid(o)
    return i, f, g, o, new, o * tanh(new)


@triton.jit
@no_type_check
def lstm_back(i, f, g, o, memory, new, to_output, to_new, pi, pf, po, PEEPHOLES: tl.constexpr):
    """Gradients by the four sums, and by output and memory before the step as far as they go past the gates' sums.

    Args:
        i: Input gate.
        f: Forget gate.
        g: Candidate.
        o: Output gate.
        memory: Before the step.
        new: Memory after it.
        to_output: Gradient by the output.
        to_new: Gradient by the new memory, from later steps.
        pi: Peephole of the input gate.
        pf: Of the forget gate.
        po: Of the output gate.
        PEEPHOLES: As in `lstm`.
    """
    squashed = tanh(new)
    to_o = to_output * squashed * o * (1 - o)
    to_new += to_output * o * (1 - squashed * squashed)
    if PEEPHOLES == 1:
        to_new += to_o * po
    to_i = to_new * g * i * (1 - i)
    to_f = to_new * memory * f * (1 - f)
    to_g = to_new * i * (1 - g * g)
    to_memory = to_new * f
    if PEEPHOLES:
        to_memory += to_i * pi + to_f * pf
    if PEEPHOLES == 2:
        to_memory += to_o * po
    return to_i, to_f, to_g, to_o, tl.zeros_like(to_memory), to_memory


@triton.jit
@no_type_check
def gru(r, z, n, q, memory):
    """Gates, candidate, what the last output gave to the candidate, and the new output twice."""
    r, z = tl.sigmoid(r), tl.sigmoid(z)
    n = tanh(n + r * q)
    new = n + z * (memory - n)
    return r, z, n, q, new, new


@triton.jit
@no_type_check
def gru_back(r, z, n, q, memory, to_output):
    """Gradients as of `lstm_back`; that by the memory is in that by the output."""
    to_n = to_output * (1 - z) * (1 - n * n)
    to_z = to_output * (memory - n) * z * (1 - z)
    to_r = to_n * q * r * (1 - r)
    return to_r, to_z, to_n, to_n * r, to_output * z, tl.zeros_like(to_output)


@triton.jit
@no_type_check
def elman(x, CELL: tl.constexpr):
    """The new output."""
    if CELL == "relu":
        x = tl.maximum(x, 0.0)
    else:
        x = tanh(x)
    return x


@triton.jit
@no_type_check
def elman_back(new, to_output, CELL: tl.constexpr):
    """The gradient by the sum, from the output and the gradient by it."""
    if CELL == "relu":
        slope = tl.where(new > 0, 1.0, 0.0)
    else:
        slope = 1 - new * new
    return to_output * slope


@triton.jit
@no_type_check
def ahead(x, memory, pi, pf, po, CELL: tl.constexpr, PEEPHOLES: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """From all sums of a step to what the way back needs of them, new memory and output."""
    if CELL == "lstm":
        a, b, c, d = quarters(x, ROWS, UNITS)
        a, b, c, d, new, seen = lstm(a, b, c, d, memory, pi, pf, po, PEEPHOLES)
        x = side_by_side(a, b, c, d, ROWS, UNITS)
    elif CELL == "gru":
        a, b, c, d = quarters(x, ROWS, UNITS)
        a, b, c, d, new, seen = gru(a, b, c, d, memory)
        x = side_by_side(a, b, c, d, ROWS, UNITS)
    else:
        x = elman(x, CELL)
        new = x
        seen = x
    return x, new, seen


@triton.jit
@no_type_check
def back(
    x, memory, new, to_output, to_new, pi, pf, po,
    CELL: tl.constexpr, PEEPHOLES: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """From what `ahead` has kept to the gradients by all sums, and those by output and memory as of `lstm_back`."""
    if CELL == "lstm":
        a, b, c, d = quarters(x, ROWS, UNITS)
        a, b, c, d, to_past, to_memory = lstm_back(a, b, c, d, memory, new, to_output, to_new, pi, pf, po, PEEPHOLES)
        x = side_by_side(a, b, c, d, ROWS, UNITS)
    elif CELL == "gru":
        a, b, c, d = quarters(x, ROWS, UNITS)
        a, b, c, d, to_past, to_memory = gru_back(a, b, c, d, memory, to_output)
        x = side_by_side(a, b, c, d, ROWS, UNITS)
    else:
        x = elman_back(x, to_output, CELL)
        to_past = tl.zeros_like(to_output)
        to_memory = tl.zeros_like(to_output)
    return x, to_past, to_memory
