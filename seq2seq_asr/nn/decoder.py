"""Attention decoder: stacked recurrence with input feeding, one token a step, state passed as a value."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.attention import AttentionConfig, LocationAttention, Memory, build_attention
from seq2seq_asr.nn.attention.base import tanh
from seq2seq_asr.nn.cells import CellKind, PeepholeConfig, build_cell, state_size
from seq2seq_asr.nn.dropout import Dropout
from seq2seq_asr.nn.unroll import unroll
from seq2seq_asr.vocabulary import SOS


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The speller: recurrent layers over the last token and the attended context."""

    cell: CellKind = "gru"
    """Recurrent cell."""
    peephole: PeepholeConfig = field(default_factory=PeepholeConfig)
    """What the gates of a peephole LSTM see."""
    units: int = 256
    """Hidden units of every layer."""
    layers: int = 1
    """Number of stacked layers; the top one asks the attention."""
    embedding: int = 128
    """Size of the token embedding."""
    dropout: float = 0.1
    """Dropout on embeddings, between layers and before the output."""

    def __post_init__(self) -> None:
        if min(self.units, self.layers, self.embedding) < 1:
            raise UsageError("decoder.units, decoder.layers and decoder.embedding: must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise UsageError("decoder.dropout: must lie in [0, 1)")


class DecoderState(NamedTuple):
    """Everything a hypothesis owns between two steps."""

    hidden: Float[Tensor, "B L K"]
    """What every layer's cell carries; its output comes first."""
    context: Float[Tensor, "B E"]
    alignment: Float[Tensor, "B S"]
    """Weights of the last step, for those who look on."""
    trace: Float[Tensor, "B *X"]
    """What the attention's next step is told of earlier ones."""

    def select(self, parents: Int[Tensor, " B2"]) -> "DecoderState":
        """The states of these parents, in this order; a parent may repeat."""
        return type(self)(*(part[parents] for part in self))


class Decoder(nn.Module):
    """Tokens and encoded frames to scores of the next token.

    Input feeding: each step reads the embedding of the last token beside the last context (Chorowski et al.
    2015, equation 2; Luong et al. 2015, section 3.3), then attends with its new top state.
    """

    def __init__(self, config: DecoderConfig, attention: AttentionConfig, encoder_size: int, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary, config.embedding)
        sizes = [config.embedding + encoder_size] + [config.units] * (config.layers - 1)
        self.cells = nn.ModuleList(build_cell(config.cell, size, config.units, config.peephole) for size in sizes)
        self.attention = build_attention(attention, encoder_size, config.units)
        carried = config.layers * state_size(config.cell, config.units)
        self.bridge = nn.Linear(encoder_size, carried) if attention.kind == "none" else None
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.units + encoder_size, vocabulary)

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with what is computed once for all steps."""
        return self.attention.memory(encoded, lengths)

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first token."""
        batch, frames, size = memory.encoded.shape
        carried = (batch, self.config.layers, state_size(self.config.cell, self.config.units))
        hidden = memory.encoded.new_zeros(carried)
        if self.bridge is not None:
            hidden = tanh(self.bridge(memory.keys[:, 0])).view(carried)
        return DecoderState(
            hidden=hidden,
            context=memory.encoded.new_zeros(batch, size),
            alignment=memory.encoded.new_zeros(batch, frames),
            trace=self.attention.start(memory),
        )

    def step(
        self, token: Int[Tensor, " BK"], state: DecoderState, memory: Memory
    ) -> tuple[Float[Tensor, "BK V"], DecoderState]:
        """Advance every hypothesis by one token.

        Pure: the past lives in ``state`` alone, so a search may reorder it freely.

        Args:
            token: Last emitted token; the start token at first.
            state: Recurrent state, context and alignment after the last step.
            memory: Encoded utterances with their keys projected once. Row ``b * K + k`` of the others is hypothesis
                ``k`` of utterance ``b``.

        Returns:
            Unnormalised scores of the next token, and the state after ``token``.
        """
        state = self.advance(self.dropout(self.embedding(token)), state, memory)
        return self.scores(self.top(state), state.context), state

    def top(self, state: DecoderState) -> Float[Tensor, "BK D"]:
        """Output of the top layer, which asks the attention."""
        return state.hidden[:, -1, : self.config.units]

    def advance(self, embedded: Float[Tensor, "BK M"], state: DecoderState, memory: Memory) -> DecoderState:
        """The state after one embedded token."""
        below = torch.cat([embedded, state.context], dim=-1)
        hidden = []
        for cell, previous in zip(self.cells, state.hidden.unbind(dim=1), strict=True):
            hidden.append(cell(below, previous))
            below = self.dropout(hidden[-1][:, : self.config.units])
        attended = self.attention(hidden[-1][:, : self.config.units], memory, state.trace)
        return DecoderState(torch.stack(hidden, dim=1), *attended)

    def scores(self, hidden: Float[Tensor, "*B D"], context: Float[Tensor, "*B E"]) -> Float[Tensor, "*B V"]:
        """Unnormalised token scores of top states and contexts."""
        return self.output(self.dropout(torch.cat([hidden, context], dim=-1)))

    def forward(
        self, inputs: Int[Tensor, "B U"], memory: Memory, sampling: float = 0.0
    ) -> tuple[Float[Tensor, "B U V"], Float[Tensor, "B U S"]]:
        """Teacher forcing: ``step`` unrolled over given inputs.

        Args:
            inputs: Token read at each step, the start token first.
            memory: Encoded utterances.
            sampling: Probability of reading the model's own last best token in place of the given one
                (scheduled sampling, Bengio et al. 2015).

        Returns:
            Token scores and alignments of every step.
        """
        if sampling > 0:
            return self._unroll_sampling(inputs, memory, sampling)
        embedded = self.dropout(self.embedding(inputs))
        hidden, context, alignments = self._unroll(embedded, memory)
        return self.scores(hidden, context), alignments

    def _unroll(
        self, embedded: Float[Tensor, "B U M"], memory: Memory
    ) -> tuple[Float[Tensor, "B U D"], Float[Tensor, "B U E"], Float[Tensor, "B U S"]]:
        """Top output, context and alignment of every step; the usual decoder goes by a quicker way."""
        cell, attention = self.cells[0], self.attention
        if len(self.cells) == 1 and isinstance(cell, nn.GRUCell) and isinstance(attention, LocationAttention):
            if attention.plain:
                return unroll(embedded, memory, cell, attention)
        return self._unroll_steps(embedded, memory)

    def _unroll_steps(
        self, embedded: Float[Tensor, "B U M"], memory: Memory
    ) -> tuple[Float[Tensor, "B U D"], Float[Tensor, "B U E"], Float[Tensor, "B U S"]]:
        """The same by ``advance``."""
        state, states = self.start(memory), []
        for token in embedded.unbind(dim=1):
            state = self.advance(token, state, memory)
            states.append((self.top(state), state.context, state.alignment))
        hidden, context, alignments = (torch.stack(parts, dim=1) for parts in zip(*states, strict=True))
        return hidden, context, alignments

    def _unroll_sampling(
        self, inputs: Int[Tensor, "B U"], memory: Memory, sampling: float
    ) -> tuple[Float[Tensor, "B U V"], Float[Tensor, "B U S"]]:
        own = torch.rand(inputs.shape, device=inputs.device) < sampling
        state, token = self.start(memory), inputs.new_full(inputs.shape[:1], SOS)
        logits, alignments = [], []
        for given, use_own in zip(inputs.unbind(dim=1), own.unbind(dim=1), strict=True):
            token = torch.where(use_own, token, given)
            scores, state = self.step(token, state, memory)
            token = scores.detach().argmax(dim=-1)
            logits.append(scores)
            alignments.append(state.alignment)
        return torch.stack(logits, dim=1), torch.stack(alignments, dim=1)
