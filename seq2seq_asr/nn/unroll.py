"""Teacher forcing of the default decoder in one piece: one GRU layer with location-aware attention.

The arithmetic of ``Decoder.advance`` over and over, in two thirds of the time on a CPU: the gradient is written out, so
that a step records nothing and the weights' gradients of all steps come from one matrix product each.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv1d_weight

from seq2seq_asr.nn.attention import LocationAttention, Memory, tanh
from seq2seq_asr.nn.masks import valid_mask


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
    from_token, from_context = cell.weight_ih.split([embedded.shape[-1], memory.encoded.shape[-1]], dim=1)
    gates = F.linear(embedded, from_token, cell.bias_ih).transpose(0, 1)
    given = _Given(
        gates,
        memory.encoded,
        memory.keys,
        from_context,
        cell.weight_hh,
        cell.bias_hh,
        attention.query.weight,
        attention.query.bias,
        attention.filters.weight,
        attention.location.weight,
        attention.score.weight[0],
    )
    outside = ~valid_mask(memory.lengths, memory.encoded.shape[1])
    kind, autocast = embedded.device.type, torch.is_autocast_enabled(embedded.device.type)
    with torch.autocast(kind, enabled=False):
        states = _Unroll.apply(outside, attention.start(memory), *(x.float() if autocast else x for x in given))
    hidden, context, alignment = (state.transpose(0, 1) for state in states)
    return hidden, context, alignment


class _Given(NamedTuple):
    """What `_Unroll` differentiates by."""

    gates: Float[Tensor, "U B D3"]
    """What the embedded tokens and the bias give to the gates: reset, update, new."""
    encoded: Float[Tensor, "B S E"]
    keys: Float[Tensor, "B S A"]
    context: Float[Tensor, "D3 E"]
    hidden: Float[Tensor, "D3 D"]
    hidden_bias: Float[Tensor, " D3"]
    query: Float[Tensor, "A D"]
    query_bias: Float[Tensor, " A"]
    filters: Float[Tensor, "C 1 W"]
    location: Float[Tensor, "A C"]
    score: Float[Tensor, " A"]


class _Kept(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    hidden: Float[Tensor, "U1 B D"]
    context: Float[Tensor, "U1 B E"]
    alignment: Float[Tensor, "U1 B S"]
    """These three begin with the state before the first step."""
    gates: Float[Tensor, "U B D3"]
    unreset: Float[Tensor, "U B D"]
    """What the hidden state gives to the new gate before it is reset."""
    located: Float[Tensor, "U B C S"]
    compared: Float[Tensor, "U B S A"]


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outside: Bool[Tensor, "B S"], first: Float[Tensor, "B S"], *inputs: Tensor) -> Any:
        given = _Given(*inputs)
        kept = _empty(given)
        kept.alignment[0] = first
        for step in range(len(given.gates)):
            _gru(given, kept, step)
            _attend(given, kept, step, outside)
        ctx.save_for_backward(*given, *kept)
        return tuple(states[1:].clone() for states in kept[:3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        count = len(_Given._fields)
        given, kept = _Given(*ctx.saved_tensors[:count]), _Kept(*ctx.saved_tensors[count:])
        return None, None, *_backward(given, kept, *outputs)


def _empty(given: _Given) -> _Kept:
    """Room for every step; the state before the first is zero."""
    (steps, batch, _), new = given.gates.shape, given.gates.new_empty
    units, size, frames = given.hidden.shape[1], given.encoded.shape[2], given.encoded.shape[1]
    zeros = given.gates.new_zeros
    return _Kept(
        zeros(steps + 1, batch, units),
        zeros(steps + 1, batch, size),
        zeros(steps + 1, batch, frames),
        gates=new(steps, batch, 3 * units),
        unreset=new(steps, batch, units),
        located=new(steps, batch, len(given.filters), frames),
        compared=new(steps, *given.keys.shape),
    )


def _gru(given: _Given, kept: _Kept, step: int) -> None:
    """One step of ``nn.GRUCell``."""
    units = given.hidden.shape[1]
    from_input = torch.addmm(given.gates[step], kept.context[step], given.context.t())
    from_hidden = torch.addmm(given.hidden_bias, kept.hidden[step], given.hidden.t())
    reset, update, new = kept.gates[step].chunk(3, dim=1)
    torch.sigmoid(from_input[:, : 2 * units] + from_hidden[:, : 2 * units], out=kept.gates[step, :, : 2 * units])
    kept.unreset[step] = from_hidden[:, 2 * units :]
    new.copy_(tanh(torch.addcmul(from_input[:, 2 * units :], reset, kept.unreset[step])))
    kept.hidden[step + 1] = torch.lerp(new, kept.hidden[step], update)


def _attend(given: _Given, kept: _Kept, step: int, outside: Bool[Tensor, "B S"]) -> None:
    """One step of `LocationAttention`."""
    query = F.linear(kept.hidden[step + 1], given.query, given.query_bias).unsqueeze(1)
    previous = kept.alignment[step].unsqueeze(1)
    kept.located[step] = F.conv1d(previous, given.filters, padding=given.filters.shape[2] // 2)
    location = F.linear(kept.located[step].transpose(1, 2), given.location)
    kept.compared[step] = tanh(location.add_(given.keys).add_(query))
    energies = (kept.compared[step] @ given.score).masked_fill_(outside, -torch.inf)
    kept.alignment[step + 1] = energies.softmax(dim=-1)
    kept.context[step + 1] = torch.bmm(kept.alignment[step + 1].unsqueeze(1), given.encoded).squeeze(1)


class _Errors(NamedTuple):
    """Gradients of the loss by what every step computed: enough to get those of the weights."""

    from_input: Float[Tensor, "U B D3"]
    from_hidden: Float[Tensor, "U B D3"]
    query: Float[Tensor, "U B A"]
    context: Float[Tensor, "U B E"]
    energies: Float[Tensor, "U B S"]
    located: Float[Tensor, "U B C S"]
    keys: Float[Tensor, "B S A"]
    """Summed over the steps, like the last."""
    location: Float[Tensor, "B C A"]


def _backward(given: _Given, kept: _Kept, hidden: Tensor, context: Tensor, alignment: Tensor) -> _Given:
    """Gradients of everything given from those of the outputs: back through time, then one product a weight."""
    errors = _no_errors(given, kept, context, alignment)
    # What a step's results get from the steps after it.
    to_hidden, to_context, to_alignment = (torch.zeros_like(output[0]) for output in (hidden, context, alignment))
    for step in reversed(range(len(kept.gates))):
        errors.context[step] = context[step] + to_context
        to_alignment = _attend_back(given, kept, errors, step, alignment[step] + to_alignment)
        to_hidden = torch.addmm(hidden[step] + to_hidden, errors.query[step], given.query)
        to_hidden = _gru_back(given, kept, errors, step, to_hidden)
        to_context = errors.from_input[step] @ given.context
    return _to_given(given, kept, errors)


def _no_errors(given: _Given, kept: _Kept, context: Tensor, alignment: Tensor) -> _Errors:
    """Room for every step, zero where steps are summed."""
    like, (channels, size) = torch.empty_like, given.location.t().shape
    return _Errors(
        from_input=like(kept.gates),
        from_hidden=like(kept.gates),
        query=context.new_empty(*context.shape[:2], size),
        context=like(context),
        energies=like(alignment),
        located=like(kept.located),
        keys=torch.zeros_like(given.keys),
        location=context.new_zeros(context.shape[1], channels, size),
    )


def _attend_back(given: _Given, kept: _Kept, errors: _Errors, step: int, to_alignment: Tensor) -> Tensor:
    """Through `_attend`: the gradient by the alignment of the step before."""
    alignment, compared = kept.alignment[step + 1], kept.compared[step]
    to_alignment = to_alignment + torch.bmm(errors.context[step].unsqueeze(1), given.encoded.transpose(1, 2)).squeeze(1)
    errors.energies[step] = alignment * (to_alignment - (alignment * to_alignment).sum(-1, keepdim=True))
    to_compared = errors.energies[step].unsqueeze(-1) * given.score
    inner = torch.addcmul(to_compared, to_compared * compared, compared, value=-1)  # (B, S, A), by the tanh's argument
    errors.query[step] = inner.sum(dim=1)
    errors.keys.add_(inner)
    errors.location.baddbmm_(kept.located[step], inner)
    errors.located[step] = torch.bmm(given.location.t().expand(len(inner), -1, -1), inner.transpose(1, 2))
    return F.conv_transpose1d(errors.located[step], given.filters, padding=given.filters.shape[2] // 2).squeeze(1)


def _gru_back(given: _Given, kept: _Kept, errors: _Errors, step: int, to_hidden: Tensor) -> Tensor:
    """Through `_gru`: the gradient by the hidden state of the step before, without what goes by the context."""
    reset, update, new = kept.gates[step].chunk(3, dim=1)
    to_reset, to_update, to_new = errors.from_input[step].chunk(3, dim=1)
    kept_share = to_hidden * update
    to_new.copy_((to_hidden - kept_share) * (1 - new * new))
    to_update.copy_(kept_share * (1 - update) * (kept.hidden[step] - new))
    to_reset.copy_(to_new * kept.unreset[step] * reset * (1 - reset))
    errors.from_hidden[step] = errors.from_input[step]
    errors.from_hidden[step].chunk(3, dim=1)[2].mul_(reset)
    return torch.addmm(kept_share, errors.from_hidden[step], given.hidden)


def _to_given(given: _Given, kept: _Kept, errors: _Errors) -> _Given:
    """Gradients of all steps together."""
    previous = kept.alignment[:-1].flatten(0, 1).unsqueeze(1)
    return _Given(
        gates=errors.from_input,
        encoded=torch.bmm(kept.alignment[1:].permute(1, 2, 0), errors.context.transpose(0, 1)),
        keys=errors.keys,
        context=_outer(errors.from_input, kept.context[:-1]),
        hidden=_outer(errors.from_hidden, kept.hidden[:-1]),
        hidden_bias=errors.from_hidden.sum(dim=(0, 1)),
        query=_outer(errors.query, kept.hidden[1:]),
        query_bias=errors.query.sum(dim=(0, 1)),
        filters=conv1d_weight(
            previous, given.filters.shape, errors.located.flatten(0, 1), padding=given.filters.shape[2] // 2
        ),
        location=errors.location.sum(dim=0).t(),
        score=kept.compared.flatten(0, 2).t() @ errors.energies.flatten(),
    )


def _outer(errors: Float[Tensor, "U B I"], inputs: Float[Tensor, "U B J"]) -> Float[Tensor, "I J"]:
    """Gradient of the matrix that gave ``errors`` their place from ``inputs``, summed over steps and utterances."""
    return errors.flatten(0, 1).t() @ inputs.flatten(0, 1)
