"""The default decoder's step for a search: one GRU layer with location-aware attention and nothing to learn.

The arithmetic of ``Decoder.step`` in fewer calls, which on a CPU cost as much as the arithmetic: weights are
put together once, what frames give is computed once for all steps, and sums are made where their terms lie.
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.attention import LocationAttention
from seq2seq_asr.nn.attention.base import by_utterance
from seq2seq_asr.nn.cells import GruCell
from seq2seq_asr.nn.compiled_stepping import CompiledStepping
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.fused_stepping import FusedStepping, fused_stepping
from seq2seq_asr.nn.masks import valid_mask

_DENSE = 256
"""Encoded frames up to which alignments are filtered by one product with a square of frames."""


class SteppingMemory(NamedTuple):
    """Encoded utterances, and what their frames give to every step."""

    lengths: Int[Tensor, " B"]
    outside: Bool[Tensor, "B 1 S"]
    keys: Float[Tensor, "B 1 S A"]
    """Doubled, as all that goes into the tanh."""
    values: Float[Tensor, "B S X"]
    """What each frame gives to gates and token scores, if it is ``weighed`` already; else the frames."""
    weighed: bool
    filtered: Float[Tensor, "S SC"] | None
    """See `LocationAttention.responses`; None where frames are many."""


class SteppingState(NamedTuple):
    """Everything a hypothesis owns between two steps."""

    hidden: Float[Tensor, "BK D"]
    given: Float[Tensor, "BK D3"]
    """By the last context to the next gates."""
    alignment: Float[Tensor, "BK S"]

    def select(self, parents: Int[Tensor, " BK2"]) -> "SteppingState":
        """The states of these parents, in this order; a parent may repeat."""
        return SteppingState(*(part.index_select(0, parents) for part in self))


class _Weights(NamedTuple):
    """The decoder's, arranged. tanh(x) is 2 sigmoid(2x) - 1: the twos stand in the weights."""

    token: Float[Tensor, "V D3"]
    """What a token and the biases give to the gates: reset, update, new."""
    hidden: Float[Tensor, "D D3"]
    hidden_bias: Float[Tensor, " D3"]
    query: Float[Tensor, "D A"]
    query_bias: Float[Tensor, " A"]
    location: Float[Tensor, "C A"]
    score: Float[Tensor, " A"]
    output: Float[Tensor, "D V"]
    output_bias: Float[Tensor, " V"]
    context: Float[Tensor, "E D3V"]
    """To the gates, then to the token scores."""


class Stepping:
    """A decoder with its weights as they are now, for searches alone; make a new one when they change.

    Args:
        decoder: One that `steps_quickly`, in evaluation mode.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._units, self._attention = decoder.config.units, cast(LocationAttention, decoder.attention)
        self._weights = _arrange(decoder)

    @torch.inference_mode()
    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> SteppingMemory:
        """Encoded utterances with what is computed once for all steps, in the weights' precision."""
        with torch.autocast(encoded.device.type, enabled=False):
            return self._memory(encoded.to(self._weights.context.dtype), lengths)

    def _memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> SteppingMemory:
        frames = encoded.shape[1]
        weighed = 2 * frames <= encoded.shape[2]  # sums over frames, at every step, cost less than over their values
        return SteppingMemory(
            lengths,
            outside=~valid_mask(lengths, frames).unsqueeze(1),
            keys=2 * self._attention.key(encoded).unsqueeze(1),
            values=encoded @ self._weights.context if weighed else encoded,
            weighed=weighed,
            filtered=self._attention.responses(frames) if frames <= _DENSE else None,
        )

    def start(self, memory: SteppingMemory) -> SteppingState:
        """The state before the first token; see ``Decoder.start``."""
        utterances, _, frames, _ = memory.keys.shape
        zeros = memory.keys.new_zeros(utterances, 3 * self._units)
        alignment = memory.keys.new_zeros(utterances, frames)
        alignment[:, 0] = 1.0
        return SteppingState(zeros[:, : self._units], zeros, alignment)

    @torch.inference_mode()
    def step(
        self, token: Int[Tensor, " BK"], state: SteppingState, memory: SteppingMemory
    ) -> tuple[Float[Tensor, "BK V"], SteppingState]:
        """Advance every hypothesis by one token; see ``Decoder.step``."""
        with torch.autocast(token.device.type, enabled=False):
            return self._step(token, state, memory)

    def _step(
        self, token: Int[Tensor, " BK"], state: SteppingState, memory: SteppingMemory
    ) -> tuple[Float[Tensor, "BK V"], SteppingState]:
        weights = self._weights
        hidden = _gru(weights, token, state)
        alignment = self._attend(hidden, state.alignment, memory)
        found = torch.bmm(by_utterance(alignment, memory.values), memory.values).flatten(0, 1)
        if not memory.weighed:
            found = found @ weights.context
        given, scores = found.split([3 * self._units, len(weights.output_bias)], dim=1)
        scores = torch.addmm(scores, hidden, weights.output).add_(weights.output_bias)
        return scores, SteppingState(hidden, given, alignment)

    def _attend(
        self, hidden: Float[Tensor, "BK D"], previous: Float[Tensor, "BK S"], memory: SteppingMemory
    ) -> Float[Tensor, "BK S"]:
        """One step of `LocationAttention`. The ones of the tanh fall out of the softmax."""
        weights, (frames, size) = self._weights, memory.keys.shape[2:]
        query = torch.addmm(weights.query_bias, hidden, weights.query)
        located = self._filter(previous) if memory.filtered is None else previous @ memory.filtered
        asked = torch.add(memory.keys, by_utterance(query, memory.keys).unsqueeze(2)).view(-1, size)
        compared = asked.addmm_(located.reshape(-1, len(weights.location)), weights.location).sigmoid_()
        energies = by_utterance(torch.mv(compared, weights.score).view(-1, frames), memory.keys)
        return energies.masked_fill_(memory.outside, -torch.inf).softmax(-1).flatten(0, 1)

    def _filter(self, alignments: Float[Tensor, "N S"]) -> Float[Tensor, "N S C"]:
        return self._attention.filters(alignments.unsqueeze(1)).transpose(1, 2)


