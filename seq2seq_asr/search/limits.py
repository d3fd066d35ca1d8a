"""What may not follow: ends that come too early or are unsure, tokens after a jump of the attention; and how long."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.search.expansion import Expansion
from seq2seq_asr.search.ranking import length_limit
from seq2seq_asr.vocabulary import EOS

_NEVER = float("-inf")


class Limits(NamedTuple):
    """Fewest and most tokens of each utterance, and what the host knows of them."""

    shortest: Int[Tensor, " B"]
    longest: Int[Tensor, " B"]
    free: int
    """Tokens with which every utterance is long enough to end."""
    lasts: frozenset[int]
    """The different values of ``longest``."""

    @classmethod
    def of(cls, lengths: Int[Tensor, " B"], least: float, most: float) -> "Limits":
        """From encoded frames, and tokens demanded and allowed for each; one token is always allowed."""
        shortest, longest = length_limit(lengths, least), length_limit(lengths, most).clamp(min=1)
        free, *lasts = torch.cat([shortest.amax(0, keepdim=True), longest]).tolist()
        return cls(shortest, longest, free, frozenset(lasts))

    @property
    def last(self) -> int:
        """The most tokens of any utterance."""
        return max(self.lasts)

    def long_enough(self, step: int) -> Bool[Tensor, " B"] | None:
        """The utterances that may end after ``step`` tokens; None where all may."""
        return None if step >= self.free else step >= self.shortest

    def goes_on(self, step: int) -> Bool[Tensor, " B"] | None:
        """The utterances that may have more than ``step`` tokens; None where that is no news."""
        return step < self.longest if step in self.lasts else None


def bar_jumps(scores: Float[Tensor, "B K M"], expansion: Expansion, before: Int[Tensor, " BK"], most: int) -> None:
    """Let no hypothesis grow whose attention jumped (the hard attention limit of Hannun et al. 2019, section 2.4).

    It may end still: after the last word, the attention often leaps over the silence to the last frame.

    Args:
        scores: Totals of the extensions, in whose place -inf is written.
        expansion: What may follow.
        before: Frames that the attention looked at in the step before.
        most: Frames it may go from there, forward or back.
    """
    looked = expansion.frames
    if looked is None:
        return
    end = scores[:, :, expansion.end].clone()
    scores.masked_fill_(((looked - before).abs() > most).view(*scores.shape[:2], 1), _NEVER)
    scores[:, :, expansion.end] = end


def bar_ends(
    scores: Float[Tensor, "B K M"],
    expansion: Expansion,
    long_enough: Bool[Tensor, " B"] | None,
    threshold: float | None,
) -> None:
    """Let no hypothesis end that is too short or not sure enough, unless it cannot go on: it would be lost.

    Args:
        scores: Totals of the extensions, in whose place -inf is written.
        expansion: What may follow.
        long_enough: Utterances whose hypotheses may end; None for all.
        threshold: See ``BeamConfig.end_threshold``; None for any end.
    """
    end = scores[:, :, expansion.end].clone()
    scores[:, :, expansion.end] = _NEVER
    may = scores.amax(2) == _NEVER
    sure = None if threshold is None else confident_end(expansion.log_probs, threshold).view_as(may)
    if long_enough is None:
        assert sure is not None
        may |= sure
    else:
        may |= long_enough[:, None] if sure is None else long_enough[:, None] & sure
    scores[:, :, expansion.end] = end.masked_fill_(~may, _NEVER)


def confident_end(log_probs: Float[Tensor, "BK V"], threshold: float) -> Bool[Tensor, " BK"]:
    """Whether ``log p(end) >= threshold * log p(best other token)`` (Hannun et al. 2019)."""
    others = log_probs.clone()
    others[:, EOS] = _NEVER
    return log_probs[:, EOS] >= threshold * others.amax(1)
