"""What may not follow: ends that come too early or are unsure, tokens after a jump of the attention."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.search.expansion import Expansion
from seq2seq_asr.vocabulary import EOS

_NEVER = float("-inf")


def bar_jumps(scores: Float[Tensor, "B K M"], expansion: Expansion, before: Int[Tensor, " BK"], most: int) -> None:
    """Let no hypothesis grow whose attention jumped (the hard attention limit of Hannun et al. 2019, section 2.4).

    It may end still: after the last word, the attention often leaps over the silence to the last frame.

    Args:
        scores: Totals of the extensions, in whose place -inf is written.
        expansion: What may follow.
        before: Frames that the attention looked at in the step before; -1 for none.
        most: Frames it may go from there, forward or back.
    """
    looked = expansion.frames
    if looked is None:
        return
    jumped = ((looked - before).abs() > most) & (before >= 0)  # the first token may stand anywhere
    end = scores[:, :, expansion.end].clone()
    scores.masked_fill_(jumped.view(*scores.shape[:2], 1), _NEVER)
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
