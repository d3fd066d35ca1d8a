"""Time derivatives of features by linear regression, as Kaldi's ``add-deltas`` computes them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.nn.masks import valid_mask

WINDOW = 2
"""Frames on either side that the regression looks at."""


def delta_filter(order: int) -> list[float]:
    """The filter that computes the derivative of an order straight from the features.

    The first order is the least-squares slope, ``sum_j j x[t + j] / sum_j j^2`` for j from -2 to 2 (Furui 1986);
    an order above is that filter convolved with the order below, so it reaches ``2 * order`` frames.
    """
    slope = torch.arange(-WINDOW, WINDOW + 1, dtype=torch.float64)
    slope /= slope.square().sum()
    combined = torch.ones(1, dtype=torch.float64)
    for _ in range(order):
        longer = torch.zeros(len(combined) + 2 * WINDOW, dtype=torch.float64)
        for offset, weight in enumerate(slope.tolist()):
            longer[offset : offset + len(combined)] += weight * combined
        combined = longer
    return combined.tolist()


def add_deltas(features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"], order: int) -> Float[Tensor, "B T G"]:
    """Put the derivatives up to an order beside the features.

    Each utterance is continued with its own first and last frame, never with its padding.

    Args:
        features: Padded features, zero past the length.
        lengths: Frames of each utterance.
        order: 0 returns the features alone, 1 adds deltas, 2 adds their deltas too.

    Returns:
        Features, then each order, side by side: G = F (1 + order); zero past the length.
    """
    if order == 0:
        return features
    padding = ~valid_mask(lengths, features.shape[1])[:, :, None]
    streams = [features]
    for n in range(1, order + 1):
        extended = _extend_edges(features, lengths, WINDOW * n)
        delta = torch.zeros_like(features)
        for offset, weight in enumerate(delta_filter(n)):
            delta.add_(extended[:, offset : offset + features.shape[1]], alpha=weight)
        streams.append(delta.masked_fill_(padding, 0.0))
    return torch.cat(streams, dim=2)


def _extend_edges(features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"], frames: int) -> Float[Tensor, "B T2 F"]:
    """Repeat each utterance's first frame before it and its last frame after it."""
    batch, size, bins = features.shape
    if size == 0:
        return features.new_zeros(batch, 2 * frames, bins)
    positions = torch.arange(-frames, size + frames, device=features.device)
    source = torch.minimum(positions, lengths[:, None] - 1).clamp(min=0)
    return features.gather(1, source[:, :, None].expand(-1, -1, bins))
