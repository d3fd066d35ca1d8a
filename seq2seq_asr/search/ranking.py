"""Lengths: how long a transcript may be, and how its length enters its score."""

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

LengthNormalisation = Literal["none", "length", "gnmt"]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The score by which transcripts of different lengths compare.

    ``(total + bonus * U) / divisor`` for U tokens and the end, which counts whether or not it was reached. The divisor
    is 1 (``none``), ``(U + 1) ** alpha`` (``length``) or ``((5 + U + 1) / 6) ** alpha`` (``gnmt``: Wu et al. 2016,
    equation 14).
    """

    normalisation: LengthNormalisation
    alpha: float
    bonus: float

    def score(self, total: Float[Tensor, "*shape"], length: Int[Tensor, "*#shape"] | int) -> Float[Tensor, "*shape"]:
        """Ranking score of weighted totals.

        Args:
            total: Weighted sums of log probabilities.
            length: Numbers of tokens, without start and end.
        """
        # A float times an integer tensor would be float32.
        exact = float(length) if isinstance(length, int) else length.to(total.dtype)
        return (total + self.bonus * exact) / self.divisor(exact + 1)

    def bound(
        self, total: Float[Tensor, " B"], length: int, longest: Int[Tensor, " B"], most: int, gain: float = 0.0
    ) -> Float[Tensor, " B"]:
        """The best ranking score that any completion of a prefix can reach.

        A further token adds at most ``gain`` to the total, so a completion of U tokens scores no more than
        ``total + (U - length + 1) * gain`` ranked at U. The largest of these over all allowed U is the bound; it is
        taken over a table because with a length bonus it need not lie at either end.

        Args:
            total: Weighted total of the prefix.
            length: Tokens in the prefix.
            longest: The most tokens allowed, of each utterance.
            most: The largest of ``longest``, known to the host so that nothing waits for the device.
            gain: The most that one token, or the end, adds to the total: 0 for log probabilities.
        """
        lengths = torch.arange(length, most + 2, device=total.device)[None, :]
        scores = self.score(total[:, None] + (lengths - length + 1).to(total.dtype) * gain, lengths)
        return scores.masked_fill(lengths > longest[:, None], float("-inf")).amax(1)

    def divisor(self, scored: Tensor | float) -> Tensor | float:
        """By what a total is divided when so many tokens are scored, the end among them."""
        if self.normalisation == "none":
            return 1.0
        base = scored if self.normalisation == "length" else (5 + scored) / 6
        return base**self.alpha


@functools.lru_cache(maxsize=8)
def terms(ranking: Ranking, lengths: int) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """Of each number of tokens below ``lengths``, what it adds to a total and what the sum is divided by."""
    tokens = torch.arange(lengths, dtype=torch.float64)
    return (ranking.bonus * tokens).numpy(), (torch.ones_like(tokens) * ranking.divisor(tokens + 1)).numpy()


def length_limit(lengths: Int[Tensor, " B"], ratio: float) -> Int[Tensor, " B"]:
    """Tokens allowed (or demanded) for a number of encoded frames: ``ratio`` of them, rounded."""
    return (lengths.double() * ratio).round().long()
