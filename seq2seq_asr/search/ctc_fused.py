"""CTC prefix scores on a GPU: what ``search.ctc_prefix`` computes, by kernels."""

from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer, CtcPrefixState
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

if TYPE_CHECKING:
    from seq2seq_asr.kernels.ctc_prefix import Posteriors

MOST_FRAMES = 2048
"""Encoded frames that a kernel takes at once."""


class FusedExtension(NamedTuple):
    """Scored candidates, whose forward variables are computed when they are selected."""

    scorer: "FusedCtcPrefixScorer"
    state: CtcPrefixState
    candidates: Int[Tensor, "BK M"]
    change: Float[Tensor, "BK M"]
    grown: Float[Tensor, "BK M"]
    onsets: Float[Tensor, "BK S 2"]

    def select(self, parents: Int[Tensor, " BK2"]) -> CtcPrefixState:
        """The state of chosen candidates; row ``i * M + j`` is prefix ``i`` followed by its candidate ``j``."""
        from seq2seq_asr.kernels.ctc_prefix import Prefixes, Scored, grow_chosen  # imports Triton

        scored = Scored(self.change, self.grown, self.onsets)
        found = grow_chosen(self.scorer.posteriors, Prefixes(*self.state), self.candidates, scored, parents)
        return CtcPrefixState(*found)


class FusedCtcPrefixScorer(CtcPrefixScorer):
    """The same scorer with two launches a step; for at most `MOST_FRAMES` encoded frames."""

    @property
    def posteriors(self) -> "Posteriors":
        """What the kernels read of the utterances."""
        from seq2seq_asr.kernels.ctc_prefix import Posteriors  # imports Triton

        return Posteriors(self._by_token, *self._blanks, self._lengths)

    def extend(  # type: ignore[override]
        self, candidates: Int[Tensor, "BK M"], state: CtcPrefixState
    ) -> tuple[Float[Tensor, "BK M"], FusedExtension]:
        """Score every prefix followed by each of its candidates; see ``PartialScorer.extend``."""
        from seq2seq_asr.kernels.ctc_prefix import Prefixes, score_candidates  # imports Triton

        scored = score_candidates(self.posteriors, Prefixes(*state), candidates, (BLANK, SOS, EOS))
        return scored.change, FusedExtension(self, state, candidates, *scored)
