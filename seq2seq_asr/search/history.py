"""What a beam search did, step by step, and the hypotheses read from it on the host."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.hypothesis import NOTHING, Hypothesis
from seq2seq_asr.search.ranking import Ranking


class Grown(NamedTuple):
    """What one step kept of each utterance."""

    parents: Int[Tensor, "B K"]
    """Place of the hypothesis, a step before, that each goes on from."""
    tokens: Int[Tensor, "B K"]
    frames: Int[Tensor, " BK"] | None
    """Where the first scorer looked, if it does."""
    gains: tuple[Float[Tensor, "B K"], ...]
    """What each scorer added, unweighted."""
    ended: Float[Tensor, "B K"]
    """Ranking scores of those that end here; -inf for the others."""
    cut: Float[Tensor, "B K"] | None
    """Totals of the hypotheses of the step before that stop as they are; -inf for the others. None: there are none."""


class _End(NamedTuple):
    """The last token of a hypothesis, as a place in the history."""

    score: float
    """What it ranks by."""
    step: int
    place: int
    ended: bool


def collect(history: Sequence[Grown], names: Sequence[str], ranking: Ranking, nbest: int) -> list[list[Hypothesis]]:
    """The hypotheses of each utterance that ended, then those cut at its maximum length, best first.

    Args:
        history: All steps.
        names: Of the scorers.
        ranking: Scores what was cut.
        nbest: Hypotheses of an utterance, at most.
    """
    read = _Reader(history, names)
    ended = torch.stack([grown.ended for grown in history]).cpu().numpy()
    cut = {step: grown.cut.cpu() for step, grown in enumerate(history) if grown.cut is not None}
    found = []
    for utterance in range(ended.shape[1]):
        ends = [_End(score, step, place, True) for score, step, place in _best(ended[:, utterance], nbest)]
        for step, totals in cut.items():
            scores = ranking.score(totals[utterance], step).numpy()[None]
            ends += [_End(score, step - 1, place, False) for score, _, place in _best(scores, nbest)]
        found.append([read(utterance, end) for end in ends[:nbest]] or [NOTHING])
    return found


def _best(scores: Float[np.ndarray, "T K"], count: int) -> Iterator[tuple[float, int, int]]:
    """The best scores, where there are some, with their rows and columns; among equals the first."""
    places = np.argsort(-scores, axis=None, kind="stable")[:count]
    for row, column in zip(*np.unravel_index(places, scores.shape), strict=True):
        if scores[row, column] > -np.inf:
            yield float(scores[row, column]), int(row), int(column)


class _Reader:
    """Follows hypotheses back through the history."""

    def __init__(self, history: Sequence[Grown], names: Sequence[str]) -> None:
        def all_steps(parts: Sequence[Tensor]) -> np.ndarray:
            return torch.stack([part.view_as(history[0].parents) for part in parts]).cpu().numpy()

        self._parents = all_steps([grown.parents for grown in history]).transpose(1, 0, 2).tolist()
        self._tokens = all_steps([grown.tokens for grown in history])
        frames = [grown.frames for grown in history if grown.frames is not None]
        self._frames = all_steps(frames) if frames else None
        each = zip(*(grown.gains for grown in history), strict=True)
        self._gains = {name: all_steps(gains).astype(np.float64) for name, gains in zip(names, each, strict=True)}

    def __call__(self, utterance: int, end: _End) -> Hypothesis:
        place, places = end.place, []
        for parents in reversed(self._parents[utterance][: end.step + 1]):
            places.append(place)
            place = parents[place]
        path = np.arange(end.step + 1), utterance, np.array(places[::-1], dtype=np.int64)
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
