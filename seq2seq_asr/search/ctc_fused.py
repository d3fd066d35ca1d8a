"""CTC prefix scores by loops: what ``search.ctc_prefix`` computes, on a GPU by kernels, on a CPU by compiled code."""

from types import ModuleType
from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.ctc_prefix import LOWEST, CtcPrefixScorer, CtcPrefixState
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

MOST_FRAMES = 2048
"""Encoded frames that a kernel takes at once."""


class FusedExtension(NamedTuple):
    """Scored candidates, whose forward variables are computed when they are selected."""

    loops: ModuleType
    scored: Any
    """What the loops have found, and from what."""

    def select(self, parents: Int[Tensor, " BK2"]) -> CtcPrefixState:
        """The state of chosen candidates; row ``i * M + j`` is prefix ``i`` followed by its candidate ``j``."""
        return CtcPrefixState(*self.loops.grow_chosen(self.scored, parents))


class FusedCtcPrefixScorer(CtcPrefixScorer):
    """The same scorer with two launches a step; for at most `MOST_FRAMES` encoded frames."""

    def loops(self) -> ModuleType:
        """What computes a step."""
        from seq2seq_asr.kernels import ctc_prefix  # imports Triton

        return ctc_prefix

    def posteriors(self) -> Any:
        """What the loops read of the utterances."""
        return self.loops().Posteriors(self._by_token, *self._blanks, self._lengths)

    def extend(  # type: ignore[override]
        self, candidates: Int[Tensor, "BK M"], state: CtcPrefixState
    ) -> tuple[Float[Tensor, "BK M"], FusedExtension]:
        """Score every prefix followed by each of its candidates; see ``PartialScorer.extend``."""
        loops = self.loops()
        scored = loops.score_candidates(self.posteriors(), state, candidates, (BLANK, SOS, EOS))
        return scored.change, FusedExtension(loops, scored)


class CompiledCtcPrefixScorer(FusedCtcPrefixScorer):
    """The same scorer for a CPU, with two calls a step."""

    def loops(self) -> ModuleType:
        """What computes a step."""
        from seq2seq_asr.cpu import ctc_prefix  # imports Numba

        return ctc_prefix

    def posteriors(self) -> Any:
        """What the loops read of the utterances."""
        return self.loops().Posteriors(self._by_token, self._lengths, self._silent)

    def _probabilities(self, log_probs: Float[Tensor, "B S V"]) -> Float[Tensor, "BV S"]:
        return self.loops().probabilities(log_probs, self._lengths, LOWEST)


def ctc_prefix_scorer(
    log_probs: Float[Tensor, "B S V"], lengths: Int[Tensor, " B"], kernels: bool = False
) -> CtcPrefixScorer:
    """The fastest scorer of these posteriors: compiled on a CPU, on a GPU by kernels where they may score.

    Args:
        log_probs: As for `CtcPrefixScorer`.
        lengths: As for `CtcPrefixScorer`.
        kernels: Whether GPU kernels may be used.
    """
    if kernels:
        return (FusedCtcPrefixScorer if log_probs.shape[1] <= MOST_FRAMES else CtcPrefixScorer)(log_probs, lengths)
    return (CompiledCtcPrefixScorer if log_probs.is_cpu else CtcPrefixScorer)(log_probs, lengths)
