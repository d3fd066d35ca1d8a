"""Ways to make a sequence of frames shorter by a whole factor; every way rounds the length up."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.masks import ceil_division, valid_mask

ReductionKind = Literal["concatenate", "drop", "max", "mean", "convolution"]


class Reduction(nn.Module):
    """Every ``factor`` neighbouring frames become one.

    Args:
        kind: ``concatenate`` joins them (Chan et al. 2016), ``drop`` keeps the first, ``max`` and ``mean`` are
            those of the frames within the utterance, ``convolution`` has a stride of ``factor``, a width of
            ``2 factor - 1`` around the first and as many channels as there are features.
        factor: 1 changes nothing.
        size: Features a frame.
    """

    def __init__(self, kind: ReductionKind, factor: int, size: int) -> None:
        super().__init__()
        self.kind, self.factor = kind, factor
        self.size = size * factor if kind == "concatenate" else size
        self.convolution = None
        if kind == "convolution" and factor > 1:
            self.convolution = nn.Conv1d(size, size, 2 * factor - 1, stride=factor, padding=factor - 1)

    def forward(
        self, frames: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T2 F2"], Int[Tensor, " B"]]:
        """Fewer frames, and their lengths; the frames are zero past the lengths before and after."""
        if self.factor == 1:
            return frames, lengths
        shorter = ceil_division(lengths, self.factor)
        if self.kind == "concatenate":
            return join_frames(frames, self.factor), shorter
        if self.kind == "drop":
            return frames[:, :: self.factor], shorter
        if self.convolution is not None:
            frames = self.convolution(frames.transpose(1, 2)).transpose(1, 2)
            return frames * valid_mask(shorter, frames.shape[1]).unsqueeze(-1), shorter
        return self._pooled(frames, lengths), shorter

    def _pooled(self, frames: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T2 F"]:
        """Over the frames of a group that lie within the utterance; zero where none does."""
        groups = join_frames(frames, self.factor).unflatten(2, (self.factor, -1))
        inside = valid_mask(lengths, groups.shape[1] * self.factor).view(frames.shape[0], -1, self.factor, 1)
        if self.kind == "mean":
            return groups.sum(dim=2) / inside.sum(dim=2).clamp(min=1)
        return groups.masked_fill(~inside, torch.finfo(frames.dtype).min).amax(dim=2) * inside.any(dim=2)


def join_frames(frames: Float[Tensor, "B T F"], factor: int) -> Float[Tensor, "B T2 F2"]:
    """Concatenate every ``factor`` neighbouring frames; the last group is filled with zeros."""
    frames = F.pad(frames, (0, 0, 0, -frames.shape[1] % factor))
    batch, time, size = frames.shape
    return frames.reshape(batch, time // factor, size * factor)
