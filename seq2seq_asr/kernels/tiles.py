"""How the kernels of the decoder cut up their work, and how sizes are handed to them."""

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Tiles(NamedTuple):
    """Elements of one program, powers of two; chosen so that the compiled kernels spill no register."""

    frames: int = 32
    """Of the frame axis in everything that compares."""
    size: int = 32
    """Of the attention size."""
    summed: int = 16
    """The same where the steps are summed up, which takes more registers."""
    taps: int = 32
    """Of a location filter."""
    mixed: int = 32
    """Frames that are mixed, or multiplied with the gates' errors, at a time."""
    units: int = 32
    """Hidden units whose gates are mixed together."""
    batch: int = 32
    """Utterances in a matrix product."""
    outputs: int = 16
    """Columns of a matrix product."""
    inner: int = 32
    """Summed at a time in the products."""
    splits: int = 8
    """Programs that share the sum over the gates' errors."""
    warps: int = 4
    """Of every program."""


TILES = Tiles()


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter (``TRITON_INTERPRET=1`` before the first import), on any device."""
    return bool(triton.knobs.runtime.interpret)


def bound(size: int) -> Any:
    """A size that ends a loop of a kernel.

    Compiled kernels take it at run time, so that one compilation serves all sizes. The interpreter of Triton 3.6
    cannot loop to a run-time number under NumPy 2.4.
    """
    return tl.constexpr(size) if interpreted() else size


def channel_tile(channels: int) -> int:
    """The channels of the location features in one block, of which `tl.dot` wants sixteen."""
    return max(16, triton.next_power_of_2(channels))