def steps_quickly(decoder: Decoder) -> bool:
    """Whether `Stepping` knows the decoder's kind."""
    config, attention = decoder.config, decoder.attention
    plain = config.layers == 1 and not (config.layer_norm or config.projection or config.tied or decoder.parallel)
    whole = config.regularisation.zoneout == 0  # with it, a state keeps a share of the last one in evaluation too
    return plain and whole and config.cell == "gru" and isinstance(attention, LocationAttention) and attention.plain


def stepping(decoder: Decoder) -> Decoder | Stepping | FusedStepping | CompiledStepping:
    """What a search steps best with, for as long as the decoder's weights stay what they are.

    Raises:
        UsageError: Kernels are required and cannot be used.
    """
    if not steps_quickly(decoder):
        return decoder
    weight = decoder.embedding.weight
    compiled = weight.device.type == "cpu" and weight.dtype == torch.float32
    return fused_stepping(decoder) or (CompiledStepping(decoder) if compiled else Stepping(decoder))


@torch.no_grad()
def _arrange(decoder: Decoder) -> _Weights:
    cell, attention = cast(GruCell, decoder.cells[0]), cast(LocationAttention, decoder.attention)
    output, query, units = cast(nn.Linear, decoder.output), cast(nn.Linear, attention.query), decoder.config.units
    double = torch.cat([cell.bias_ih.new_ones(2 * units), cell.bias_ih.new_full((units,), 2.0)])
    from_token, from_context = (cell.weight_ih.t() * double).split([decoder.config.embedding, decoder.encoder_size])
    from_hidden, scored_context = output.weight.t().split([units, decoder.encoder_size])
    return _Weights(
        token=torch.addmm(cell.bias_ih * double, decoder.embedding.weight, from_token),
        hidden=(cell.weight_hh.t() * double).contiguous(),
        hidden_bias=cell.bias_hh * double,
        query=(2 * query.weight.t()).contiguous(),
        query_bias=2 * query.bias,
        location=(2 * attention.location.weight.t()).contiguous(),
        score=2 * attention.score.weight[0],
        output=from_hidden.contiguous(),
        output_bias=output.bias.detach(),
        context=torch.cat([from_context, scored_context], dim=1),
    )


def _gru(weights: _Weights, token: Int[Tensor, " BK"], state: SteppingState) -> Float[Tensor, "BK D"]:
    """One step of ``nn.GRUCell``."""
    units = state.hidden.shape[1]
    given = weights.token.index_select(0, token).add_(state.given)
    own = torch.addmm(weights.hidden_bias, state.hidden, weights.hidden)
    gates, new = given.split([2 * units, units], dim=1)
    own_gates, own_new = own.split([2 * units, units], dim=1)
    reset, update = gates.add_(own_gates).sigmoid_().chunk(2, dim=1)
    new.addcmul_(reset, own_new).sigmoid_().mul_(2).sub_(1)
    return torch.lerp(new, state.hidden, update)
