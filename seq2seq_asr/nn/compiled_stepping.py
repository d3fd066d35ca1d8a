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

from seq2seq_asr.cpu.parts import at_once, parts_of
from seq2seq_asr.nn.attention import LocationAttention
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.step_weights import arrange
from seq2seq_asr.vocabulary import BLANK, SOS

WORTH_A_THREAD = 32
"""Rows that a thread of its own is faster for."""


class CompiledMemory(NamedTuple):
    """Encoded utterances, and what their frames give to every step."""

    lengths: Int[Tensor, " B"]
    counts: Int[np.ndarray, " B"]
    """The lengths once more, for loops."""
    keys: Float[np.ndarray, "B S A"]
    values: Float[np.ndarray, "B C S W"]
    """What each frame gives to gates and token scores, if it is ``weighed`` already; else the frames. In blocks."""
    weighed: bool

    def of(self, some: slice) -> "CompiledMemory":
        """That of some utterances."""
        lengths, counts = self.lengths[some], self.counts[some]
        return CompiledMemory(lengths, counts, self.keys[some], self.values[some], self.weighed)


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

    def of(self, rows: slice) -> "CompiledState":
        """That of some hypotheses of a state that was not moved yet."""
        hidden, from_hidden, mixed, found, peaks, parents = (part[rows] for part in self)
        return CompiledState(hidden, from_hidden, mixed, found, peaks, parents)

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
        from seq2seq_asr.cpu import decoder_step, products  # imports Numba

        self._loops, self._products = decoder_step, products
        self._units, self._key = decoder.config.units, cast(LocationAttention, decoder.attention).key
        weights = arrange(decoder)
        self.from_hidden = products.pack(weights.state.t().numpy(), weights.state_bias.numpy())
        """From the state to query, gates and token scores."""
        self.from_context = products.pack(weights.context.numpy())
        """From what is attended to, to gates and token scores."""
        self._table = weights.table.numpy()
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
            encoded = encoded.detach().float().contiguous()
            keys, frames = self._key(encoded).numpy(), encoded.numpy()
        # Sums over frames, at every step, cost less than over their values.
        weighed = 2 * encoded.shape[1] <= encoded.shape[2]
        values = self._weigh(frames) if weighed else self._products.in_blocks(frames)
        return CompiledMemory(lengths, lengths.numpy(), keys, values, weighed)

    def start(self, memory: CompiledMemory) -> CompiledState:
        """The state before the first token; see ``Decoder.start``."""
        batch, frames, _ = memory.keys.shape
        hidden, peaks = np.zeros((batch, self._units), np.float32), np.zeros(batch, np.int64)
        mixed = np.zeros((batch, len(self.from_context.bias)), np.float32)
        alignment = np.zeros((batch, frames), np.float32)
        alignment[:, 0] = 1.0
        from_hidden = np.tile(self.from_hidden.bias, (batch, 1))
        return CompiledState(hidden, from_hidden, mixed, alignment, peaks, np.arange(batch))

    def step(
        self, token: Int[Tensor, " BK"], state: CompiledState, memory: CompiledMemory
    ) -> tuple[Float[Tensor, "BK V"], CompiledState]:
        """Advance every hypothesis by one token.

        Returns:
            Log probabilities of the next token, minus infinity for those that are never emitted, and the state.
        """
        batch, tokens = len(memory.keys), token.contiguous().numpy()
        after, log_probs = self._room(len(tokens), state), np.empty((len(tokens), len(self._table)), np.float32)
        beam = len(tokens) // batch
        fill = functools.partial(self._fill, log_probs, after, tokens, state, memory)
        at_once(fill, parts_of(batch, -(-WORTH_A_THREAD // beam)))
        return torch.from_numpy(log_probs), after

    def _room(self, count: int, like: CompiledState) -> CompiledState:
        """A state to be filled."""
        sizes = [part.shape[1] for part in like[:4]]
        hidden, from_hidden, mixed, found = (np.empty((count, size), np.float32) for size in sizes)
        return CompiledState(hidden, from_hidden, mixed, found, np.empty(count, np.int64), _rows(count))

    def _fill(
        self,
        log_probs: Float[np.ndarray, "BK V"],
        after: CompiledState,
        tokens: Int[np.ndarray, " BK"],
        before: CompiledState,
        memory: CompiledMemory,
        some: slice,
    ) -> None:
        """One step of some of the utterances."""
        beam = len(tokens) // len(memory.keys)
        rows = slice(some.start * beam, some.stop * beam)
        log_probs, after, tokens, parents = log_probs[rows], after.of(rows), tokens[rows], before.parents[rows]
        memory, loops, products = memory.of(some), self._loops, self._products
        loops.advance(after.hidden, before[:3], parents, tokens, self._table)
        products.multiply(after.from_hidden, after.hidden, *self.from_hidden)
        loops.attend(
            after.found, after.found_peaks, after.from_hidden, before.found, parents, memory.keys, memory.counts,
            self._filters, self._location, self._score,
        )  # fmt: skip
        if memory.weighed:
            products.mix(after.mixed, after.found, memory.values, memory.counts)
        else:
            context = np.empty((len(tokens), self.from_context.blocks.shape[1]), np.float32)
            products.mix(context, after.found, memory.values, memory.counts)
            products.multiply(after.mixed, context, *self.from_context)
        loops.emitted_log_probs(log_probs, after.from_hidden, after.mixed, BLANK, SOS)

    def _weigh(self, frames: Float[np.ndarray, "B S E"]) -> Float[np.ndarray, "B C S W"]:
        """What frames give to gates and token scores."""
        blocks, _, width = self.from_context.blocks.shape
        given = np.empty((len(frames), blocks, frames.shape[1], width), np.float32)

        parts = parts_of(len(frames), -(-WORTH_A_THREAD // frames.shape[1]))
        at_once(lambda some: self._products.multiply_in_blocks(given[some], frames[some], *self.from_context), parts)
        return given


@functools.lru_cache(maxsize=8)
def _rows(count: int) -> Int[np.ndarray, " N"]:
    return np.arange(count)
