"""The default decoder's step for a search on the CPU: what ``nn.stepping`` computes, by compiled loops and products.

PyTorch spends microseconds on every call; a step is two or three products and as many loops.
"""

import functools
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.nn.attention import LocationAttention
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.packed_product import PackedProduct
from seq2seq_asr.nn.step_weights import arrange
from seq2seq_asr.vocabulary import BLANK, SOS


class CompiledMemory(NamedTuple):
    """Encoded utterances, and what their frames give to every step."""

    lengths: Int[Tensor, " B"]
    frames: Int[np.ndarray, " B"]
    """The lengths, for loops."""
    keys: Float[np.ndarray, "B S A"]
    values: Float[Tensor, "B S X"]
    """What each frame gives to gates and token scores, if it is ``weighed`` already; else the frames."""
    weighed: bool


class CompiledState(NamedTuple):
    """Everything hypotheses own between two steps, in the rows of the step before: it is moved when it is read."""

    hidden: Float[np.ndarray, "P D"]
    from_hidden: Float[np.ndarray, "P AD3V"]
    """What it gives: the query, then what gates and token scores had of it."""
    mixed: Float[np.ndarray, "P D3V"]
    """What frames gave to gates and token scores."""
    found: Float[np.ndarray, "P S"]
    """Alignments."""
    found_peaks: Int[np.ndarray, " P"]
    parents: Int[np.ndarray, " BK"]
    """Row of each hypothesis."""

    def select(self, parents: Int[Tensor, " BK2"]) -> "CompiledState":
        """The states of these parents, in this order; a parent may repeat."""
        return CompiledState(*self[:5], self.parents.take(parents.numpy()))

    @property
    def alignment(self) -> Float[Tensor, "BK S"]:
        """Attention weights of the last step."""
        return torch.from_numpy(self.found.take(self.parents, 0))

    @property
    def peaks(self) -> Int[Tensor, " BK"]:
        """Encoded frame with the largest of them."""
        return torch.from_numpy(self.found_peaks.take(self.parents))


class CompiledStepping:
    """A decoder with its weights as they are now, for searches alone; make a new one when they change.

    Args:
        decoder: One that ``nn.stepping.steps_quickly``, in float32 on a CPU, in evaluation mode.
    """

    emits = True
    """See ``search.attention.Decoder``."""

    def __init__(self, decoder: Decoder) -> None:
        from seq2seq_asr.cpu import decoder_step  # imports Numba

        self._loops = decoder_step
        self._units, self._key = decoder.config.units, cast(LocationAttention, decoder.attention).key
        weights = arrange(decoder)
        self._from_hidden = PackedProduct(weights.state.t(), weights.state_bias)
        self._from_context, self._given = PackedProduct(weights.context), weights.context.shape[1]
        self._bias, self._table = weights.state_bias.numpy(), weights.table.numpy()
        # Filters and their weights come in groups; those that fill the last one up find nothing.
        (channels, width), taps = weights.filters.shape, decoder_step.TAPS
        more, wide = -channels % decoder_step.CHANNELS, -(-width // taps) * taps
        before = wide // 2 - width // 2
        self._filters = F.pad(weights.filters, (before, wide - width - before, 0, more)).numpy()
        self._location = F.pad(weights.location, (0, more)).t().contiguous().numpy()
        self._score = weights.score.numpy()

    @torch.inference_mode()
    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> CompiledMemory:
        """Encoded utterances with what is computed once for all steps, in float32."""
        with torch.autocast("cpu", enabled=False):
            encoded = encoded.float()
            # Sums over frames, at every step, cost less than over their values.
            weighed = 2 * encoded.shape[1] <= encoded.shape[2]
            values = self._from_context(encoded.flatten(0, 1)).view(*encoded.shape[:2], -1) if weighed else encoded
            return CompiledMemory(lengths, lengths.numpy(), self._key(encoded).numpy(), values, weighed)

    def start(self, memory: CompiledMemory) -> CompiledState:
        """The state before the first token; see ``Decoder.start``."""
        batch, frames, _ = memory.keys.shape
        hidden, mixed = np.zeros((batch, self._units), np.float32), np.zeros((batch, self._given), np.float32)
        alignment, peaks = np.zeros((batch, frames), np.float32), np.zeros(batch, np.int64)
        alignment[:, 0] = 1.0
        return CompiledState(hidden, np.tile(self._bias, (batch, 1)), mixed, alignment, peaks, np.arange(batch))

    def step(
        self, token: Int[Tensor, " BK"], state: CompiledState, memory: CompiledMemory
    ) -> tuple[Float[Tensor, "BK V"], CompiledState]:
        """Advance every hypothesis by one token.

        Returns:
            Log probabilities of the next token, minus infinity for those that are never emitted, and the state.
        """
        count, loops, parents = token.shape[0], self._loops, state.parents
        hidden, log_probs = np.empty((count, self._units), np.float32), np.empty((count, len(self._table)), np.float32)
        loops.advance(hidden, state[:3], parents, token.contiguous().numpy(), self._table)
        from_hidden = self._from_hidden(torch.from_numpy(hidden)).numpy()
        alignment, peaks = np.empty((count, memory.keys.shape[1]), np.float32), np.empty(count, np.int64)
        loops.attend(
            alignment, peaks, from_hidden, state.found, parents, memory.keys, memory.frames,
            self._filters, self._location, self._score,
        )  # fmt: skip
        mixed = self._mix(torch.from_numpy(alignment), memory).numpy()
        loops.emitted_log_probs(log_probs, from_hidden, mixed, BLANK, SOS)
        after = CompiledState(hidden, from_hidden, mixed, alignment, peaks, _rows(count))
        return torch.from_numpy(log_probs), after

    def _mix(self, alignment: Float[Tensor, "BK S"], memory: CompiledMemory) -> Float[Tensor, "BK D3V"]:
        """What the frames give to gates and token scores."""
        utterances, frames, size = memory.values.shape
        mixed = torch.empty(alignment.shape[0], size)
        # Autocast leaves alone what is told where to write.
        torch.bmm(alignment.view(utterances, -1, frames), memory.values, out=mixed.view(utterances, -1, size))
        return mixed if memory.weighed else self._from_context(mixed)


@functools.lru_cache(maxsize=8)
def _rows(count: int) -> Int[np.ndarray, " N"]:
    return np.arange(count)
