"""Products of a few rows with many weights, and of alignments with frames, called between the loops of a step.

A tile of the result stays in registers while its sums are made (Goto & van de Geijn 2008), which the compiler does not
find by itself: its vectors are written out. A row is the same, to the bit, whatever rows are beside it.
"""

import functools
from typing import Any, NamedTuple, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, codegen, config
from numba.extending import intrinsic

from seq2seq_asr.cpu.compiling import compiled

_TOLD = getattr(config, "CPU_FEATURES", None)
_WIDE = "+avx512f" in (codegen.get_host_cpu_features() if _TOLD is None else _TOLD)
"""Whether a register holds 16 numbers, by what Numba compiles for."""
_LANES, ROWS = (16, 8) if _WIDE else (8, 4)
"""Numbers of a vector, and rows of a tile: registers hold the tile, a row of weights and one number more."""
COLUMNS = 2 * _LANES
"""Columns of a tile."""
_FLOAT = 4
"""Bytes."""


class Packed(NamedTuple):
    """Weights as tiles read them."""

    blocks: np.ndarray  # (C, I, COLUMNS)
    bias: np.ndarray  # (O)


def pack(weights: np.ndarray, bias: np.ndarray | None = None) -> Packed:
    """Arrange weights (I, O) in float32; the bias is zero if there is none."""
    return Packed(in_blocks(weights), np.zeros(weights.shape[1], np.float32) if bias is None else bias.copy())


def in_blocks(matrices: np.ndarray) -> np.ndarray:
    """Matrices (..., I, O) in blocks of columns, one behind the other in memory (..., C, I, COLUMNS).

    The last block stands as far to the right as there are columns, over some of the one before. Where there are fewer
    than COLUMNS, there is one narrow block.
    """
    columns = matrices.shape[-1]
    width = min(columns, COLUMNS)
    places = [min(place, columns - width) for place in range(0, columns, COLUMNS)]
    return np.ascontiguousarray(np.stack([matrices[..., place : place + width] for place in places], -3))


def _tile(rows: int) -> Any:
    """A function of addresses, and of bytes from row to row, that fills ``rows`` x COLUMNS of a product.

    Its arguments: the result and its step, what sums begin with (a row), the left factor and its step, the right one
    and its step, and how many terms a sum has.
    """

    @intrinsic
    @no_type_check
    def fill(typing_context, out, out_step, first, left, left_step, right, right_step, terms):
        return types.void(*[types.int64] * 8), functools.partial(_write, rows)

    return fill


@no_type_check
def _write(rows, context, builder, signature, arguments):
    out, out_step, first, left, left_step, right, right_step, terms = arguments
    number, place = ir.FloatType(), ir.IntType(64)
    vector, all_first = ir.VectorType(number, _LANES), ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)

    def at(base, step, row, column=0):
        address = builder.add(base, builder.mul(step, row if isinstance(row, ir.Value) else ir.Constant(place, row)))
        return builder.add(address, ir.Constant(place, column * _LANES * _FLOAT))

    def load(address, kind):
        return builder.load(builder.inttoptr(address, kind.as_pointer()), align=_FLOAT)

    begun = [load(at(first, out_step, 0, column), vector) for column in range(2)]
    sums = [[cgutils.alloca_once_value(builder, value) for value in begun] for _ in range(rows)]
    with cgutils.for_range(builder, terms) as loop:
        weights = [load(at(right, right_step, loop.index, column), vector) for column in range(2)]
        term = at(left, ir.Constant(place, _FLOAT), loop.index)
        for row in range(rows):
            factor = builder.insert_element(ir.Constant(vector, ir.Undefined), load(at(term, left_step, row), number),
                                            ir.Constant(ir.IntType(32), 0))  # fmt: skip
            factor = builder.shuffle_vector(factor, factor, all_first)
            for total, weight in zip(sums[row], weights, strict=True):
                product = builder.fmul(factor, weight, flags=["contract"])
                builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
    for row in range(rows):
        for column in range(2):
            to = builder.inttoptr(at(out, out_step, row, column), vector.as_pointer())
            builder.store(builder.load(sums[row][column]), to, align=_FLOAT)
    return context.get_dummy_value()


