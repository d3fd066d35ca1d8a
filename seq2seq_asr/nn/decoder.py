"""Attention decoder: stacked recurrence and attention, one token a step, state passed as a value."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.attention import AttentionConfig, LocationAttention, Memory, build_attention
from seq2seq_asr.nn.attention.base import tanh
from seq2seq_asr.nn.cell_stack import NO_MASKS, CellStack, DecoderConfig, Masks, TiedOutput, drop
from seq2seq_asr.nn.cells import GruCell, state_size
from seq2seq_asr.nn.dropout import Dropout
from seq2seq_asr.nn.fused import Kernels
from seq2seq_asr.nn.fused_decoder import unrolled
from seq2seq_asr.nn.unroll import unroll
from seq2seq_asr.vocabulary import SOS

__all__ = ["Decoder", "DecoderConfig", "DecoderState"]


class DecoderState(NamedTuple):
    """Everything a hypothesis owns between two steps."""

    hidden: Float[Tensor, "B L K"]
    """What every layer's cell carries; its output comes first."""
    output: Float[Tensor, "B D"]
    """Of the top layer."""
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
    2015, equation 2; Luong et al. 2015, section 3.3), then attends with its new top state. With
    ``context: parallel`` the recurrence does not see the context, so that all target steps go through it, and then
    through the attention, at once (after Chen et al. 2018, RNMT+, whose recurrence sees it from the second layer on).

    Args:
        config: Of the recurrent part and the output.
        attention: Which attention.
        encoder_size: Values of an encoded frame (E).
        vocabulary: Tokens (V).
        bidirectional: Whether the second half of a frame's values was read from the other end.
    """

    kernels: Kernels = "auto"
    """Whether GPU kernels may do what ``advance`` says over and over, or must."""

    def __init__(
        self,
        config: DecoderConfig,
        attention: AttentionConfig,
        encoder_size: int,
        vocabulary: int,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        self.vocabulary, self.encoder_size = vocabulary, encoder_size
        self.parallel = config.context == "parallel"
        self.embedding = nn.Embedding(vocabulary, config.embedding)
        self.cells = CellStack(config, config.embedding + (0 if self.parallel else encoder_size))
        self.attention = build_attention(attention, encoder_size, config.units, bidirectional)
        carried = config.layers * state_size(config.cell, config.units)
        self.bridge = nn.Linear(encoder_size, carried) if attention.kind == "none" else None
        self.dropout = Dropout(config.dropout)
        found = config.units + encoder_size
        self.projection = nn.Linear(found, config.projection) if config.projection else None
        self.scored = config.projection or found
        self.output = TiedOutput(vocabulary) if config.tied else nn.Linear(self.scored, vocabulary)
        if config.tied:
            nn.init.normal_(self.embedding.weight, std=config.embedding**-0.5)

    @property
    def aligns(self) -> bool:
        """Whether alignments tell where in the utterance a token was said; a vector of fixed length does not."""
        return self.attention.aligns

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with what is computed once for all steps."""
        return self.attention.memory(encoded, lengths)

    def no_memory(self, batch: int) -> Memory:
        """Utterances of one frame of zeros: whatever the attention looks at, the context is zero."""
        zeros = self.embedding.weight.new_zeros(batch, 1, self.encoder_size)
        return self.memory(zeros, torch.ones(batch, dtype=torch.long, device=zeros.device))

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first token."""
        batch, frames, size = memory.encoded.shape
        carried = (batch, self.config.layers, state_size(self.config.cell, self.config.units))
        hidden = memory.encoded.new_zeros(carried)
        if self.bridge is not None:
            hidden = tanh(self.bridge(memory.keys[:, 0])).view(carried)
        return DecoderState(
            hidden=hidden,
            output=hidden[:, -1, : self.config.units],
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
        return self.scores(state.output, state.context), state

    def advance(
        self,
        embedded: Float[Tensor, "BK M"],
        state: DecoderState,
        memory: Memory,
        masks: Masks = NO_MASKS,
    ) -> DecoderState:
        """The state after one embedded token."""
        below = embedded if self.parallel else torch.cat([embedded, state.context], dim=-1)
        output, hidden = self.cells.step(below, state.hidden, masks)
        return DecoderState(hidden, output, *self.attention(output, memory, state.trace))

    def scores(
        self,
        output: Float[Tensor, "*B D"],
        context: Float[Tensor, "*B E"],
        masks: Masks = NO_MASKS,
    ) -> Float[Tensor, "*B V"]:
        """Unnormalised token scores of top outputs and contexts."""
        found = torch.cat([output, context], dim=-1)
        if self.projection is not None:
            found = tanh(self.projection(found))
        found = drop(self.dropout, found, masks.output)
        return self.output(found, self.embedding.weight) if self.config.tied else self.output(found)

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
        masks = self.cells.masks(memory.encoded, self.scored)
        if sampling > 0:
            return self._unroll_sampling(inputs, memory, sampling, masks)
        embedded = drop(self.dropout, self.embedding(inputs), masks.embedded)
        output, context, alignments = self._unroll(embedded, memory, masks)
        return self.scores(output, context, masks), alignments

    def _unroll(
        self, embedded: Float[Tensor, "B U M"], memory: Memory, masks: Masks
    ) -> tuple[Float[Tensor, "B U D"], Float[Tensor, "B U E"], Float[Tensor, "B U S"]]:
        """Top output, context and alignment of every step, by the quickest way there is."""
        if self.parallel:
            output = self.cells.run(embedded, self.start(memory).hidden, masks)
            return output, *self.attention.together(output, memory)
        cell, attention = self.cells[0], self.attention
        plain = len(self.cells) == 1 and not self.config.layer_norm and not self.config.regularisation.stepwise
        fused = unrolled(embedded, memory, cell if plain else None, attention, self.kernels)
        if fused is not None:
            return fused
        if plain and isinstance(cell, GruCell) and isinstance(attention, LocationAttention) and attention.plain:
            return unroll(embedded, memory, cell, attention)
        return self._unroll_steps(embedded, memory, masks)

    def _unroll_steps(
        self, embedded: Float[Tensor, "B U M"], memory: Memory, masks: Masks
    ) -> tuple[Float[Tensor, "B U D"], Float[Tensor, "B U E"], Float[Tensor, "B U S"]]:
        """The same by ``advance``."""
        state, states = self.start(memory), []
        for token in embedded.unbind(dim=1):
            state = self.advance(token, state, memory, masks)
            states.append((state.output, state.context, state.alignment))
        output, context, alignments = (torch.stack(parts, dim=1) for parts in zip(*states, strict=True))
        return output, context, alignments

    def _unroll_sampling(
        self, inputs: Int[Tensor, "B U"], memory: Memory, sampling: float, masks: Masks
    ) -> tuple[Float[Tensor, "B U V"], Float[Tensor, "B U S"]]:
        own = torch.rand(inputs.shape, device=inputs.device) < sampling
        state, token = self.start(memory), inputs.new_full(inputs.shape[:1], SOS)
        logits, alignments = [], []
        for given, use_own in zip(inputs.unbind(dim=1), own.unbind(dim=1), strict=True):
            token = torch.where(use_own, token, given)
            state = self.advance(drop(self.dropout, self.embedding(token), masks.embedded), state, memory, masks)
            logits.append(self.scores(state.output, state.context, masks))
            alignments.append(state.alignment)
            token = logits[-1].detach().argmax(dim=-1)
        return torch.stack(logits, dim=1), torch.stack(alignments, dim=1)
