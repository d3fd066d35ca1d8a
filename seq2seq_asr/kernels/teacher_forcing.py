"""The whole teacher-forced decoder as one differentiable function: a GRU that is fed what its attention finds."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq_asr.kernels.buffers import Errors, Sizes, Sums, room_errors, room_given, room_kept, room_sums
from seq2seq_asr.kernels.decoder_backward import run_backward
from seq2seq_asr.kernels.decoder_forward import run_forward
from seq2seq_asr.kernels.graphs import Recent, Replayed
from seq2seq_asr.kernels.tiles import TILES, Tiles

BUCKET = {"batch": 8, "steps": 8, "frames": 32}
"""On a GPU, sizes are rounded up to multiples of these: each shape costs a recording and stays in memory."""
MEMORY_SHARE = 1 / 8
"""Of a GPU's memory, for the shapes that are remembered."""


class Inputs(NamedTuple):
    """What the decoder is differentiated by; see `teacher_force`."""

    gates: Tensor  # (U, B, 3 D)
    keys: Tensor  # (B, S, H·A)
    values: Tensor  # (B, H, S, E/H)
    context: Tensor  # (3 D, E)
    state: Tensor  # (H·A + 3 D, D)
    state_bias: Tensor  # (H·A + 3 D)
    filters: Tensor  # (H, C, W)
    location: Tensor  # (H, A, C)
    score: Tensor  # (H, A)


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


class Place:
    """Where batches of one shape are computed: the loop's tensors, and the loop recorded over them.

    Args:
        sizes: Of the tensors; a batch may be smaller.
        device: Where.
        storage: Of keys and frames' gates.
        replay: Whether a GPU records the loop.
    """

    def __init__(self, sizes: Sizes, device: torch.device, storage: torch.dtype, replay: bool = True) -> None:
        self.sizes, self.device, self.replay = sizes, device, replay
        self.ticket: object = None
        """Whose batch is in."""
        self.given = room_given(sizes, device, storage)
        self.kept = room_kept(sizes, device)
        self.errors: Errors | None = None
        self.sums: Sums | None = None
        self._forward = Replayed(partial(run_forward, sizes, self.given, self.kept), device, record=replay)
        self._backward: Replayed | None = None

    def weigh(self) -> int:
        """Bytes, those of the way back included, which come later: about as much as the loop keeps."""
        return sum(tensor.nbytes for tensor in (*self.given, *self.kept, *self.kept))

    def forward(self, inputs: Inputs, lengths: Tensor, start: Tensor) -> object:
        """Compute a batch; the outputs are in ``kept``.

        Returns:
            A ticket; as long as it is ``self.ticket``, the batch is still in.
        """
        self.ticket = None
        steps, batch, frames = len(inputs.gates), len(inputs.keys), inputs.keys.shape[1]
        given = self.given
        given.gates.zero_()[:steps, :batch] = inputs.gates
        given.keys[:batch, :frames] = inputs.keys
        given.lengths.fill_(1)[:batch] = lengths.clamp(max=frames)
        weights = inputs.context.unflatten(1, (inputs.values.shape[1], -1)).to(given.frames_gates.dtype)
        for head, values in enumerate(inputs.values.unbind(dim=1)):
            given.frames_gates[:batch, head, :frames] = values.to(weights.dtype) @ weights[:, head].t()
        for name in ("state", "state_bias", "filters", "location", "score"):
            getattr(given, name).copy_(getattr(inputs, name))
        self.kept.alignment[0].zero_()[:batch, :, :frames] = start.unsqueeze(1)
        self._forward()
        self.ticket = object()
        return self.ticket

    def backward(self, to_hidden: Tensor, to_alignment: Tensor) -> tuple[Errors, Sums]:
        """Go back through the batch that is in.

        Args:
            to_hidden: Gradient by the hidden states (U, B, D).
            to_alignment: Gradient by the alignments, by way of the contexts included (U, B, H, S).

        Returns:
            What the loop has written; the next batch overwrites it.
        """
        if self.errors is None or self.sums is None or self._backward is None:
            self.errors, self.sums = room_errors(self.sizes, self.device), room_sums(self.sizes, self.device)
            work = partial(run_backward, self.sizes, self.given, self.kept, self.errors, self.sums)
            self._backward = Replayed(work, self.device, record=self.replay)
        steps, batch, _, frames = to_alignment.shape
        self.errors.hidden.zero_()[:steps, :batch] = to_hidden
        self.errors.alignment.zero_()[:steps, :batch, :, :frames] = to_alignment
        self._backward()
        return self.errors, self.sums


PLACES: Recent[Place] = Recent(Place.weigh)
"""Those of the GPU's buckets used last."""


def find_place(sizes: Sizes, device: torch.device, storage: torch.dtype, replay: bool) -> Place:
    """The place of this shape's bucket on a GPU, a new one of exactly this shape elsewhere."""
    if device.type != "cuda":
        return Place(sizes, device, storage, replay)
    rounded = {name: -(-getattr(sizes, name) // step) * step for name, step in BUCKET.items()}
    sizes = sizes._replace(**rounded)
    limit = int(MEMORY_SHARE * torch.cuda.get_device_properties(device).total_memory)
    return PLACES.find((sizes, device, storage, replay), lambda: Place(sizes, device, storage, replay), limit)


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
