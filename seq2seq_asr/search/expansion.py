"""One step of every scorer: the candidates that may follow each hypothesis, and what they score."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.scorer import AttendingState, Weighted, is_follower, is_full, is_partial
from seq2seq_asr.vocabulary import EOS

TIE = 1e-12
"""What each place loses to the one before, so that among equals the earlier is better."""
_MOST = 64
"""Places that the kernel looks for."""


class Expansion(NamedTuple):
    """What may follow every hypothesis."""

    tokens: Int[Tensor, "BK M"] | None
    """Candidates, the end first; None for the whole vocabulary, in order."""
    gains: tuple[Float[Tensor, "BK M"], ...]
    """What each candidate adds to the unweighted total of each scorer."""
    log_probs: Float[Tensor, "BK V"]
    """What the first scorer says of all tokens."""
    states: tuple[Any, ...]
    """Of each scorer: a full one's state after the last token, a partial one's extension."""

    @property
    def end(self) -> int:
        """Column of the end."""
        return EOS if self.tokens is None else 0

    @property
    def frames(self) -> Int[Tensor, " BK"] | None:
        """Frames that the first scorer looked at in this step, if it looks at any."""
        return getattr(self.states[0], "peaks", None)  # an `AlignedState`, if there are any

    def tokens_at(self, rows: Int[Tensor, " N"], columns: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        """Chosen candidates: ``columns[i]`` of hypothesis ``rows[i]``."""
        return columns if self.tokens is None else self.tokens[rows, columns]

    def gains_at(self, places: Int[Tensor, "B K"]) -> tuple[Float[Tensor, "B K"], ...]:
        """What chosen candidates added, a tensor a scorer; places count all candidates of an utterance."""
        return tuple(gain.reshape(len(places), -1).gather(1, places) for gain in self.gains)


def expand(
    scorers: Sequence[Weighted], states: Sequence[Any], last: Int[Tensor, " BK"], count: int, kernels: bool = False
) -> Expansion:
    """Let every scorer advance by the last tokens and score what may come next.

    Args:
        scorers: Each with a name of its own; the first is a full one.
        states: Their states before ``last``.
        last: Last tokens.
        count: Candidates a hypothesis besides the end, best by the weighted sum of the full scorers. Without partial
            scorers, all tokens are candidates.
        kernels: Whether GPU kernels may be used.
    """
    first = scorers[0].scorer
    if len(scorers) == 1 and is_full(first):
        log_probs, state = first.step(last, states[0])
        return Expansion(None, (log_probs,), log_probs, (state,))
    pairs = list(zip(scorers, states, strict=True))
    full = {w.name: w.scorer.step(last, state) for w, state in pairs if is_full(w.scorer)}
    log_probs, attention = full[scorers[0].name]
    tokens = None
    if any(weighted.partial for weighted in scorers):
        weighted = [w.weight * full[w.name][0] for w in scorers if w.name in full] if len(full) > 1 else [log_probs]
        tokens = best_tokens(functools.reduce(torch.add, weighted), count, kernels)
    part = {w.name: w.scorer.extend(tokens, state) for w, state in pairs if is_partial(w.scorer) and tokens is not None}
    for name, (gains, state) in full.items():
        part[name] = gains if tokens is None else gains.gather(1, tokens), state
    width = log_probs.shape[1] if tokens is None else tokens.shape[1]
    for name, (gain, state) in _follow(pairs, attention).items():
        part[name] = gain[:, None].expand(-1, width), state
    gained, after = zip(*(part[weighted.name] for weighted in scorers), strict=True)
    return Expansion(tokens, gained, log_probs, after)


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
    if expansion.tokens is None:
        return tuple([state.select(parents) for state in expansion.states])
    extended = parents * expansion.tokens.shape[1] + columns
    chosen = [extended if weighted.partial else parents for weighted in scorers]
    return tuple(state.select(rows) for state, rows in zip(expansion.states, chosen, strict=True))


def best_tokens(log_probs: Float[Tensor, "BK V"], count: int, kernels: bool = False) -> Int[Tensor, "BK M"]:
    """``EOS`` and the ``count`` most probable other tokens of each row, best first; among equals the lowest ids."""
    count = min(count, log_probs.shape[1] - 1)
    if log_probs.is_cpu and not kernels:
        from seq2seq_asr.cpu.best import find_tokens  # imports Numba

        return find_tokens(log_probs, count, TIE, EOS)
    others = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
    others[:, EOS] = -torch.inf  # behind the impossible ones: it must not come twice
    best = best_places(others, count, kernels)
    return torch.cat([best.new_full((len(best), 1), EOS), best], 1)


def best_places(scores: Float[Tensor, "B C"], count: int, kernels: bool = False) -> Int[Tensor, "B P"]:
    """Places of the ``count`` best scores, best first; among equals the earlier.

    ``topk`` promises no order among equals, so each place is given 1e-12 less than the one before.
    """
    if kernels and count <= _MOST:
        from seq2seq_asr.kernels.best import find_best  # imports Triton

        return find_best(scores, count, TIE)
    return (scores.double() - _order(scores.shape[1], scores.device)).topk(count).indices


@functools.lru_cache(maxsize=8)
def _order(places: int, device: torch.device) -> Float[Tensor, " C"]:
    return torch.arange(places, dtype=torch.float64, device=device) * TIE
