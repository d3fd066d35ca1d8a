"""What a beam search did, step by step, and the hypotheses read from it on the host."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from seq2seq_asr.search.advance import Kept, Table
from seq2seq_asr.search.hypothesis import NOTHING, Hypothesis
from seq2seq_asr.search.ranking import Ranking, terms
from seq2seq_asr.vocabulary import EOS

_NEVER = float("-inf")


class _End(NamedTuple):
    """The last token of a hypothesis, as a place in the history."""

    score: float
    """What it ranks by."""
    step: int
    place: int
    ended: bool


def collect(
    history: Sequence[Kept],
    longest: Int[Tensor, " B"],
    last: Int[Tensor, " B"],
    names: Sequence[str],
    ranking: Ranking,
    nbest: int,
) -> list[list[Hypothesis]]:
    """The hypotheses of each utterance that ended, then those cut at its maximum length, best first.

    Args:
        history: All steps.
        longest: Most tokens of each utterance.
        last: Last step of each utterance that counts: ``longest`` unless its search was closed before.
        names: Of the scorers.
        ranking: How they rank.
        nbest: Hypotheses of an utterance, at most.
    """
    scores, parents, tokens = (_all_steps(part) for part in zip(*(kept[:3] for kept in history), strict=True))
    read = _Reader(parents, tokens, history, names)
    until, most, ends, steps = last.numpy(force=True), longest.numpy(force=True), tokens == EOS, np.arange(len(history))
    bonus, divisors = terms(ranking, max(len(history), int(most.max()) + 1))
    ranked = (scores + bonus[steps, None]) / divisors[steps, None]
    ended = np.where(ends & (steps <= until[:, None])[:, :, None], ranked, _NEVER)
    cut = (_growing(scores, parents, ends, most) + bonus[most, None]) / divisors[most, None]
    cut[until < most] = _NEVER
    whole, others = _best(ended.reshape(len(most), -1), nbest), _best(cut, nbest)
    found, beam = [], int(scores.shape[2])
    for row in range(len(most)):
        hypotheses = [_End(score, *divmod(place, beam), True) for score, place in whole[row]]
        hypotheses += [_End(score, int(most[row]) - 1, place, False) for score, place in others[row]]
        found.append([read(row, end) for end in hypotheses[:nbest]] or [NOTHING])
    return found


def _growing(
    scores: Float[np.ndarray, "B T K"],
    parents: Int[np.ndarray, "B T K"],
    ends: Bool[np.ndarray, "B T K"],
    longest: Int[np.ndarray, " B"],
) -> Float[np.ndarray, "B K"]:
    """Totals of what has the most tokens that an utterance may have and did not end in the next step."""
    rows, latest = np.arange(len(scores)), np.minimum(longest, scores.shape[1] - 1)
    ended = ends[rows, latest] & (scores[rows, latest] > _NEVER)
    places = np.where(ended, parents[rows, latest], -1)
    gone = (places[:, :, None] == np.arange(scores.shape[2])).any(1)
    return np.where(ends[rows, latest - 1] | gone, _NEVER, scores[rows, latest - 1])


def _all_steps(parts: Sequence[Shaped[Table, "B K"]]) -> Shaped[np.ndarray, "B T K"]:
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return torch.stack(tensors, 1).numpy(force=True) if tensors else np.array(parts).swapaxes(0, 1)


def _best(scores: Float[np.ndarray, "B N"], count: int) -> list[list[tuple[float, int]]]:
    """The best scores of each row, where there are some, with their places; among equals the first."""
    places = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    values = scores[np.arange(len(scores))[:, None], places]
    pairs = (zip(*row, strict=True) for row in zip(values.tolist(), places.tolist(), strict=True))
    return [[(value, place) for value, place in row if value > _NEVER] for row in pairs]


class _Reader:
    """Follows hypotheses back through the history."""

    def __init__(
        self,
        parents: Int[np.ndarray, "B T K"],
        tokens: Int[np.ndarray, "B T K"],
        history: Sequence[Kept],
        names: Sequence[str],
    ) -> None:
        self._parents, self._tokens = parents.tolist(), tokens
        frames = [kept.frames for kept in history if kept.frames is not None]
        self._frames = _all_steps(frames) if frames else None
        each = zip(*(kept.gains for kept in history), strict=True)
        self._gains = {name: _all_steps(gains).astype(np.float64) for name, gains in zip(names, each, strict=True)}

    def __call__(self, utterance: int, end: _End) -> Hypothesis:
        place, places = end.place, []
        for parents in reversed(self._parents[utterance][: end.step + 1]):
            places.append(place)
            place = parents[place]
        path = utterance, np.arange(end.step + 1), np.array(places[::-1], dtype=np.int64)
        length = end.step + 1 - end.ended
        scores = {name: float(gains[path].sum()) for name, gains in self._gains.items()}
        return Hypothesis(
            tokens=tuple(self._tokens[path][:length].tolist()),
            score=end.score,
            log_prob=next(iter(scores.values())),
            scores=scores,
            frames=() if self._frames is None else tuple(self._frames[path][:length].tolist()),
            ended=end.ended,
        )
