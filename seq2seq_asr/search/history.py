"""What a beam search did, step by step, and the hypotheses read from it on the host."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.advance import Kept
from seq2seq_asr.search.hypothesis import NOTHING, Hypothesis
from seq2seq_asr.search.ranking import Ranking
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
    read = _Reader(history, names)
    scores, parents, tokens = (
        torch.stack(part).transpose(0, 1).cpu()
        for part in zip(*((kept.score, kept.parents, kept.tokens) for kept in history), strict=True)
    )
    ends, steps = tokens == EOS, torch.arange(len(history))[:, None]
    found = []
    for row, (most, counted) in enumerate(zip(longest.tolist(), last.tolist(), strict=True)):
        ended = ranking.score(scores[row], steps).masked_fill(~ends[row] | (steps > counted), _NEVER)
        hypotheses = [_End(score, step, place, True) for score, step, place in _best(ended, nbest)]
        if counted == most:
            growing = scores[row, most - 1].masked_fill(ends[row, most - 1], _NEVER)
            growing[parents[row, most][ends[row, most] & (scores[row, most] > _NEVER)]] = _NEVER
            cut = ranking.score(growing, most)[None]
            hypotheses += [_End(score, most - 1, place, False) for score, _, place in _best(cut, nbest)]
        found.append([read(row, end) for end in hypotheses[:nbest]] or [NOTHING])
    return found


def _best(scores: Float[Tensor, "T K"], count: int) -> Iterator[tuple[float, int, int]]:
    """The best scores, where there are some, with their rows and columns; among equals the first."""
    values, places = scores.flatten().sort(descending=True, stable=True)
    for value, place in zip(values[:count].tolist(), places[:count].tolist(), strict=True):
        if value > _NEVER:
            yield value, *divmod(place, scores.shape[1])


class _Reader:
    """Follows hypotheses back through the history."""

    def __init__(self, history: Sequence[Kept], names: Sequence[str]) -> None:
        def all_steps(parts: Sequence[Tensor]) -> np.ndarray:
            return torch.stack(list(parts)).cpu().numpy()

        self._parents = all_steps([kept.parents for kept in history]).transpose(1, 0, 2).tolist()
        self._tokens = all_steps([kept.tokens for kept in history])
        frames = [kept.frames for kept in history if kept.frames is not None]
        self._frames = all_steps(frames) if frames else None
        each = zip(*(kept.gains for kept in history), strict=True)
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
