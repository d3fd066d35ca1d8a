"""The attention decoder as a scorer."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.vocabulary import BLANK, SOS


@runtime_checkable
class Memory(Protocol):
    """Encoded utterances, as the decoder wants them."""

    @property
    def lengths(self) -> Tensor:
        """Encoded frames of each utterance."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """The part of the model's decoder that a search calls; its state has ``select(parents)`` and ``alignment``.

    One that ``emits`` gives log probabilities by itself, minus infinity for tokens that are never emitted. The
    alignments of one that says it ``aligns`` no token are not asked for peaks.
    """

    def start(self, memory: Any, /) -> Any:
        """The state before the first token."""
        ...

    def step(self, tokens: Tensor, state: Any, memory: Any, /) -> tuple[Tensor, Any]:
        """Unnormalised scores of the next token and the state after ``tokens``; rows share their utterance's memory."""
        ...


class AttentionState(NamedTuple):
    """The decoder's state; the memory belongs to the utterance, which parents never leave."""

    decoder: Any
    aligns: bool = True
    """Whether the alignment tells where the last token was said."""

    def select(self, parents: Int[Tensor, " BK"]) -> "AttentionState":
        """Reorder what hypotheses own."""
        return AttentionState(self.decoder.select(parents), self.aligns)

    @property
    def peaks(self) -> Int[Tensor, " BK"] | None:
        """Encoded frame with the largest attention weight in the last step; None where that means nothing."""
        if not self.aligns:
            return None
        known = getattr(self.decoder, "peaks", None)
        return self.alignment.argmax(-1) if known is None else known

    @property
    def alignment(self) -> Float[Tensor, "BK S"]:
        """Attention weights of the last step."""
        return self.decoder.alignment


class AttentionScorer:
    """Log probabilities of the attention decoder.

    Blank and start are never emitted: they get -inf. The others are not renormalised, so that a total equals the
    teacher-forced log probability of the same tokens.
    """

    def __init__(self, decoder: Decoder, memory: Memory) -> None:
        self._decoder = decoder
        self._memory = memory
        self._emits = getattr(decoder, "emits", False)
        self._aligns = getattr(decoder, "aligns", True)

    def start(self, beam: int = 1) -> AttentionState:
        """The state before the first token, ``beam`` equal rows per utterance."""
        lengths = self._memory.lengths
        utterances = torch.arange(lengths.shape[0], device=lengths.device)
        decoder = self._decoder.start(self._memory).select(utterances.repeat_interleave(beam))
        return AttentionState(decoder, self._aligns)

    def step(self, tokens: Int[Tensor, " BK"], state: AttentionState) -> tuple[Float[Tensor, "BK V"], AttentionState]:
        """Advance every hypothesis by its last token; see ``Scorer.step``."""
        logits, decoder = self._decoder.step(tokens, state.decoder, self._memory)
        if self._emits:
            return logits, AttentionState(decoder, self._aligns)
        # Half precision is too coarse to sum: log probabilities are at least float32.
        log_probs = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        log_probs[:, BLANK] = log_probs[:, SOS] = float("-inf")
        return log_probs, AttentionState(decoder, self._aligns)
