"""Coverage: how much of the utterance the attention has looked at: nothing is to be skipped, or said twice."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class CoverageState(NamedTuple):
    """What each hypothesis has looked at."""

    seen: Float[Tensor, "BK S"]
    """Sum of all its alignments."""

    def select(self, parents: Int[Tensor, " BK"]) -> "CoverageState":
        """The state whose row ``i`` is row ``parents[i]`` of this one."""
        return CoverageState(self.seen[parents])


class CoverageScorer:
    """A ``Follower`` that counts the frames attended to.

    Chorowski and Jaitly 2017 ("Towards better decoding and language model integration in sequence to sequence models",
    equation 11) count the frames whose summed attention exceeds a threshold. Here a frame below the threshold counts in
    proportion, so that one token, whose attention sums to 1, never adds more than ``max_gain``: the stopping rule of
    the beam search needs such a bound.

    Args:
        lengths: Encoded frames of each utterance.
        frames: Encoded frames S of the padded batch.
        threshold: Summed attention, above 0, with which a frame is covered.
    """

    def __init__(self, lengths: Int[Tensor, " B"], frames: int, threshold: float = 0.5) -> None:
        self._lengths, self._frames, self._threshold = lengths, frames, threshold

    @property
    def max_gain(self) -> float:
        """The most frames that one token can cover; a little is left to rounding."""
        return (1 + 1e-5) / self._threshold

    def start(self, beam: int = 1) -> CoverageState:
        """Nothing seen yet, ``beam`` equal rows per utterance."""
        rows = len(self._lengths) * beam
        return CoverageState(torch.zeros(rows, self._frames, dtype=torch.float64, device=self._lengths.device))

    def follow(
        self, alignment: Float[Tensor, "BK S"], state: CoverageState
    ) -> tuple[Float[Tensor, " BK"], CoverageState]:
        """Frames that this alignment newly covers, the same whatever token it brings forth; see ``Follower``."""
        after = CoverageState(state.seen + alignment)
        return self._covered(after) - self._covered(state), after

    def _covered(self, state: CoverageState) -> Float[Tensor, " BK"]:
        return (state.seen / self._threshold).clamp(max=1.0).sum(1)
