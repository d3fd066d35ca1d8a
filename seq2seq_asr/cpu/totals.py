"""Weighted totals of what may follow every hypothesis: what ``search.advance`` and ``search.limits`` say in PyTorch.

Every product and every sum is rounded for itself, so that equals stay equal wherever they stand.
"""

from typing import no_type_check

import numpy as np

from seq2seq_asr.cpu.compiling import compiled

_NEVER = -np.inf


@compiled(fastmath=False)
@no_type_check
def begin(totals, scores, gains, weight):
    """Totals with what the first scorer adds.

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
            total[place] = score + weight * gain[place]


@compiled(fastmath=False)
@no_type_check
def add(totals, gains, weight):
    """The same for another scorer, in place."""
    for row in range(len(totals)):
        total, gain = totals[row], gains[row]
        for place in range(len(total)):
            total[place] += weight * gain[place]


@compiled(fastmath=False)
@no_type_check
def bar(totals, end, step, shortest, looked, before, most):
    """Write minus infinity where nothing is known and for what may not be, in place; see ``search.limits``.

    Args:
        totals: (N, M).
        end: Column of the end.
        step: Tokens of every hypothesis, in an array of one.
        shortest: Fewest tokens that may end, of each of some groups of rows; none without such a limit.
        looked: Frames that the attention looked at (N); none without a limit.
        before: And in the step before, -1 for none (N); likewise.
        most: Frames it may go from there.
    """
    for row in range(len(totals)):
        total, goes_on = totals[row], False
        jumped = len(looked) > 0 and before[row] >= 0 and abs(looked[row] - before[row]) > most
        for place in range(len(total)):
            if np.isnan(total[place]) or (jumped and place != end):
                total[place] = _NEVER
            goes_on |= place != end and total[place] > _NEVER
        too_short = len(shortest) > 0 and step[()] < shortest[row * len(shortest) // len(totals)]
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
def choose(parents, rows, columns, tokens, scores, growing, places, totals, candidates, end):
    """What chosen places stand for; see ``search.advance.Chosen``.

    Args:
        parents: To be filled (B, K), as ``tokens``, ``scores`` and ``growing``.
        rows: To be filled (B K), as ``columns``.
        columns: See ``rows``.
        tokens: See ``parents``.
        scores: See ``parents``.
        growing: See ``parents``.
        places: Of chosen extensions among all of an utterance (B, K).
        totals: Of all extensions (B, K, M).
        candidates: The token of each (B K, M), or of no row, where each token is in its own column.
        end: The token that ends.
    """
    _, beam, width = totals.shape
    for utterance in range(len(places)):
        for place in range(places.shape[1]):
            parent = places[utterance, place] // width
            row, column = utterance * beam + parent, places[utterance, place] - parent * width
            token = candidates[row, column] if len(candidates) > 0 else column
            parents[utterance, place], tokens[utterance, place] = parent, token
            at = utterance * places.shape[1] + place
            rows[at], columns[at] = row, column
            scores[utterance, place] = totals[utterance, parent, column]
            growing[utterance, place] = _NEVER if token == end else totals[utterance, parent, column]
