"""Weighted totals of what may follow every hypothesis: what ``search.advance`` and ``search.limits`` say in PyTorch.

Every product and every sum is rounded for itself, so that equals stay equal wherever they stand.
"""

from typing import no_type_check

import numpy as np

from seq2seq_asr.cpu.compiling import compiled

_NEVER = -np.inf
_BLOCK = 32
"""Totals that are looked at together."""


@compiled(fastmath=False)
@no_type_check
def begin(totals, scores, gains, weight):
    """Totals with what the first scorer adds; minus infinity for what is not a number.

    Args:
        totals: To be filled (N, M), in double precision.
        scores: Before, of each of some groups of rows (B, K).
        gains: (N, M).
        weight: Of the scorer.
    """
    beam = scores.shape[1]
    for row in range(len(totals)):
        total, gain, score = totals[row], gains[row], scores[row // beam, row % beam]
        for place in range(len(total)):
            value = score + weight * gain[place]
            total[place] = value if value == value else _NEVER


@compiled(fastmath=False)
@no_type_check
def add(totals, gains, weight):
    """The same for another scorer, in place."""
    for row in range(len(totals)):
        total, gain = totals[row], gains[row]
        for place in range(len(total)):
            value = total[place] + weight * gain[place]
            total[place] = value if value == value else _NEVER


@compiled(fastmath=False)
@no_type_check
def bar(totals, end, step, shortest, looked, before, most):
    """Write minus infinity for what may not be, in place; see ``search.limits``.

    Args:
        totals: (N, M).
        end: Column of the end.
        step: Tokens of every hypothesis.
        shortest: Fewest tokens that may end, of each of some groups of rows; none without such a limit.
        looked: Frames that the attention looked at (N); none without a limit.
        before: And in the step before, -1 for none (N); likewise.
        most: Frames it may go from there.
    """
    for row in range(len(totals)):
        total, goes_on = totals[row], False
        jumped = len(looked) > 0 and before[row] >= 0 and abs(looked[row] - before[row]) > most
        for place in range(len(total)):
            if jumped and place != end:
                total[place] = _NEVER
            goes_on |= place != end and total[place] > _NEVER
        too_short = len(shortest) > 0 and step < shortest[row * len(shortest) // len(totals)]
        if goes_on and too_short:
            total[end] = _NEVER


@compiled(fastmath=False)
@no_type_check
def bar_unsure(totals, column, log_probs, end, threshold, lowest):
    """Minus infinity where not ``log p(end) >= threshold * log p(best other token)``, unless a row cannot go on.

    Args:
        totals: As `bar` has left them (N, M).
        column: Of the end among them.
        log_probs: Of all tokens (N, V).
        end: The end among these.
        threshold: Of their type.
        lowest: Minus infinity of their type.
    """
    for row in range(len(totals)):
        one, best, goes_on = log_probs[row], lowest, False
        for token in range(len(one)):
            if token != end and (one[token] > best or np.isnan(one[token])):  # nothing is above a NaN: it stays
                best = one[token]
        for place in range(totals.shape[1]):
            goes_on |= place != column and totals[row, place] > _NEVER
        if goes_on and not one[end] >= threshold * best:
            totals[row, column] = _NEVER


@compiled(fastmath=False)
@no_type_check
def _insert(best, places, kept, total, first, end, bonus, tie):
    """Put totals among the best, if they are some; returns how many there are."""
    count = len(best)
    for start in range(0, len(total), _BLOCK):
        stop = min(start + _BLOCK, len(total))
        some = kept < count or start <= end < stop or stop < start + _BLOCK
        if not some:  # whole blocks are compared by vectors
            better, worst = 0, best[count - 1]
            for lane in range(_BLOCK):
                better += total[start + lane] > worst
            some = better > 0
        for column in range(start, stop if some else start):
            value = total[column] - (bonus if column == end else 0.0) - (first + column) * tie
            if kept == count and not value > best[count - 1]:
                continue
            rank = min(kept, count - 1)
            while rank > 0 and value > best[rank - 1]:
                best[rank], places[rank] = best[rank - 1], places[rank - 1]
                rank -= 1
            best[rank], places[rank] = value, first + column
            kept = min(kept + 1, count)
    return kept


@compiled(fastmath=False)
@no_type_check
def _choose(parents, rows, columns, tokens, scores, growing, totals, candidates, column, end, bonus, tie):
    """Fill the first six; see `choose`."""
    (utterances, beam, width), count = totals.shape, parents.shape[1]
    best, places = np.empty(count), np.empty(count, np.int64)
    for utterance in range(utterances):
        kept = 0
        for parent in range(beam):
            kept = _insert(best, places, kept, totals[utterance, parent], parent * width, column, bonus, tie)
        for rank in range(count):
            parent = places[rank] // width
            row, at = utterance * beam + parent, places[rank] - parent * width
            token = candidates[row, at] if len(candidates) > 0 else at
            parents[utterance, rank], tokens[utterance, rank] = parent, token
            rows[utterance * count + rank], columns[utterance * count + rank] = row, at
            scores[utterance, rank] = totals[utterance, parent, at]
            growing[utterance, rank] = _NEVER if token == end else totals[utterance, parent, at]


@compiled(fastmath=False)
@no_type_check
def _pick(picked, values, rows, columns):
    """Fill an array (B, K) with those of other values (N, M) that stand in the places given (B K)."""
    flat = picked.reshape(-1)
    for place in range(len(flat)):
        flat[place] = values[rows[place], columns[place]]


@no_type_check
def choose(totals, candidates, gains, column, end, bonus, tie):
    """The best extensions of each utterance, as many as went before, in order.

    Args:
        totals: Of all extensions, numbers all of them (B, K, M).
        candidates: The token of each (B K, M), or of no row, where each token is in its own column.
        gains: What each scorer added (B K, M).
        column: Of the end.
        end: The token that ends.
        bonus: What an end lacks when totals are compared.
        tie: What each place loses to the one before, so that among equals the earlier is better.

    Returns:
        What ``search.advance.Chosen`` holds, in its order.
    """
    shape, count = totals.shape[:2], len(gains[0])
    parents, rows, columns = np.empty(shape, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    tokens, scores, growing = np.empty(shape, np.int64), np.empty(shape), np.empty(shape)
    _choose(parents, rows, columns, tokens, scores, growing, totals, candidates, column, end, bonus, tie)
    gained = tuple([np.empty(shape, gain.dtype) for gain in gains])
    for picked, gain in zip(gained, gains, strict=True):
        _pick(picked, gain, rows, columns)
    return parents, rows, columns, tokens, scores, growing, gained
