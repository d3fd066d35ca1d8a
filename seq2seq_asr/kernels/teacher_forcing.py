"""The whole teacher-forced decoder as one differentiable function: a GRU that is fed what its attention finds."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq_asr.kernels.buffers import Errors, Sizes, Sums
from seq2seq_asr.kernels.places import Inputs, find_place
from seq2seq_asr.kernels.tiles import TILES, Tiles

__all__ = ["How", "Inputs", "teacher_force"]


class How(NamedTuple):
    """Choices that change no result."""

    replay: bool = True
    """Whether a GPU records the loops as CUDA graphs, one a bucket of shapes, and replays them."""
    tiles: Tiles = TILES


def teacher_force(
    inputs: Inputs, lengths: Tensor, start: Tensor, scale: float | None = None, how: How | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden state, contexts and alignments of every step.

    Additive energies; location-aware ones where there are filters (C > 0), dot products where there is a scale.
    Everything is computed in float32; bfloat16 keys and values are kept as such.

    Args:
        inputs: What tokens give to the gates (reset, update, new), keys, values, the gates' weights of the context, the
            weights of query and gates of the hidden state with their biases, and the attention's weights.
        lengths: Frames of each utterance (B), at least 1.
        start: The alignment that the first step sees (B, S).
        scale: Factor of dot products.
        how: Choices that change no result.

    Returns:
        (U, B, D), (U, B, E) and (U, B, H, S), float32.
    """
    hidden, context, alignment = _TeacherForcing.apply(lengths, start, scale, how or How(), *inputs)
    return hidden, context, alignment


class _TeacherForcing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lengths: Tensor, start: Tensor, scale: float | None, how: How, *tensors: Tensor) -> Any:
        """All steps in the place of this shape; hidden states, contexts and alignments are copied from it."""
        inputs = Inputs(*tensors)
        place = find_place(_sizes(inputs, scale, how.tiles), inputs.keys.device, _storage(inputs.keys), how.replay)
        ctx.place, ctx.ticket = place, place.forward(inputs, lengths, start)
        steps, batch, frames = len(inputs.gates), len(inputs.keys), inputs.keys.shape[1]
        hidden = place.kept.hidden[1 : steps + 1, :batch].clone()
        alignment = place.kept.alignment[1 : steps + 1, :batch, :, :frames].clone()
        context = torch.einsum("ubhs,bhse->ubhe", alignment, inputs.values.float()).flatten(2)
        ctx.save_for_backward(lengths, start, hidden, context, alignment, *tensors)
        return hidden, context, alignment

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        """Back in the same place, which runs forward again if another batch has been there since."""
        lengths, start, hidden, context, alignment, *tensors = ctx.saved_tensors
        inputs, place = Inputs(*tensors), ctx.place
        with torch.autocast(place.device.type, enabled=False):
            if place.ticket is not ctx.ticket:  # another batch has been there since
                ctx.ticket = place.forward(inputs, lengths, start)
            to_hidden, to_context, to_alignment = outputs
            to_context = to_context.unflatten(2, (inputs.values.shape[1], -1))
            to_alignment = to_alignment + torch.einsum("ubhe,bhse->ubhs", to_context, inputs.values.float())
            errors, sums = place.backward(to_hidden, to_alignment)
            found = _gradients(errors, sums, inputs, hidden, context, alignment, to_context)
        wanted = zip(found, inputs, ctx.needs_input_grad[4:], strict=True)
        return (
            None,
            None,
            None,
            None,
            *(error.to(given.dtype, copy=True) if need else None for error, given, need in wanted),
        )


def _gradients(
    errors: Errors,
    sums: Sums,
    inputs: Inputs,
    hidden: Tensor,
    context: Tensor,
    alignment: Tensor,
    to_context: Tensor,
) -> Inputs:
    """Those of all inputs, from what the backward loop has left: one product a weight."""
    steps, batch, frames = len(inputs.gates), len(inputs.keys), inputs.keys.shape[1]
    gates, from_state = errors.gates[:steps, :batch], errors.from_state[1 : steps + 1, :batch].flatten(0, 1)
    fed = (gates[1:] @ inputs.context.float()).view_as(to_context[1:])  # what the next step has read
    to_context = torch.cat([to_context[:-1] + fed, to_context[-1:]])
    return Inputs(
        gates=gates,
        keys=sums.keys[:batch, :frames],
        values=torch.einsum("ubhs,ubhe->bhse", alignment, to_context),
        context=gates[1:].flatten(0, 1).t() @ context[:-1].flatten(0, 1),
        state=from_state.t() @ hidden.flatten(0, 1),
        state_bias=from_state.sum(dim=0) + errors.from_state[0, :batch].sum(dim=0),
        filters=sums.filters[:batch].sum(dim=0),
        location=sums.location[:, :batch].sum(dim=(0, 1)),
        score=sums.score[:, :batch].sum(dim=(0, 1)),
    )


def _sizes(inputs: Inputs, scale: float | None, tiles: Tiles) -> Sizes:
    (steps, batch, gates), (heads, size), (_, channels, width) = (
        inputs.gates.shape,
        inputs.score.shape,
        inputs.filters.shape,
    )
    frames, dot = inputs.keys.shape[1], scale is not None
    return Sizes(batch, steps, frames, gates // 3, heads, size, channels, width, dot, scale or 1.0, tiles)


def _storage(keys: Tensor) -> torch.dtype:
    return torch.bfloat16 if keys.dtype == torch.bfloat16 else torch.float32
