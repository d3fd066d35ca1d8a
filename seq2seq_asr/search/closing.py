"""When the search of an utterance is at its end."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.search.advance import Kept
from seq2seq_asr.search.ranking import Ranking, terms
from seq2seq_asr.vocabulary import EOS

_NEVER = float("-inf")
_COMPILED = "cpu"
"""Where a loop does what is said here."""


class Progress(NamedTuple):
    """What was seen of each utterance when it was last looked at."""

    pool: Float[Tensor, "B P"]
    """Ranking scores of the best that had ended, best first."""
    behind: Int[Tensor, " B"]
    """Steps since a growing hypothesis was seen to rank with them."""
    last: Int[Tensor, " B"]
    """The last step that counts, as far as is known: that of the maximum length, or of the look that closed it."""
    open: Bool[Tensor, " B"]
    """Whether its search goes on."""


class Stopping(NamedTuple):
    """By what searches are closed."""

    ranking: Ranking
    """How transcripts rank."""
    longest: int
    """The most tokens of any utterance."""
    gain: float | None
    """The most that a token can add to a total; None closes only where nothing grows any more."""
    patience: int | None
    """See ``BeamConfig``."""


def open_all(longest: Int[Tensor, " B"], nbest: int) -> Progress:
    """Nothing has been looked at.

    Args:
        longest: The most tokens of each utterance.
        nbest: Transcripts wanted of each.
    """
    pool = torch.full((len(longest), nbest), _NEVER, dtype=torch.float64, device=longest.device)
    return Progress(pool, torch.zeros_like(longest), longest, torch.ones_like(longest, dtype=torch.bool))


def look(before: Progress, recent: Sequence[Kept], step: int, rules: Stopping) -> Progress:
    """Look at what ended, and close the utterances where nothing better can follow, or patience is at its end.

    Args:
        before: What the look before saw.
        recent: The steps since.
        step: The last of them.
        rules: When to close.
    """
    if before.last.device.type == _COMPILED:
        return _compiled_look(before, recent, step, rules)
    ranking = rules.ranking
    steps = torch.arange(step + 1 - len(recent), step + 1, device=before.last.device)[:, None]
    scores, tokens = (torch.stack(parts, 1) for parts in zip(*((one.score, one.tokens) for one in recent), strict=True))
    ends = tokens == EOS
    ended = ranking.score(scores, steps).masked_fill(~ends | (steps > before.last[:, None, None]), _NEVER)
    pool = torch.cat([before.pool, ended.flatten(1)], 1).topk(before.pool.shape[1]).values
    best, worst = scores[:, -1].masked_fill(ends[:, -1], _NEVER).amax(1), pool[:, -1]
    behind = torch.where(ranking.score(best, step + 1) < worst, before.behind + len(recent), 0)
    if rules.gain is None:
        goes_on = best > _NEVER
    else:
        goes_on = worst < ranking.bound(best, step + 1, before.last, rules.longest, rules.gain)
    if rules.patience is not None:
        goes_on = goes_on & (behind < rules.patience)
    closes = before.open & ~goes_on
    last = torch.where(closes, before.last.clamp(max=step), before.last)
    return Progress(pool, behind, last, before.open & goes_on & (step < last))


def _compiled_look(before: Progress, recent: Sequence[Kept], step: int, rules: Stopping) -> Progress:
    """The same on a CPU, in fewer calls."""
    from seq2seq_asr.cpu import closing  # imports Numba

    after = [part.numpy().copy() for part in before]
    scores, tokens = np.array([one.score for one in recent]), np.array([one.tokens for one in recent])
    bonus, divisors = terms(rules.ranking, rules.longest + 2)
    most = np.nan if rules.gain is None else rules.gain
    closing.look(*after, scores, tokens, EOS, step, bonus, divisors, most, rules.patience or 0)
    return Progress(*map(torch.from_numpy, after))


def asked(answer: Bool[Tensor, ""]) -> Callable[[], bool]:
    """Ask for a value now, to wait for it, and for nothing that follows it, when it is wanted."""
    if not answer.is_cuda:
        return lambda: bool(answer)
    told = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(answer, non_blocking=True)
    event = torch.cuda.Event()
    event.record()

    def read() -> bool:
        event.synchronize()
        return bool(told)

    return read
