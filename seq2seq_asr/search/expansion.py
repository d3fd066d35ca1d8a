"""One step of every scorer: the candidates that may follow each hypothesis, and what they score."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.search.scorer import AttendingState, Weighted, is_follower, is_full, is_partial
from seq2seq_asr.vocabulary import EOS

_NEVER = float("-inf")


class Expansion(NamedTuple):
    """Candidates of every hypothesis: the best tokens and the end, in order of their ids."""

    tokens: Int[Tensor, "BK M"]
    scores: Float[Tensor, "BK M N"]
    """What each candidate adds to the unweighted total of each scorer."""
    confident_end: Bool[Tensor, " BK"]
    """Whether the end passes the end-of-sentence threshold."""
    states: tuple[Any, ...]
    """Of each scorer: a full one's state after the last token, a partial one's extension."""


def expand(
    scorers: Sequence[Weighted],
    states: Sequence[Any],
    last: Int[Tensor, " BK"],
    count: int,
    end_threshold: float | None = None,
) -> Expansion:
    """Let every scorer advance by the last tokens and score what may come next.

    Args:
        scorers: Each with a name of its own. The first is a full one and decides whether the end is confident.
        states: Their states before ``last``.
        last: Last tokens.
        count: Candidates a hypothesis besides the end, best by the weighted sum of the full scorers.
        end_threshold: See ``BeamConfig.end_threshold``.
    """
    pairs = list(zip(scorers, states, strict=True))
    full = {w.name: w.scorer.step(last, state) for w, state in pairs if is_full(w.scorer)}
    weighted = [w.weight * full[w.name][0] for w in scorers if w.name in full]
    combined = functools.reduce(torch.add, weighted)
    tokens = best_tokens(combined, min(count + 1, combined.shape[1]))
    part = {w.name: w.scorer.extend(tokens, state) for w, state in pairs if is_partial(w.scorer)}
    part |= {name: (log_probs.gather(1, tokens), state) for name, (log_probs, state) in full.items()}
    for name, (gain, state) in _follow(pairs, full[scorers[0].name][1]).items():
        part[name] = gain[:, None].expand(tokens.shape), state
    scores = torch.stack([part[w.name][0].double() for w in scorers], 2)
    confident = confident_end(full[scorers[0].name][0], end_threshold)
    return Expansion(tokens, scores, confident, tuple(part[w.name][1] for w in scorers))


def _follow(pairs: Sequence[tuple[Weighted, Any]], attention: Any) -> dict[str, tuple[Tensor, Any]]:
    """What the followers make of where the first scorer looks now."""
    followers = [(w.name, w.scorer, state) for w, state in pairs if is_follower(w.scorer)]
    if not followers:
        return {}
    if not isinstance(attention, AttendingState):
        raise TypeError(f"{followers[0][0]}: the first scorer has no alignment to follow")
    return {name: scorer.follow(attention.alignment, state) for name, scorer, state in followers}


def select_states(
    scorers: Sequence[Weighted], expansion: Expansion, parents: Int[Tensor, " BK"], columns: Int[Tensor, " BK"]
) -> tuple[Any, ...]:
    """States of the chosen extensions: candidate ``columns[i]`` of hypothesis ``parents[i]``."""
    extended = parents * expansion.tokens.shape[1] + columns
    chosen = [extended if weighted.partial else parents for weighted in scorers]
    return tuple(state.select(rows) for state, rows in zip(expansion.states, chosen, strict=True))


def peaks(expansion: Expansion) -> Int[Tensor, " BK"] | None:
    """Frames that the first scorer looked at in this step, if it looks at any."""
    return getattr(expansion.states[0], "peaks", None)  # an `AlignedState`, if there are any


def limit_shift(expansion: Expansion, previous: Int[Tensor, " BK"], most: int) -> Expansion:
    """Let no hypothesis grow whose attention jumped (the hard attention limit of Hannun et al. 2019, section 2.4).

    It may end still: after the last word, the attention often leaps over the silence to the last frame.

    Args:
        expansion: What may follow.
        previous: Frames that the attention looked at in the step before.
        most: Frames it may go from there, forward or back.
    """
    looked = peaks(expansion)
    if looked is None:
        return expansion
    jumped = (looked - previous).abs() > most
    barred = jumped[:, None] & (expansion.tokens != EOS)
    return expansion._replace(scores=expansion.scores.masked_fill(barred[:, :, None], _NEVER))


def may_end(expansion: Expansion, long_enough: Bool[Tensor, " BK"]) -> Bool[Tensor, " BK"]:
    """Whether a hypothesis may end here: long and sure enough, or unable to go on (it would be lost)."""
    impossible = (expansion.scores == _NEVER).any(2)
    stuck = (impossible | (expansion.tokens == EOS)).all(1)
    return (long_enough & expansion.confident_end) | stuck


def best_tokens(log_probs: Float[Tensor, "BK V"], count: int) -> Int[Tensor, "BK M"]:
    """The ``count`` most probable tokens of each row, ``EOS`` always among them, in order of their ids.

    Among equals the lowest ids are taken, which ``topk`` does not promise: it only finds the value to reach.
    """
    values = _with_end(log_probs, float("inf"))
    reach = values.topk(count, sorted=False).values.amin(1, keepdim=True)
    above, level = values > reach, values == reach
    taken = above | (level & (level.cumsum(1) <= count - above.sum(1, keepdim=True)))
    slot = torch.where(taken, taken.cumsum(1) - 1, count)
    ids = torch.arange(values.shape[1], device=values.device).expand_as(slot)
    return ids.new_zeros(values.shape[0], count + 1).scatter_(1, slot, ids)[:, :count]


def confident_end(log_probs: Float[Tensor, "BK V"], threshold: float | None) -> Bool[Tensor, " BK"]:
    """Whether ``log p(end) >= threshold * log p(best other token)`` (Hannun et al. 2019)."""
    end = log_probs[:, EOS]
    if threshold is None:
        return torch.ones_like(end, dtype=torch.bool)
    return end >= threshold * _with_end(log_probs, _NEVER).amax(1)


def _with_end(log_probs: Tensor, value: float) -> Tensor:
    """A copy in which the end has this value; ``index_fill`` would wait for its index to reach the device."""
    copy = log_probs.clone()
    copy[:, EOS] = value
    return copy
