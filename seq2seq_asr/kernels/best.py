"""The best of many scores in order, in a launch or two; PyTorch's ``topk`` of doubles takes many passes over them."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

_CHUNK = 1024
_NOWHERE = tl.constexpr(2**31 - 1)


@triton.jit
@no_type_check
def best_of_chunk(
    best, best_places, scores, places, columns, TIE: tl.constexpr, FIRST: tl.constexpr, COUNT: tl.constexpr,
    TC: tl.constexpr,
):  # fmt: skip
    """The best of a chunk of a row, best first, among equals the lowest place; a program takes one chunk.

    Args:
        best: To be filled (B, chunks, COUNT), minus infinity where there are not so many.
        best_places: To be filled (B, chunks, COUNT).
        scores: (B, C).
        places: Where the scores come from (B, C); without FIRST alone.
        columns: C.
        TIE: What a score loses for each place.
        FIRST: Whether scores stand in their places and have lost nothing yet.
        COUNT: Wanted.
        TC: Scores of a chunk.
    """
    row, chunk = tl.program_id(0), tl.program_id(1)
    column = chunk * TC + tl.arange(0, TC)
    inside = column < columns
    value = tl.load(scores + row.to(tl.int64) * columns + column, inside, float("-inf")).to(tl.float64)
    if FIRST:
        place = column
        value -= place.to(tl.float64) * TIE
    else:
        place = tl.load(places + row * columns + column, inside, _NOWHERE)
    value = tl.where(value == value, value, float("-inf"))
    gone = (inside == 0) | (place == _NOWHERE)
    for rank in range(COUNT):
        left = tl.where(gone, float("-inf"), value)
        top = tl.max(left, 0)
        found = tl.min(tl.where((left == top) & (gone == 0), place, _NOWHERE), 0)
        target = (row * tl.num_programs(1) + chunk) * COUNT + rank
        tl.store(best + target, top)
        tl.store(best_places + target, found)
        gone = gone | (place == found)


def find_best(scores: Tensor, count: int, tie: float) -> Tensor:
    """Places of the best scores of every row, best first (B, ``count``); one that is not a number comes last.

    Args:
        scores: (B, C).
        count: At most C, and far fewer than a chunk holds.
        tie: What each place loses to the one before, so that among equals the earlier is better.
    """
    values, places = scores.contiguous(), scores.new_empty(0, dtype=torch.int32)
    first = True
    while first or values.shape[1] > count:
        rows, columns = values.shape
        chunks = triton.cdiv(columns, _CHUNK)
        best = values.new_empty(rows, chunks * count, dtype=torch.float64)
        found = places.new_empty(rows, chunks * count)
        with torch.cuda.device_of(values):
            best_of_chunk[(rows, chunks)](
                best, found, values, places, columns, TIE=tie, FIRST=first, COUNT=count, TC=_CHUNK, num_warps=4
            )
        values, places, first = best, found, False
    return places.long()
