"""What the decoder's loop reads and writes: sizes, and tensors that may stay where they are from batch to batch."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from seq2seq_asr.kernels.tiles import TILES, Tiles


class Sizes(NamedTuple):
    """One shape of everything: B, U, S, D, H, A, C and W of the house, and how energies are computed."""

    batch: int
    steps: int
    frames: int
    units: int
    heads: int
    size: int
    channels: int
    """0 where the attention does not look at the alignment before."""
    width: int
    dot: bool
    scale: float
    cut: Tiles = TILES
    """How the work is cut up."""

    @property
    def asked(self) -> int:
        """Values of the queries of all heads (H·A)."""
        return self.heads * self.size

    @property
    def tiles(self) -> int:
        """Tiles of the frame axis."""
        return triton.cdiv(self.frames, self.cut.frames)


class Given(NamedTuple):
    """What the loop reads. Float32, but for the two that are large and may be bfloat16: keys and frames' gates."""

    gates: Tensor  # (U, B, 3 D), what the tokens give
    keys: Tensor  # (B, S, H·A)
    frames_gates: Tensor  # (B, H, S, 3 D)
    state: Tensor  # (H·A + 3 D, D)
    state_bias: Tensor  # (H·A + 3 D)
    filters: Tensor  # (H, C, W)
    location: Tensor  # (H, A, C)
    score: Tensor  # (H, A)
    lengths: Tensor  # (B)


class Kept(NamedTuple):
    """What the forward loop writes; the first three begin with the state before the first step."""

    hidden: Tensor  # (U + 1, B, D)
    from_state: Tensor  # (U + 1, B, H·A + 3 D)
    alignment: Tensor  # (U + 1, B, H, S)
    activations: Tensor  # (U, B, 3 D)
    located: Tensor  # (U, B, H, C, S)
    energies: Tensor  # (B, H, S), of one step


class Errors(NamedTuple):
    """What the backward loop writes; the first two hold the outer gradients when it begins."""

    alignment: Tensor  # (U, B, H, S), the total one in the end
    hidden: Tensor  # (U, B, D)
    gates: Tensor  # (U, B, 3 D)
    from_state: Tensor  # (U + 1, B, H·A + 3 D)
    energies: Tensor  # (U, B, H, S)
    located: Tensor  # (U, B, H, C, S)
    carried: Tensor  # (U + 1, B, D)
    query: Tensor  # (tiles, B, H·A), of one step
    shares: Tensor  # (splits, B, D), of one step


class Sums(NamedTuple):
    """Gradients of what all steps share, in parts still to be summed."""

    keys: Tensor  # (B, S, H·A)
    location: Tensor  # (tiles, B, H, A, C)
    score: Tensor  # (tiles, B, H, A)
    filters: Tensor  # (B, H, C, W)


def room_given(sizes: Sizes, device: torch.device, storage: torch.dtype) -> Given:
    """Zeros for what the loop reads, and utterances of one frame.

    Args:
        sizes: Of all tensors.
        device: Where.
        storage: Of keys and frames' gates.
    """
    batch, steps, frames, units, heads, size, channels, width, *_ = sizes

    def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    return Given(
        gates=zeros(steps, batch, 3 * units),
        keys=zeros(batch, frames, sizes.asked, dtype=storage),
        frames_gates=zeros(batch, heads, frames, 3 * units, dtype=storage),
        state=zeros(sizes.asked + 3 * units, units),
        state_bias=zeros(sizes.asked + 3 * units),
        filters=zeros(heads, channels, width),
        location=zeros(heads, size, channels),
        score=zeros(heads, size),
        lengths=zeros(batch, dtype=torch.int32) + 1,
    )


def room_kept(sizes: Sizes, device: torch.device) -> Kept:
    """Room for what the forward loop writes, filled with what must never be read."""
    batch, steps, frames, units, heads, _, channels, *_ = sizes
    return Kept(
        hidden=_poison(device, steps + 1, batch, units),
        from_state=_poison(device, steps + 1, batch, sizes.asked + 3 * units),
        alignment=_poison(device, steps + 1, batch, heads, frames),
        activations=_poison(device, steps, batch, 3 * units),
        located=_poison(device, steps, batch, heads, channels, frames),
        energies=_poison(device, batch, heads, frames),
    )


def room_errors(sizes: Sizes, device: torch.device) -> Errors:
    """The same for the backward loop."""
    batch, steps, frames, units, heads, _, channels, *_ = sizes
    return Errors(
        alignment=_poison(device, steps, batch, heads, frames),
        hidden=_poison(device, steps, batch, units),
        gates=_poison(device, steps, batch, 3 * units),
        from_state=_poison(device, steps + 1, batch, sizes.asked + 3 * units),
        energies=_poison(device, steps, batch, heads, frames),
        located=_poison(device, steps, batch, heads, channels, frames),
        carried=_poison(device, steps + 1, batch, units),
        query=_poison(device, sizes.tiles, batch, sizes.asked),
        shares=_poison(device, sizes.cut.splits, batch, units),
    )


def room_sums(sizes: Sizes, device: torch.device) -> Sums:
    """The same for what follows it."""
    batch, _, frames, _, heads, size, channels, width, *_ = sizes
    return Sums(
        keys=_poison(device, batch, frames, sizes.asked),
        location=_poison(device, sizes.tiles, batch, heads, size, channels),
        score=_poison(device, sizes.tiles, batch, heads, size),
        filters=_poison(device, batch, heads, channels, width),
    )


def _poison(device: torch.device, *shape: int) -> Tensor:
    return torch.full(shape, torch.nan, device=device)
