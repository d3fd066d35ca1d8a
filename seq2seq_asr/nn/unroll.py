"""Teacher forcing of the default decoder in one piece: one GRU layer with location-aware attention.

The arithmetic of ``Decoder.advance`` over and over, in two thirds of the time on a CPU: the gradient is written out, so
that a step records nothing and the weights' gradients of all steps come from one matrix product each.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2seq_asr.nn.attention import LocationAttention, Memory
from seq2seq_asr.nn.attention.base import tanh
from seq2seq_asr.nn.masks import valid_mask
from seq2seq_asr.nn.unroll_back import Given, Kept, gradients

_FEW = 128
"""Encoded frames up to which alignments are filtered by one product with a square of frames: the same sums, sooner."""


def unroll(
    embedded: Float[Tensor, "B U M"], memory: Memory, cell: nn.GRUCell, attention: LocationAttention
) -> tuple[Float[Tensor, "B U D"], Float[Tensor, "B U E"], Float[Tensor, "B U S"]]:
    """Hidden state, context and alignment of every step.

    Under autocast the loop runs in float32: its matrices are too small to gain from less.

    Args:
        embedded: Embedding of the token read at each step.
        memory: Encoded utterances.
        cell: Reads embedding and context, joined.
        attention: Asked with the cell's new state.
    """
    query = cast(nn.Linear, attention.query)
    from_token, from_context = cell.weight_ih.split([embedded.shape[-1], memory.encoded.shape[-1]], dim=1)
    gates = F.linear(embedded, from_token, cell.bias_ih).transpose(0, 1)
    # tanh(x) = 2 sigmoid(2x) - 1: the twos are put into the weights, and the one falls out of the softmax.
    given = Given(
        gates,
        memory.encoded,
        2 * memory.keys,
        from_context,
        torch.cat([2 * query.weight, cell.weight_hh]),
        torch.cat([2 * query.bias, cell.bias_hh]),
        attention.filters.weight,
        2 * attention.location.weight,
        2 * attention.score.weight[0],
    )
    frames = memory.encoded.shape[1]
    outside = ~valid_mask(memory.lengths, frames)
    kind, autocast = embedded.device.type, torch.is_autocast_enabled(embedded.device.type)
    with torch.autocast(kind, enabled=False):
        responses = attention.responses(frames) if frames <= _FEW else None
        inputs = (x.float() if autocast else x for x in given)
        states = _Unroll.apply(outside, attention.start(memory), responses, *inputs)
    hidden, context, alignment = (state.transpose(0, 1) for state in states)
    return hidden, context, alignment


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        outside: Bool[Tensor, "B S"],
        first: Float[Tensor, "B S"],
        responses: Float[Tensor, "S SC"] | None,
        *inputs: Tensor,
    ) -> Any:
        """All steps, each written into its place of what the way back needs."""
        given = Given(*inputs)
        kept = _empty(given)
        if responses is not None:  # as `Kept.located` lies in memory
            responses = responses.unflatten(1, (len(responses), -1)).transpose(1, 2).flatten(1)
        kept.alignment[0] = first
        kept.from_state[0] = given.state_bias
        for step in range(len(given.gates)):
            _gru(given, kept, step)
            torch.addmm(given.state_bias, kept.hidden[step + 1], given.state.t(), out=kept.from_state[step + 1])
            _attend(given, kept, step, outside, responses)
        ctx.save_for_backward(*given, *kept)
        return tuple(states[1:].clone() for states in kept[:3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        count = len(Given._fields)
        given, kept = Given(*ctx.saved_tensors[:count]), Kept(*ctx.saved_tensors[count:])
        return None, None, None, *gradients(given, kept, *outputs)


def _empty(given: Given) -> Kept:
    """Room for every step; the state before the first is zero."""
    (steps, batch, _), new = given.gates.shape, given.gates.new_empty
    units, size, frames = given.state.shape[1], given.encoded.shape[2], given.encoded.shape[1]
    zeros = given.gates.new_zeros
    return Kept(
        zeros(steps + 1, batch, units),
        zeros(steps + 1, batch, size),
        zeros(steps + 1, batch, frames),
        from_state=new(steps + 1, batch, len(given.state)),
        gates=new(steps, batch, 3 * units),
        located=new(steps, batch, len(given.filters), frames),
        compared=new(steps, *given.keys.shape),
    )


def _gru(given: Given, kept: Kept, step: int) -> None:
    """One step of ``nn.GRUCell``."""
    units = given.state.shape[1]
    from_input = torch.addmm(given.gates[step], kept.context[step], given.context.t())
    from_hidden = kept.from_state[step, :, -3 * units :]
    reset, update, new = kept.gates[step].chunk(3, dim=1)
    torch.sigmoid(from_input[:, : 2 * units] + from_hidden[:, : 2 * units], out=kept.gates[step, :, : 2 * units])
    new.copy_(tanh(torch.addcmul(from_input[:, 2 * units :], reset, from_hidden[:, 2 * units :])))
    torch.lerp(new, kept.hidden[step], update, out=kept.hidden[step + 1])


def _attend(
    given: Given, kept: Kept, step: int, outside: Bool[Tensor, "B S"], responses: Float[Tensor, "S CS"] | None
) -> None:
    """One step of `LocationAttention`."""
    query = kept.from_state[step + 1, :, : given.keys.shape[2]]
    if responses is None:
        previous = kept.alignment[step].unsqueeze(1)
        kept.located[step] = F.conv1d(previous, given.filters, padding=given.filters.shape[2] // 2)
    else:
        torch.mm(kept.alignment[step], responses, out=kept.located[step].flatten(1))
    located = kept.located[step].transpose(1, 2).flatten(0, 1)
    argument = torch.addmm(given.keys.flatten(0, 1), located, given.location.t()).view_as(given.keys)
    torch.sigmoid(argument.add_(query.unsqueeze(1)), out=kept.compared[step])
    energies = (kept.compared[step] @ given.score).masked_fill_(outside, -torch.inf)
    torch.softmax(energies, dim=-1, out=kept.alignment[step + 1])
    torch.bmm(kept.alignment[step + 1].unsqueeze(1), given.encoded, out=kept.context[step + 1].unsqueeze(1))
