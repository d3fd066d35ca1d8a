"""The beam search's state: a value of fixed shape."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import SOS

_TIE = 1e-12


class BeamState(NamedTuple):
    """All that a beam search knows between two steps, besides its history."""

    score: Float[Tensor, "B K"]
    """Weighted total of every growing hypothesis; -inf marks an empty place."""
    last: Int[Tensor, " BK"]
    """Last tokens."""
    frames: Int[Tensor, " BK"] | None
    """Where the first scorer looked in the last step; None before the first, or if it does not look."""
    scorers: tuple[Any, ...]
    """State of each scorer."""
    pool: Float[Tensor, "B P"]
    """Ranking scores of the best that had ended at the last look, best first."""
    open: Bool[Tensor, " B"]
    """Utterances whose search goes on."""
    behind: Int[Tensor, " B"]
    """Steps since a growing hypothesis was last seen to rank with the pool."""
    first_row: Int[Tensor, "B 1"]
    """Row of each utterance's first beam."""


def start(scorers: Sequence[Weighted], utterances: int, beam: int, nbest: int, device: torch.device) -> BeamState:
    """The state before the first token."""
    score = torch.full((utterances, beam), -torch.inf, dtype=torch.float64, device=device)
    score[:, 0] = 0.0  # all beams start equal: only the first may grow, or the beam would fill with copies
    first_row = torch.arange(0, utterances * beam, beam, device=device)
    return BeamState(
        score=score,
        last=torch.full((utterances * beam,), SOS, device=device),
        frames=None,
        scorers=tuple(weighted.scorer.start(beam) for weighted in scorers),
        pool=score.new_full((utterances, nbest), -torch.inf),
        open=torch.ones(utterances, dtype=torch.bool, device=device),
        behind=torch.zeros_like(first_row),
        first_row=first_row[:, None],
    )


def best_places(scores: Float[Tensor, "B C"], count: int) -> Int[Tensor, "B P"]:
    """Places of the ``count`` best scores, best first; among equals the earlier.

    ``topk`` promises no order among equals, so each place is given 1e-12 less than the one before.
    """
    return (scores.double() - _order(scores.shape[1], scores.device)).topk(count).indices


@functools.lru_cache(maxsize=8)
def _order(places: int, device: torch.device) -> Float[Tensor, " C"]:
    return torch.arange(places, dtype=torch.float64, device=device) * _TIE
