"""The best of many scores in order, in one pass; PyTorch's ``topk`` writes them out in double precision first."""

from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from seq2seq_asr.cpu.compiling import compiled

_LANES = 32
"""Columns that the others are folded upon, the better above the worse."""
_TOGETHER = 8
"""Columns that are passed over together: one byte each of a word that is zero."""


@compiled(fastmath=False)  # what a place loses must be rounded twice, as in tensors
@no_type_check
def _find(tokens, scores, tie, end):
    """Fill ``tokens`` (B, 1 + count); NaN is the best of all, as for ``topk``."""
    rows, columns = scores.shape
    places, count, half = tokens[:, 1:], tokens.shape[1] - 1, _LANES
    while 2 * half < columns:
        half *= 2
    values, folded, best = np.full(2 * half, -np.inf, scores.dtype), np.empty(half, scores.dtype), np.empty(count)
    good = np.empty(len(values), np.uint8)
    words = good.view(np.uint64)
    for row in range(rows):
        for column in range(columns):
            values[column] = scores[row, column]
        tokens[row, 0], values[end] = end, -np.inf
        enough = scores.dtype.type(np.float64(_enough(folded, best, values, count)) - columns * tie)
        for column in range(columns):
            good[column] = not values[column] < enough
        good[columns:], good[end], kept = 0, 0, 0
        for word in range((columns + _TOGETHER - 1) // _TOGETHER):
            start = word * _TOGETHER
            for column in range(start, start + _TOGETHER if words[word] != 0 else start):
                if good[column] == 0:
                    continue
                value = np.float64(values[column]) - column * tie
                if kept == count and not _before(value, best[count - 1]):
                    continue
                rank = min(kept, count - 1)
                while rank > 0 and _before(value, best[rank - 1]):
                    best[rank], places[row, rank] = best[rank - 1], places[row, rank - 1]
                    rank -= 1
                best[rank], places[row, rank] = value, column
                kept = min(kept + 1, count)


@compiled(fastmath=False)
@no_type_check
def _enough(folded, best, values, count):
    """A score that ``count`` places reach: the worst of the best that lanes have, of as many lanes."""
    if count > _LANES:
        return -np.inf
    half = len(folded)
    for place in range(half):
        folded[place] = values[place] if values[place] > values[place + half] else values[place + half]
    while half > _LANES:
        half //= 2
        for place in range(half):
            folded[place] = folded[place] if folded[place] > folded[place + half] else folded[place + half]
    kept = 0
    for lane in range(_LANES):
        value = folded[lane]
        if value != value or (kept == count and not value > best[count - 1]):
            continue
        rank = min(kept, count - 1)
        while rank > 0 and value > best[rank - 1]:
            best[rank] = best[rank - 1]
            rank -= 1
        best[rank] = value
        kept = min(kept + 1, count)
    return best[count - 1] if kept == count else -np.inf


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
