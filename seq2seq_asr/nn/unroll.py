"""Teacher forcing of the default decoder in one piece: one GRU layer with location-aware attention.

The arithmetic of ``Decoder.advance`` over and over, in two thirds of the time on a CPU: the gradient is written out, so
that a step records nothing and the weights' gradients of all steps come from one matrix product each.
"""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv1d_weight

from seq2seq_asr.nn.attention import LocationAttention, Memory
from seq2seq_asr.nn.attention.base import tanh
from seq2seq_asr.nn.masks import valid_mask

_FEW = 128
"""Encoded frames up to which alignments are filtered by one product with a square of frames."""


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
    given = _Given(
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


class _Given(NamedTuple):
    """What `_Unroll` differentiates by."""

    gates: Float[Tensor, "U B D3"]
    """What the embedded tokens and the bias give to the gates: reset, update, new."""
    encoded: Float[Tensor, "B S E"]
    keys: Float[Tensor, "B S A"]
    context: Float[Tensor, "D3 E"]
    state: Float[Tensor, "AD3 D"]
    """What the hidden state gives to the query, and to the gates of the next step."""
    state_bias: Float[Tensor, " AD3"]
    filters: Float[Tensor, "C 1 W"]
    location: Float[Tensor, "A C"]
    score: Float[Tensor, " A"]


class _Kept(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    hidden: Float[Tensor, "U1 B D"]
    context: Float[Tensor, "U1 B E"]
    alignment: Float[Tensor, "U1 B S"]
    from_state: Float[Tensor, "U1 B AD3"]
    """What the hidden state has given; these four begin with the state before the first step."""
    gates: Float[Tensor, "U B D3"]
    located: Float[Tensor, "U B S C"]
    compared: Float[Tensor, "U B S A"]


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        outside: Bool[Tensor, "B S"],
        first: Float[Tensor, "B S"],
        responses: Float[Tensor, "S SC"] | None,
        *inputs: Tensor,
    ) -> Any:
        given = _Given(*inputs)
        kept = _empty(given)
        kept.alignment[0] = first
        kept.from_state[0] = given.state_bias
        for step in range(len(given.gates)):
            _gru(given, kept, step)
            torch.addmm(given.state_bias, kept.hidden[step + 1], given.state.t(), out=kept.from_state[step + 1])
            _attend(given, kept, step, outside, responses)
        ctx.responses = responses
        ctx.save_for_backward(*given, *kept)
        return tuple(states[1:].clone() for states in kept[:3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        count = len(_Given._fields)
        given, kept = _Given(*ctx.saved_tensors[:count]), _Kept(*ctx.saved_tensors[count:])
        return None, None, None, *_backward(given, kept, ctx.responses, *outputs)


def _empty(given: _Given) -> _Kept:
    """Room for every step; the state before the first is zero."""
    (steps, batch, _), new = given.gates.shape, given.gates.new_empty
    units, size, frames = given.state.shape[1], given.encoded.shape[2], given.encoded.shape[1]
    zeros = given.gates.new_zeros
    return _Kept(
        zeros(steps + 1, batch, units),
        zeros(steps + 1, batch, size),
        zeros(steps + 1, batch, frames),
        from_state=new(steps + 1, batch, len(given.state)),
        gates=new(steps, batch, 3 * units),
        located=new(steps, batch, frames, len(given.filters)),
        compared=new(steps, *given.keys.shape),
    )


def _gru(given: _Given, kept: _Kept, step: int) -> None:
    """One step of ``nn.GRUCell``."""
    units = given.state.shape[1]
    from_input = torch.addmm(given.gates[step], kept.context[step], given.context.t())
    from_hidden = kept.from_state[step, :, -3 * units :]
    reset, update, new = kept.gates[step].chunk(3, dim=1)
    torch.sigmoid(from_input[:, : 2 * units] + from_hidden[:, : 2 * units], out=kept.gates[step, :, : 2 * units])
    new.copy_(tanh(torch.addcmul(from_input[:, 2 * units :], reset, from_hidden[:, 2 * units :])))
    torch.lerp(new, kept.hidden[step], update, out=kept.hidden[step + 1])


def _attend(
    given: _Given, kept: _Kept, step: int, outside: Bool[Tensor, "B S"], responses: Float[Tensor, "S SC"] | None
) -> None:
    """One step of `LocationAttention`."""
    query = kept.from_state[step + 1, :, : given.keys.shape[2]]
    located = kept.located[step]
    if responses is None:
        previous = kept.alignment[step].unsqueeze(1)
        located.copy_(F.conv1d(previous, given.filters, padding=given.filters.shape[2] // 2).transpose(1, 2))
    else:
        torch.mm(kept.alignment[step], responses, out=located.flatten(1))
    keys = given.keys.flatten(0, 1)
    argument = torch.addmm(keys, located.flatten(0, 1), given.location.t()).view_as(given.keys)
    torch.sigmoid(argument.add_(query.unsqueeze(1)), out=kept.compared[step])
    energies = (kept.compared[step] @ given.score).masked_fill_(outside, -torch.inf)
    torch.softmax(energies, dim=-1, out=kept.alignment[step + 1])
    torch.bmm(kept.alignment[step + 1].unsqueeze(1), given.encoded, out=kept.context[step + 1].unsqueeze(1))


class _Errors(NamedTuple):
    """Gradients of the loss by what every step computed: enough to get those of the weights."""

    from_input: Float[Tensor, "U B D3"]
    from_state: Float[Tensor, "U1 B AD3"]
    context: Float[Tensor, "U B E"]
    energies: Float[Tensor, "U B S"]
    located: Float[Tensor, "U B S C"]
    keys: Float[Tensor, "B S A"]
    """Summed over the steps, like the last."""
    location: Float[Tensor, "A C"]


def _backward(
    given: _Given, kept: _Kept, responses: Tensor | None, hidden: Tensor, context: Tensor, alignment: Tensor
) -> _Given:
    """Gradients of everything given from those of the outputs: back through time, then one product a weight."""
    errors = _no_errors(given, kept, context, alignment)
    # What a step's results get from the steps after it.
    to_hidden, to_context, to_alignment = (torch.zeros_like(output[0]) for output in (hidden, context, alignment))
    for step in reversed(range(len(kept.gates))):
        torch.add(context[step], to_context, out=errors.context[step])
        to_alignment = _attend_back(given, kept, errors, step, alignment[step] + to_alignment, responses)
        to_hidden = torch.addmm(hidden[step] + to_hidden, errors.from_state[step + 1], given.state)
        to_hidden = _gru_back(given, kept, errors, step, to_hidden)
        to_context = errors.from_input[step] @ given.context
    return _to_given(given, kept, errors)


def _no_errors(given: _Given, kept: _Kept, context: Tensor, alignment: Tensor) -> _Errors:
    """Room for every step, zero where steps are summed."""
    like = torch.empty_like
    return _Errors(
        from_input=like(kept.gates),
        from_state=torch.zeros_like(kept.from_state),
        context=like(context),
        energies=like(alignment),
        located=like(kept.located),
        keys=torch.zeros_like(given.keys),
        location=torch.zeros_like(given.location),
    )


def _attend_back(
    given: _Given, kept: _Kept, errors: _Errors, step: int, to_alignment: Tensor, responses: Tensor | None
) -> Tensor:
    """Through `_attend`: the gradient by the alignment of the step before."""
    alignment, compared = kept.alignment[step + 1], kept.compared[step]
    to_alignment = to_alignment + torch.bmm(errors.context[step].unsqueeze(1), given.encoded.transpose(1, 2)).squeeze(1)
    errors.energies[step] = alignment * (to_alignment - (alignment * to_alignment).sum(-1, keepdim=True))
    to_compared = errors.energies[step].unsqueeze(-1) * given.score
    inner = torch.ops.aten.sigmoid_backward(to_compared, compared)  # (B, S, A), by the sigmoid's argument
    torch.sum(inner, dim=1, out=errors.from_state[step + 1, :, : inner.shape[2]])
    errors.keys.add_(inner)
    inner = inner.flatten(0, 1)
    errors.location.addmm_(inner.t(), kept.located[step].flatten(0, 1))
    located = errors.located[step]
    torch.mm(inner, given.location, out=located.flatten(0, 1))
    if responses is not None:
        return located.flatten(1) @ responses.t()
    return F.conv_transpose1d(located.transpose(1, 2), given.filters, padding=given.filters.shape[2] // 2).squeeze(1)


def _gru_back(given: _Given, kept: _Kept, errors: _Errors, step: int, to_hidden: Tensor) -> Tensor:
    """Through `_gru`: the gradient by the hidden state of the step before, as far as it went past the gates."""
    units = given.state.shape[1]
    reset, update, new = kept.gates[step].chunk(3, dim=1)
    to_reset, to_update, to_new = errors.from_input[step].chunk(3, dim=1)
    kept_share = to_hidden * update
    to_new.copy_((to_hidden - kept_share) * (1 - new * new))
    to_update.copy_(kept_share * (1 - update) * (kept.hidden[step] - new))
    to_reset.copy_(to_new * kept.from_state[step, :, -units:] * reset * (1 - reset))
    from_hidden = errors.from_state[step, :, -3 * units :]
    from_hidden.copy_(errors.from_input[step])
    from_hidden[:, 2 * units :].mul_(reset)
    return kept_share


def _to_given(given: _Given, kept: _Kept, errors: _Errors) -> _Given:
    """Gradients of all steps together."""
    previous, located = kept.alignment[:-1].flatten(0, 1).unsqueeze(1), errors.located.flatten(0, 1).transpose(1, 2)
    return _Given(
        gates=errors.from_input,
        encoded=torch.bmm(kept.alignment[1:].permute(1, 2, 0), errors.context.transpose(0, 1)),
        keys=errors.keys,
        context=_outer(errors.from_input, kept.context[:-1]),
        state=_outer(errors.from_state, kept.hidden),
        state_bias=errors.from_state.sum(dim=(0, 1)),
        filters=conv1d_weight(previous, given.filters.shape, located, padding=given.filters.shape[2] // 2),
        location=errors.location,
        score=kept.compared.flatten(0, 2).t() @ errors.energies.flatten(),
    )


def _outer(errors: Float[Tensor, "U B I"], inputs: Float[Tensor, "U B J"]) -> Float[Tensor, "I J"]:
    """Gradient of the matrix that gave ``errors`` their place from ``inputs``, summed over steps and utterances."""
    return errors.flatten(0, 1).t() @ inputs.flatten(0, 1)
