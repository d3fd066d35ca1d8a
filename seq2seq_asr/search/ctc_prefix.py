"""CTC prefix score: how probable is it, for CTC, that the transcript starts so?

Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", Algorithm 2, for all
utterances, beams and candidates at once. Two remarks make it fast:

* The score of ``g`` followed by ``c`` needs the forward variables of ``g`` only. So candidates are scored with one sum
  over frames, a matrix product, and forward variables are computed for those that the search keeps.
* The forward variables obey ``r[t] = p[t] * (r[t-1] + x[t])``, a linear recursion. With ``P[t] = p[1] * ... * p[t]``
  its solution is ``r[t] = P[t] * sum over s <= t of x[s] / P[s-1]``: a cumulative sum instead of a loop over frames.

Forward variables have a column 0 for "before the first frame", where the empty prefix has probability 1.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.vocabulary import BLANK, EOS, SOS

LOWEST = -600.0
"""Log posteriors below this count as this: the lowest round figure whose exponential is a normal double."""
_NEVER = float("-inf")


class CtcPrefixState(NamedTuple):
    """Forward variables of prefixes, in natural logs and double precision."""

    nonblank: Float[Tensor, "BK S1"]
    """Alignments of the prefix to the first t frames that end in its last token."""
    blank: Float[Tensor, "BK S1"]
    """The same that end in blank."""
    prefix: Float[Tensor, " BK"]
    """Log probability that the transcript starts with the prefix."""
    last: Int[Tensor, " BK"]
    """Last token of the prefix."""
    utterance: Int[Tensor, " BK"]
    """Index of the utterance in the batch."""

    def select(self, parents: Int[Tensor, " BK"]) -> "CtcPrefixState":
        """The state whose row ``i`` is row ``parents[i]`` of this one."""
        return CtcPrefixState(*(part.index_select(0, parents) for part in self))


class CtcExtension(NamedTuple):
    """Scored candidates, whose forward variables are computed when they are selected."""

    scorer: "CtcPrefixScorer"
    state: CtcPrefixState
    candidates: Int[Tensor, "BK M"]
    prefix: Float[Tensor, "BK M"]
    onsets: Float[Tensor, "BK S 2"]
    """See ``CtcPrefixScorer``."""

    def select(self, parents: Int[Tensor, " BK"]) -> CtcPrefixState:
        """The state of chosen candidates; row ``i * M + j`` is prefix ``i`` followed by its candidate ``j``."""
        rows = parents // self.candidates.shape[1]
        tokens, prefix = (part.flatten().index_select(0, parents) for part in (self.candidates, self.prefix))
        repeats = tokens == self.state.last.index_select(0, rows)
        after_any, after_blank = self.onsets.index_select(0, rows).unbind(2)
        onsets = torch.where(repeats[:, None], after_blank, after_any)
        return self.scorer.grow(onsets, tokens, prefix, self.state.utterance.index_select(0, rows))


class CtcPrefixScorer:
    """A ``PartialScorer`` over CTC log posteriors.

    Args:
        log_probs: Natural-log posteriors of every encoded frame, log-softmaxed, with ``BLANK`` = 0.
        lengths: Encoded frames of each utterance; what lies behind is ignored.
    """

    def __init__(self, log_probs: Float[Tensor, "B S V"], lengths: Int[Tensor, " B"]) -> None:
        if log_probs.shape[1] == 0:  # a padding frame, so that there is something to take the largest of
            log_probs = log_probs.new_zeros(log_probs.shape[0], 1, log_probs.shape[2])
        frames = torch.arange(log_probs.shape[1], device=log_probs.device)
        self._outside = frames >= lengths[:, None]
        self._lengths = lengths
        self._vocabulary = log_probs.shape[2]
        # A row per utterance and token: a candidate's posteriors then lie together in memory.
        self._by_token = self._probabilities(log_probs)
        self._silent = self._by_token[BLANK :: self._vocabulary].log()
        self._blanks = _sums(self._silent)

    def start(self, beam: int = 1) -> CtcPrefixState:
        """Forward variables of the empty prefix: nothing but blanks."""
        utterance = torch.arange(len(self._lengths), device=self._lengths.device).repeat_interleave(beam)
        blank = torch.nn.functional.pad(self._blanks[0].index_select(0, utterance), (1, 0))
        prefix = blank.new_zeros(len(utterance))
        return CtcPrefixState(torch.full_like(blank, _NEVER), blank, prefix, torch.full_like(utterance, SOS), utterance)

    def extend(
        self, candidates: Int[Tensor, "BK M"], state: CtcPrefixState
    ) -> tuple[Float[Tensor, "BK M"], CtcExtension]:
        """Score every prefix followed by each of its candidates; see ``PartialScorer.extend``.

        Returns:
            The change of the prefix's log probability, 0 at most; for ``EOS`` the step from "starts so" to "is so".
        """
        onsets = self._onsets(state)
        peaks = onsets.amax(1, keepdim=True).clamp(min=torch.finfo(onsets.dtype).min)  # finite where all is -inf
        posteriors = self._posteriors(state.utterance[:, None], candidates)
        after_any, after_blank = ((posteriors @ (onsets - peaks).exp()).log() + peaks).unbind(2)
        prefix = torch.where(candidates == state.last[:, None], after_blank, after_any)
        prefix = torch.where(candidates == EOS, self._complete(state)[:, None], prefix)
        prefix = prefix.masked_fill((candidates == BLANK) | (candidates == SOS), _NEVER)
        # Rounding must not let a longer prefix be more probable: the search's stopping rule relies on it.
        prefix = torch.minimum(prefix, state.prefix[:, None])
        change = torch.where(prefix == _NEVER, _NEVER, prefix - state.prefix[:, None])
        return change, CtcExtension(self, state, candidates, prefix, onsets)

    def grow(
        self,
        onsets: Float[Tensor, "BK S"],
        tokens: Int[Tensor, " BK"],
        prefix: Float[Tensor, " BK"],
        utterance: Int[Tensor, " BK"],
    ) -> CtcPrefixState:
        """Forward variables of every prefix after one token more.

        Args:
            onsets: Log probability that all before this token is complete just before each frame.
            tokens: The token.
            prefix: Log probability that the transcript starts with the prefix, this token included.
            utterance: Index of the utterance.
        """
        nonblank = _recursion(onsets, *_sums(self._posteriors(utterance, tokens).log()))
        blank = _recursion(nonblank[:, :-1], *(part.index_select(0, utterance) for part in self._blanks))
        return CtcPrefixState(nonblank, blank, prefix, tokens, utterance)

    def _probabilities(self, log_probs: Float[Tensor, "B S V"]) -> Float[Tensor, "BV S"]:
        """Probabilities of every token in all frames, 1 behind an utterance's last."""
        inside = log_probs.masked_fill(self._outside[:, :, None], 0.0)
        rows = inside.transpose(1, 2).flatten(0, 1).to(torch.float64, memory_format=torch.contiguous_format, copy=True)
        return rows.clamp_(min=LOWEST).exp_()

    def _posteriors(self, utterance: Tensor, tokens: Tensor) -> Tensor:
        """Probabilities of tokens in all frames, frames last."""
        rows = utterance * self._vocabulary + tokens
        return self._by_token.index_select(0, rows.flatten()).unflatten(0, rows.shape)

    def _onsets(self, state: CtcPrefixState) -> Float[Tensor, "BK S 2"]:
        """Log probability that the prefix is complete just before each frame: in any way, and with a blank last.

        Only the latter counts when the next token equals the last: without a blank between them they are one.
        """
        outside = self._outside.index_select(0, state.utterance).unsqueeze(2)
        blank = state.blank[:, :-1]
        either = torch.logaddexp(state.nonblank[:, :-1], blank)
        return torch.stack([either, blank], 2).masked_fill_(outside, _NEVER)

    def _complete(self, state: CtcPrefixState) -> Tensor:
        """Log probability that the prefix is the whole transcript."""
        ends = self._lengths[state.utterance][:, None]
        return torch.logaddexp(state.nonblank.gather(1, ends), state.blank.gather(1, ends))[:, 0]


def _sums(emission: Float[Tensor, "N S"]) -> tuple[Float[Tensor, "N S"], Float[Tensor, "N S"]]:
    """Log probability of nothing but this up to each frame, with it and without it."""
    survival = emission.cumsum(1)
    return survival, survival - emission


def _recursion(
    entering: Float[Tensor, "BK S"], survival: Float[Tensor, "BK S"], before: Float[Tensor, "BK S"]
) -> Float[Tensor, "BK S1"]:
    """Solve ``r[t] = emission[t] * (r[t-1] + entering[t])`` from ``r[0] = 0``, in logs, given the emission's sums."""
    solution = (entering - before).logcumsumexp(1).add_(survival)
    return torch.nn.functional.pad(solution, (1, 0), value=_NEVER)
