"""Back through the unrolled decoder: the gradients of `unroll`, written out."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.grad import conv1d_weight


class Given(NamedTuple):
    """What `unroll` differentiates by."""

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


class Kept(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    hidden: Float[Tensor, "U1 B D"]
    context: Float[Tensor, "U1 B E"]
    alignment: Float[Tensor, "U1 B S"]
    from_state: Float[Tensor, "U1 B AD3"]
    """What the hidden state has given; these four begin with the state before the first step."""
    gates: Float[Tensor, "U B D3"]
    located: Float[Tensor, "U B C S"]
    compared: Float[Tensor, "U B S A"]


class _Errors(NamedTuple):
    """Gradients of the loss by what every step computed: enough to get those of the weights."""

    from_input: Float[Tensor, "U B D3"]
    from_state: Float[Tensor, "U1 B AD3"]
    context: Float[Tensor, "U B E"]
    energies: Float[Tensor, "U B S"]
    located: Float[Tensor, "U B C S"]
    keys: Float[Tensor, "B S A"]
    """Summed over the steps, like the last."""
    location: Float[Tensor, "B C A"]


def gradients(given: Given, kept: Kept, hidden: Tensor, context: Tensor, alignment: Tensor) -> Given:
    """Gradients of everything given from those of the outputs: back through time, then one product a weight.

    Args:
        given: What the forward pass was given.
        kept: What it left.
        hidden: Gradient by the hidden states (U, B, D).
        context: By the contexts (U, B, E).
        alignment: By the alignments (U, B, S).
    """
    errors = _no_errors(given, kept, context, alignment)
    # What a step's results get from the steps after it.
    to_hidden, to_context, to_alignment = (torch.zeros_like(output[0]) for output in (hidden, context, alignment))
    for step in reversed(range(len(kept.gates))):
        torch.add(context[step], to_context, out=errors.context[step])
        to_alignment = _attend_back(given, kept, errors, step, alignment[step] + to_alignment)
        to_hidden = torch.addmm(hidden[step] + to_hidden, errors.from_state[step + 1], given.state)
        to_hidden = _gru_back(given, kept, errors, step, to_hidden)
        to_context = errors.from_input[step] @ given.context
    return _to_given(given, kept, errors)


def _no_errors(given: Given, kept: Kept, context: Tensor, alignment: Tensor) -> _Errors:
    """Room for every step, zero where steps are summed."""
    like, (size, channels) = torch.empty_like, given.location.shape
    return _Errors(
        from_input=like(kept.gates),
        from_state=torch.zeros_like(kept.from_state),
        context=like(context),
        energies=like(alignment),
        located=like(kept.located),
        keys=torch.zeros_like(given.keys),
        location=context.new_zeros(context.shape[1], channels, size),
    )


def _attend_back(given: Given, kept: Kept, errors: _Errors, step: int, to_alignment: Tensor) -> Tensor:
    """Through `_attend`: the gradient by the alignment of the step before."""
    alignment, compared = kept.alignment[step + 1], kept.compared[step]
    to_alignment = to_alignment + torch.bmm(errors.context[step].unsqueeze(1), given.encoded.transpose(1, 2)).squeeze(1)
    errors.energies[step] = alignment * (to_alignment - (alignment * to_alignment).sum(-1, keepdim=True))
    to_compared = errors.energies[step].unsqueeze(-1) * given.score
    inner = torch.ops.aten.sigmoid_backward(to_compared, compared)  # (B, S, A), by the sigmoid's argument
    torch.sum(inner, dim=1, out=errors.from_state[step + 1, :, : inner.shape[2]])
    errors.keys.add_(inner)
    errors.location.baddbmm_(kept.located[step], inner)
    errors.located[step] = torch.bmm(given.location.t().expand(len(inner), -1, -1), inner.transpose(1, 2))
    return F.conv_transpose1d(errors.located[step], given.filters, padding=given.filters.shape[2] // 2).squeeze(1)


def _gru_back(given: Given, kept: Kept, errors: _Errors, step: int, to_hidden: Tensor) -> Tensor:
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


def _to_given(given: Given, kept: Kept, errors: _Errors) -> Given:
    """Gradients of all steps together."""
    previous = kept.alignment[:-1].flatten(0, 1).unsqueeze(1)
    return Given(
        gates=errors.from_input,
        encoded=torch.bmm(kept.alignment[1:].permute(1, 2, 0), errors.context.transpose(0, 1)),
        keys=errors.keys,
        context=_outer(errors.from_input, kept.context[:-1]),
        state=_outer(errors.from_state, kept.hidden),
        state_bias=errors.from_state.sum(dim=(0, 1)),
        filters=conv1d_weight(
            previous, given.filters.shape, errors.located.flatten(0, 1), padding=given.filters.shape[2] // 2
        ),
        location=errors.location.sum(dim=0).t(),
        score=kept.compared.flatten(0, 2).t() @ errors.energies.flatten(),
    )


def _outer(errors: Float[Tensor, "U B I"], inputs: Float[Tensor, "U B J"]) -> Float[Tensor, "I J"]:
    """Gradient of the matrix that gave ``errors`` their place from ``inputs``, summed over steps and utterances."""
    return errors.flatten(0, 1).t() @ inputs.flatten(0, 1)
