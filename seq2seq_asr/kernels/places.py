"""Where the decoder's loops run: tensors that stay where they are, one set for each bucket of shapes."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq_asr.kernels.buffers import Errors, Sizes, Sums, room_errors, room_given, room_kept, room_sums
from seq2seq_asr.kernels.decoder_backward import run_backward
from seq2seq_asr.kernels.decoder_forward import run_forward
from seq2seq_asr.kernels.graphs import Recent, Replayed

BUCKET = {"batch": 8, "steps": 8, "frames": 32}
"""On a GPU, sizes are rounded up to multiples of these: each shape costs a recording and stays in memory."""
MEMORY_SHARE = 1 / 8
"""Of a GPU's memory, for the shapes that are remembered."""


class Inputs(NamedTuple):
    """What the decoder is differentiated by; see ``teacher_forcing.teacher_force``."""

    gates: Tensor  # (U, B, 3 D)
    keys: Tensor  # (B, S, H·A)
    values: Tensor  # (B, H, S, E/H)
    context: Tensor  # (3 D, E)
    state: Tensor  # (H·A + 3 D, D)
    state_bias: Tensor  # (H·A + 3 D)
    filters: Tensor  # (H, C, W)
    location: Tensor  # (H, A, C)
    score: Tensor  # (H, A)


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


def bucket_of(sizes: Sizes) -> Sizes:
    """The sizes that a GPU computes with."""
    return sizes._replace(**{name: -(-getattr(sizes, name) // step) * step for name, step in BUCKET.items()})


def find_place(sizes: Sizes, device: torch.device, storage: torch.dtype, replay: bool) -> Place:
    """The place of this shape's bucket on a GPU, a new one of exactly this shape elsewhere."""
    if device.type != "cuda":
        return Place(sizes, device, storage, replay)
    sizes = bucket_of(sizes)
    limit = int(MEMORY_SHARE * torch.cuda.get_device_properties(device).total_memory)
    return PLACES.find((sizes, device, storage, replay), lambda: Place(sizes, device, storage, replay), limit)
