"""The default decoder's step for a search on a GPU: what ``nn.stepping`` computes, by kernels."""

from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.nn.attention import LocationAttention
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.fused import chosen
from seq2seq_asr.nn.fused_energies import no_place
from seq2seq_asr.nn.step_weights import arrange
from seq2seq_asr.vocabulary import BLANK, SOS


class FusedMemory(NamedTuple):
    """Encoded utterances, and what their frames give to every step."""

    lengths: Int[Tensor, " B"]
    keys: Float[Tensor, "B S A"]
    values: Float[Tensor, "B S X"]
    """To the gates and to the token scores."""


class FusedState(NamedTuple):
    """Everything a hypothesis owns between two steps."""

    state: Float[Tensor, "BK D5"]
    """See ``kernels.search_step.advance``."""
    alignment: Float[Tensor, "BK S"]

    def select(self, parents: Int[Tensor, " BK2"]) -> "FusedState":
        """The states of these parents, in this order; a parent may repeat."""
        return FusedState(*(part.index_select(0, parents) for part in self))


class FusedStepping:
    """A decoder with its weights as they are now, for searches alone; make a new one when they change.

    Args:
        decoder: One that ``nn.stepping.steps_quickly``, in float32 and evaluation mode.
    """

    emits = True
    """See ``search.attention.Decoder``."""

    def __init__(self, decoder: Decoder) -> None:
        self._units, self._key = decoder.config.units, cast(LocationAttention, decoder.attention).key
        from seq2seq_asr.kernels.search_step import Weights  # imports Triton

        *weights, self._context = arrange(decoder)
        self._weights = Weights(*weights)

    @torch.inference_mode()
    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> FusedMemory:
        """Encoded utterances with what is computed once for all steps, in float32."""
        with torch.autocast(encoded.device.type, enabled=False):
            encoded = encoded.float()
            return FusedMemory(lengths, self._key(encoded), encoded @ self._context)

    def start(self, memory: FusedMemory) -> FusedState:
        """The state before the first token; see ``Decoder.start``."""
        batch, frames, _ = memory.keys.shape
        state, alignment = memory.keys.new_zeros(batch, 5 * self._units), memory.keys.new_zeros(batch, frames)
        state[:, 3 * self._units : 4 * self._units] = self._weights.state_bias[self._new]
        alignment[:, 0] = 1.0
        return FusedState(state, alignment)

    @torch.inference_mode()
    def step(
        self, token: Int[Tensor, " BK"], state: FusedState, memory: FusedMemory
    ) -> tuple[Float[Tensor, "BK V"], FusedState]:
        """Advance every hypothesis by one token.

        Returns:
            Log probabilities of the next token, minus infinity for those that are never emitted, and the state.
        """
        from seq2seq_asr.kernels.search_step import Utterances, emitted_log_probs, search_step

        logits, *after = search_step(self._weights, Utterances(*memory), token, *state)
        return emitted_log_probs(logits, BLANK, SOS), FusedState(*after)

    @property
    def _new(self) -> slice:
        """Where the state's share of the new memory stands among what the state gives."""
        before = len(self._weights.score) + 2 * self._units
        return slice(before, before + self._units)


def fused_stepping(decoder: Decoder) -> FusedStepping | None:
    """The kernels' step of a decoder that steps quickly; None where PyTorch is to step.

    Raises:
        UsageError: The kernels are required and cannot be used.
    """
    weight = decoder.embedding.weight
    if decoder.kernels == "off" or (decoder.kernels == "auto" and not weight.is_cuda):
        return None
    reason = no_place(weight) if weight.dtype == torch.float32 else f"{str(weight.dtype)[6:]} weights"
    return FusedStepping(decoder) if chosen(decoder.kernels, weight.device, "search step", reason) else None
