"""The best of many scores in order, in one pass; PyTorch's ``topk`` writes them out in double precision first."""

from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from seq2seq_asr.cpu.compiling import compiled

_LANES = 32


@compiled(fastmath=False)  # what a place loses must be rounded twice, as in tensors
@no_type_check
def _find(tokens, scores, tie, end):
    """Fill ``tokens`` (B, 1 + count); NaN is the best of all, as for ``topk``."""
    rows, columns = scores.shape
    places, count, blocks = tokens[:, 1:], tokens.shape[1] - 1, (columns + _LANES - 1) // _LANES
    loss, values = np.arange(columns) * tie, np.full((blocks, _LANES), -np.inf)
    flat, best, lanes = values.reshape(-1), np.empty(count), np.empty(_LANES)
    for row in range(rows):
        for column in range(columns):
            flat[column] = np.float64(scores[row, column]) - loss[column]
        tokens[row, 0], flat[end] = end, -np.inf
        enough, kept = _enough(lanes, values, count), 0
        for block in range(blocks):
            good = 0
            for lane in range(_LANES):
                good += not values[block, lane] < enough
            start = block * _LANES
            for column in range(start, min(start + _LANES, columns) if good > 0 else start):
                value = flat[column]
                if value < enough or column == end or (kept == count and not _before(value, best[count - 1])):
                    continue
                rank = min(kept, count - 1)
                while rank > 0 and _before(value, best[rank - 1]):
                    best[rank], places[row, rank] = best[rank - 1], places[row, rank - 1]
                    rank -= 1
                best[rank], places[row, rank] = value, column
                kept = min(kept + 1, count)


@compiled(fastmath=False)
@no_type_check
def _enough(lanes, values, count):
    """A score that ``count`` places reach: the worst of the best that lanes have, of as many lanes."""
    if count > _LANES:
        return -np.inf
    lanes[:] = -np.inf
    for block in range(len(values)):
        for lane in range(_LANES):
            value = values[block, lane]
            lanes[lane] = value if value > lanes[lane] else lanes[lane]
    least = np.inf
    for one in range(_LANES):
        better = 0
        for other in range(_LANES):
            better += lanes[other] > lanes[one]
        if better < count and lanes[one] < least:
            least = lanes[one]
    return least


@compiled(fastmath=False)
@no_type_check
def _before(value, other):
    return value > other or (value != value and other == other)


def find_tokens(log_probs: Tensor, count: int, tie: float, end: int) -> Tensor:
    """The end and the best other tokens of every row, best first (B, 1 + ``count``); what is not a number comes first.

    Args:
        log_probs: (B, V).
        count: At most V - 1.
        tie: What each place loses to the one before, so that among equals the earlier is better.
        end: The end.
    """
    assert count < log_probs.shape[1]
    tokens = torch.empty(len(log_probs), 1 + count, dtype=torch.int64)
    _find(tokens.numpy(), _array(log_probs), tie, end)
    return tokens


def _array(scores: Tensor) -> np.ndarray:
    known = scores if scores.dtype in (torch.float32, torch.float64) else scores.double()
    return known.detach().contiguous().numpy()
