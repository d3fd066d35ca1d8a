"""A look at what ended: what ``search.closing`` says in PyTorch, to the bit."""

from typing import no_type_check

import numpy as np

from seq2seq_asr.cpu.compiling import compiled

_NEVER = -np.inf


@compiled(fastmath=False)
@no_type_check
def _bound(total, length, longest, gain, bonus, divisors):
    """The best ranking score of any completion; see ``search.ranking``."""
    best = _NEVER
    for tokens in range(length, longest + 1):
        best = max(best, (total + (tokens - length + 1) * gain + bonus[tokens]) / divisors[tokens])
    return best


@compiled(fastmath=False)
@no_type_check
def _put(pool, score):
    """Put a score in its place among the best, if it is one of them."""
    place = len(pool)
    while place > 0 and score > pool[place - 1]:
        if place < len(pool):
            pool[place] = pool[place - 1]
        place -= 1
    if place < len(pool):
        pool[place] = score


@compiled(fastmath=False)
@no_type_check
def look(pool, behind, last, is_open, scores, tokens, end, step, bonus, divisors, gain, patience):
    """Look at what ended, and close utterances; see ``search.closing``.

    Args:
        pool: Ranking scores of the best that had ended, best first, in whose place those of now are written (B, P).
        behind: Steps since a growing hypothesis was seen to rank with them, likewise (B).
        last: The last step of each utterance that counts, likewise (B).
        is_open: Whether its search goes on, likewise (B).
        scores: Totals of each recent step (R, B, K).
        tokens: Likewise (R, B, K).
        end: The token that ends.
        step: The last of these steps.
        bonus: What a number of tokens adds to a total (L).
        divisors: By what it is divided then (L).
        gain: The most that a token can add; NaN closes only where nothing grows any more.
        patience: Steps to wait; 0 to wait on.
    """
    recent = len(scores)
    for row in range(len(pool)):
        best = _NEVER
        for one in range(recent):
            length = step + 1 - recent + one
            for place in range(scores.shape[2]):
                ended = tokens[one, row, place] == end
                if ended and length <= last[row]:
                    _put(pool[row], (scores[one, row, place] + bonus[length]) / divisors[length])
                elif not ended and one == recent - 1:
                    best = max(best, scores[one, row, place])
        worst = pool[row, -1]
        behind[row] = behind[row] + recent if (best + bonus[step + 1]) / divisors[step + 1] < worst else 0
        goes_on = best > _NEVER
        if not np.isnan(gain):
            goes_on = worst < _bound(best, step + 1, last[row], gain, bonus, divisors)
        if patience > 0 and behind[row] >= patience:
            goes_on = False
        if is_open[row] and not goes_on:
            last[row] = min(last[row], step)
        is_open[row] &= goes_on and step < last[row]
