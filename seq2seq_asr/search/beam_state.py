"""The beam search's state: a value of fixed shape, and the few operations on it."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.vocabulary import SOS


class Hypotheses(NamedTuple):
    """K hypotheses of each utterance; a score of -inf marks an empty place."""

    score: Float[Tensor, "B K"]
    """Weighted total while growing, ranking score once finished."""
    totals: Float[Tensor, "B K N"]
    """Unweighted total of each scorer."""
    tokens: Int[Tensor, "B K L"]
    """Start token and tokens; arbitrary behind ``length``."""
    frames: Int[Tensor, "B K L"]
    """Attention peak of the token in the same place of ``tokens``."""
    length: Int[Tensor, "B K"]
    """Tokens without start and end."""

    def take(self, columns: Int[Tensor, "B P"]) -> "Hypotheses":
        """The hypotheses at these places of each utterance."""
        return Hypotheses(*(_gather(part, columns) for part in self))

    def join(self, other: "Hypotheses") -> "Hypotheses":
        """These hypotheses of each utterance, then those of ``other``."""
        return Hypotheses(*(torch.cat(parts, 1) for parts in zip(self, other, strict=True)))

    def where(self, condition: Bool[Tensor, " B"], other: "Hypotheses") -> "Hypotheses":
        """These hypotheses in utterances where ``condition`` holds, those of ``other`` elsewhere."""
        parts = zip(self, other, strict=True)
        return Hypotheses(*(torch.where(condition.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in parts))


class BeamState(NamedTuple):
    """All that a beam search knows between two steps."""

    active: Hypotheses
    """Growing hypotheses; of a closed utterance, those that the maximum length cut."""
    finished: Hypotheses
    """The best hypotheses that ended, best first."""
    scorers: tuple[Any, ...]
    """State of each scorer, for the active hypotheses."""
    open: Bool[Tensor, " B"]
    """Utterances whose search goes on."""
    behind: Int[Tensor, " B"]
    """Steps since an active hypothesis last ranked with the finished ones."""


def empty_hypotheses(utterances: int, places: int, scorers: int, size: int, device: torch.device) -> Hypotheses:
    """Empty places, with room for ``size`` tokens and the start token."""
    length = torch.zeros(utterances, places, dtype=torch.long, device=device)
    tokens = length.new_full((utterances, places, size + 1), SOS)
    totals = torch.zeros(utterances, places, scorers, dtype=torch.float64, device=device)
    score = torch.full_like(totals[:, :, 0], float("-inf"))
    return Hypotheses(score, totals, tokens, torch.zeros_like(tokens), length)


def best_places(scores: Float[Tensor, "B C"], count: int) -> Int[Tensor, "B P"]:
    """Places of the ``count`` best scores, best first; among equals the earlier, as ``topk`` would not."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def _gather(part: Tensor, columns: Tensor) -> Tensor:
    index = columns if part.ndim == 2 else columns[:, :, None].expand(-1, -1, part.shape[2])
    return part.gather(1, index)
