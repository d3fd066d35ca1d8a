"""Products by tiles beside float64, for all kinds of sizes; and every row is the same beside whatever others."""

import numpy as np
import pytest

from seq2seq_asr.cpu.products import COLUMNS, ROWS, in_blocks, mix, multiply, multiply_in_blocks, pack

RNG = np.random.default_rng(3)
WIDTHS = [1, 5, COLUMNS - 1, COLUMNS, COLUMNS + 1, 3 * COLUMNS + 7]
COUNTS = [1, ROWS - 1, ROWS, 2 * ROWS + 3]


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.dtype == np.float32 and np.allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("rows", COUNTS)
@pytest.mark.parametrize("size", [1, 33])
def test_rows_times_weights(rows, size, columns) -> None:
    left, weights, bias = normal(rows, size), normal(columns, size).T, normal(columns)
    out, plain = (np.full((rows, columns), np.nan, np.float32) for _ in range(2))
    multiply(out, left, *pack(weights, bias))
    multiply(plain, left, *pack(weights))
    exact = left.astype(np.float64) @ weights
    assert near(out, exact + bias)
    assert near(plain, exact)


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_row_is_the_same_beside_whatever_others(columns) -> None:
    left, packed = normal(3 * ROWS + 1, 40), pack(normal(40, columns), normal(columns))
    whole = np.empty((len(left), columns), np.float32)
    multiply(whole, left, *packed)
    for some in (slice(0, 1), slice(ROWS - 2, ROWS + 1), slice(1, 2 * ROWS + 2)):
        part = np.empty((some.stop - some.start, columns), np.float32)
        multiply(part, left[some], *packed)
        assert np.array_equal(part, whole[some])


def test_a_part_is_filled_and_no_more() -> None:
    out, left = np.full((9, 2 * COLUMNS + 3), 7.0, np.float32), normal(9, 4)
    multiply(out[2:5], left[2:5], *pack(normal(4, out.shape[1])))
    assert (out[:2] == 7).all() and (out[5:] == 7).all() and not (out[2:5] == 7).any()


@pytest.mark.parametrize("columns", WIDTHS)
def test_frames_in_blocks_are_what_rows_give(columns) -> None:
    frames, packed = normal(3, 11, 6), pack(normal(6, columns), normal(columns))
    blocks, _, width = packed.blocks.shape
    out, plain = np.empty((3, blocks, 11, width), np.float32), np.empty((33, columns), np.float32)
    multiply_in_blocks(out, frames, *packed)
    multiply(plain, frames.reshape(33, 6), *packed)
    assert np.array_equal(out, in_blocks(plain.reshape(3, 11, columns)))


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("beam", COUNTS)
def test_sums_over_the_frames_that_count(beam, columns) -> None:
    values, lengths = normal(3, 10, columns), np.array([10, 1, 7])
    alignments = RNG.random((3 * beam, 10), np.float32)
    for utterance, length in enumerate(lengths):
        values[utterance, length:] = np.nan  # not looked at
    out = np.full((3 * beam, columns), np.nan, np.float32)
    mix(out, alignments, in_blocks(values), lengths)
    for utterance, length in enumerate(lengths):
        rows = slice(utterance * beam, (utterance + 1) * beam)
        assert near(out[rows], alignments[rows, :length].astype(np.float64) @ values[utterance, :length])


def test_what_is_no_number_is_noticed() -> None:
    left, weights = normal(ROWS + 1, 4), normal(4, COLUMNS + 1)
    left[ROWS, 1], weights[2, 3] = np.nan, np.inf
    out = np.empty((ROWS + 1, COLUMNS + 1), np.float32)
    multiply(out, left, *pack(weights))
    assert np.isnan(out[ROWS]).all() and np.isinf(out[:ROWS, 3]).all() and np.isfinite(out[:ROWS, 4:]).all()


def test_weights_are_kept_as_they_were() -> None:
    weights, bias, left, out = normal(3, COLUMNS), normal(COLUMNS), normal(2, 3), np.empty((2, COLUMNS), np.float32)
    packed, wanted = pack(weights, bias), left @ weights + bias
    weights[:] = bias[:] = 0
    multiply(out, left, *packed)
    assert near(out, wanted)


@pytest.mark.parametrize(
    ("out", "left", "weights"),
    [((3, 40), (2, 4), (4, 40)), ((2, 40), (2, 5), (4, 40)), ((2, 39), (2, 4), (4, 40)), ((2, 3), (2, 4), (4, 2))],
)
def test_shapes_that_do_not_fit_are_refused(out, left, weights) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        multiply(np.empty(out, np.float32), normal(*left), *pack(normal(*weights)))


@pytest.mark.parametrize(
    "left",
    [normal(4, 2).T, normal(2, 4).astype(np.float64), np.broadcast_to(normal(2, 1), (2, 4))],
    ids=["turned", "double", "repeated"],
)
def test_what_tiles_cannot_read_is_refused(left) -> None:
    with pytest.raises(ValueError, match="side by side"):
        multiply(np.empty((2, 40), np.float32), left, *pack(normal(4, 40)))


@pytest.mark.parametrize("blocks", [(3, 1), (2, 2)], ids=["blocks", "utterances"])
def test_blocks_that_do_not_fit_are_refused(blocks) -> None:
    frames, packed = normal(3, 5, 4), pack(normal(4, COLUMNS + 1))
    with pytest.raises(ValueError, match="do not fit"):
        multiply_in_blocks(np.empty((*blocks, 5, COLUMNS), np.float32), frames, *packed)


@pytest.mark.parametrize(("rows", "more", "lengths"), [(4, COLUMNS + 1, 2), (4, 0, 2), (5, 1, 2), (4, 1, 1)])
def test_sums_that_do_not_fit_are_refused(rows, more, lengths) -> None:
    values, alignments = in_blocks(normal(2, 5, COLUMNS + 1)), normal(rows, 5)
    with pytest.raises(ValueError, match="do not fit"):
        mix(np.empty((rows, COLUMNS + more), np.float32), alignments, values, np.full(lengths, 5))
