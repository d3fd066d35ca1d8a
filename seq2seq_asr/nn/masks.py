"""Masks and reversal of padded batches: the two things every part that takes lengths needs."""

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
    return x.gather(1, source[:, :, None].expand(x.shape))
