"""From the last state of a beam search to hypotheses on the host."""

from collections.abc import Sequence

import torch

from seq2seq_asr.search.beam_state import BeamState, best_places
from seq2seq_asr.search.hypothesis import NOTHING, Hypothesis
from seq2seq_asr.search.ranking import Ranking
from seq2seq_asr.search.scorer import AlignedState


def collect(state: BeamState, names: Sequence[str], ranking: Ranking) -> list[list[Hypothesis]]:
    """The finished hypotheses of each utterance, then those cut at its maximum length, best first.

    Args:
        state: Where the search stopped.
        names: Of the scorers.
        ranking: Scores what was cut.
    """
    places = state.finished.score.shape[1]
    cut = state.active.take(best_places(state.active.score, places))
    # Where the search closed before the maximum length, the pool is full or nothing is active: no cut one is returned.
    both = state.finished.join(cut._replace(score=ranking.score(cut.score, cut.length)))
    ended = torch.arange(2 * places) < places
    aligned = isinstance(state.scorers[0], AlignedState)
    columns = zip(*(part.tolist() for part in both), strict=True)
    return [_nbest(list(zip(*parts, ended.tolist(), strict=True)), names, places, aligned) for parts in columns]


def _nbest(rows: list[tuple], names: Sequence[str], count: int, aligned: bool) -> list[Hypothesis]:
    """Read the rows of one utterance; empty places have a score of -inf."""
    found = [
        Hypothesis(
            tokens=tuple(tokens[1 : length + 1]),
            score=score,
            log_prob=totals[0],
            scores=dict(zip(names, totals, strict=True)),
            frames=tuple(frames[1 : length + 1]) if aligned else (),
            ended=ended,
        )
        for score, totals, tokens, frames, length, ended in rows
        if score > float("-inf")
    ]
    return found[:count] or [NOTHING]