_fill_many, _fill_one = _tile(ROWS), _tile(1)


@compiled()
@no_type_check
def _fill_columns(out, first, left, right):
    """COLUMNS of a product, sums of which begin with a row; elements of all rows lie side by side."""
    rows, terms = left.shape
    out_step, left_step, right_step = out.strides[0], left.strides[0], right.strides[0]
    to, begin, of, weights = out.ctypes.data, first.ctypes.data, left.ctypes.data, right.ctypes.data
    row = 0
    while row + ROWS <= rows:
        _fill_many(to + row * out_step, out_step, begin, of + row * left_step, left_step, weights, right_step, terms)
        row += ROWS
    while row < rows:
        _fill_one(to + row * out_step, out_step, begin, of + row * left_step, left_step, weights, right_step, terms)
        row += 1


@compiled()
@no_type_check
def _fill_narrow(out, first, left, right):
    """The same where there are fewer columns."""
    for row in range(len(out)):
        for column in range(out.shape[1]):
            total = first[column]
            for term in range(left.shape[1]):
                total += left[row, term] * right[term, column]
            out[row, column] = total


@compiled()
@no_type_check
def _fill_block(out, first, left, right):
    """Columns of a product; tiles go by addresses, so shapes are looked at here."""
    (rows, columns), (terms, width) = out.shape, right.shape
    if rows != len(left) or terms != left.shape[1] or columns != width or columns > min(len(first), COLUMNS):
        raise ValueError("shapes of a product do not fit")
    if not out.strides[1] == left.strides[1] == right.strides[1] == first.strides[0] == _FLOAT:
        raise ValueError("elements of a product's rows must lie side by side, of four bytes each")
    if columns < COLUMNS:
        _fill_narrow(out, first, left, right)
    else:
        _fill_columns(out, first, left, right)


@compiled()
@no_type_check
def multiply(out, rows, blocks, bias):
    """Rows (N, I) times packed weights, plus the bias (N, O)."""
    width = blocks.shape[2]
    if out.shape[1] != len(bias):
        raise ValueError("shapes of a product do not fit")
    for block in range(len(blocks)):
        place = min(block * width, out.shape[1] - width)
        _fill_block(out[:, place : place + width], bias[place:], rows, blocks[block])


@compiled()
@no_type_check
def multiply_in_blocks(out, frames, blocks, bias):
    """The same of all frames of utterances (B, S, I), in blocks of columns (B, C, S, COLUMNS)."""
    width, columns = blocks.shape[2], len(bias)
    if out.shape[:2] != (len(frames), len(blocks)):
        raise ValueError("shapes of a product do not fit")
    for utterance in range(len(frames)):
        for block in range(len(blocks)):
            place = min(block * width, columns - width)
            _fill_block(out[utterance, block], bias[place:], frames[utterance], blocks[block])


@compiled()
@no_type_check
def mix(out, alignments, values, lengths):
    """Sums over the frames of an utterance.

    Args:
        out: To be filled (N, X).
        alignments: (N, S), N / B rows of each utterance side by side.
        values: In blocks of columns (B, C, S, COLUMNS).
        lengths: Frames of each that count (B).
    """
    width, beam = values.shape[3], len(out) // len(values)
    nothing = np.zeros(width, np.float32)
    whole = width * (values.shape[1] - 1) < out.shape[1] <= width * values.shape[1]
    if not whole or len(out) != beam * len(values) or len(lengths) != len(values):
        raise ValueError("shapes of a product do not fit")
    for utterance in range(len(values)):
        start, stop, length = utterance * beam, (utterance + 1) * beam, lengths[utterance]
        for block in range(values.shape[1]):
            place = min(block * width, out.shape[1] - width)
            filled, frames = out[start:stop, place : place + width], values[utterance, block, :length]
            _fill_block(filled, nothing, alignments[start:stop, :length], frames)
