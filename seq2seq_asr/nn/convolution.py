"""Convolutional front ends: 3 × 3 convolutions over time and frequency, before the recurrence.

What a speaker's vocal tract shifts along the frequency axis moves through a convolution unchanged, which helps with
voices that training has not heard.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.masks import ceil_division, valid_mask
from seq2seq_asr.nn.reduction import join_frames

FrontEndKind = Literal["strided", "vgg"]


class FrontEnd(nn.Module):
    """Feature frames to fewer, wider frames: every layer halves time and frequency, rounding up.

    Args:
        channels: Output channels of each layer.
        bins: Features a frame that are taken as neighbours in frequency; they come first.
        others: Features a frame that have no place in frequency, such as pitch: a linear layer brings those of all the
            frames that become one to the size of its result, and they are added.
        deltas: Time derivatives of all bins, one order after the other, between bins and others: each order is a map
            beside that of the bins, so that a filter sees a bin with its own slope (Hori et al. 2017).
    """

    def __init__(self, channels: tuple[int, ...], bins: int, others: int = 0, deltas: int = 0) -> None:
        super().__init__()
        self.bins, self.maps, self.factor = bins, 1 + deltas, 2 ** len(channels)
        self.size = channels[-1] * -(-bins // self.factor)
        self.others = nn.Linear(others * self.factor, self.size, bias=False) if others else None

    def forward(
        self, features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T2 F2"], Int[Tensor, " B"]]:
        """Convolve a padded batch.

        Args:
            features: Frames, zero past each utterance's length.
            lengths: Frames of each utterance.

        Returns:
            Frames of channels × bins, zero past the lengths, which come second.
        """
        size = self.maps * self.bins
        maps = features[:, :, :size].unflatten(2, (self.maps, self.bins)).transpose(1, 2)
        maps, shorter = self.convolve(maps, lengths)
        frames = maps.transpose(1, 2).flatten(2)
        if self.others is not None:
            frames = frames + self.others(join_frames(features[:, :, size:], self.factor))
        return frames, shorter

    def convolve(
        self, maps: Float[Tensor, "B C T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B C2 T2 F2"], Int[Tensor, " B"]]:
        """The maps of the spectrum and its deltas to more, smaller ones."""
        raise NotImplementedError


class ConvolutionalFrontEnd(FrontEnd):
    """Every layer is a convolution with a stride.

    After the VGG-like front end of Hori et al. 2017, with strides in place of pooling: four times less work.
    """

    def __init__(self, channels: tuple[int, ...], bins: int, others: int = 0, deltas: int = 0) -> None:
        super().__init__(channels, bins, others, deltas)
        self.convolutions = _convolutions((self.maps, *channels[:-1]), channels, stride=2)

    def convolve(
        self, maps: Float[Tensor, "B C T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B C2 T2 F2"], Int[Tensor, " B"]]:
        """See `FrontEnd.convolve`."""
        for convolution in self.convolutions:
            lengths = ceil_division(lengths, 2)
            maps = torch.relu(convolution(maps))
            maps = maps * valid_mask(lengths, maps.shape[2])[:, None, :, None]  # the bias would leak from the padding
        return maps, lengths


class VggFrontEnd(FrontEnd):
    """Blocks of two convolutions and a 2 × 2 maximum.

    Hori et al. 2017, "Advances in joint CTC-attention based end-to-end speech recognition with a deep CNN encoder and
    RNN-LM", section 3.2.
    """

    def __init__(self, channels: tuple[int, ...], bins: int, others: int = 0, deltas: int = 0) -> None:
        super().__init__(channels, bins, others, deltas)
        pairs = zip((self.maps, *channels), channels, strict=False)
        sizes = [size for pair in pairs for size in pair]
        self.convolutions = _convolutions(sizes, [after for after in channels for _ in range(2)], stride=1)

    def convolve(
        self, maps: Float[Tensor, "B C T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B C2 T2 F2"], Int[Tensor, " B"]]:
        """See `FrontEnd.convolve`."""
        for place, convolution in enumerate(self.convolutions):
            maps = torch.relu(convolution(maps))
            maps = maps * valid_mask(lengths, maps.shape[2])[:, None, :, None]
            if place % 2:  # nothing is below zero here, so zeros past an edge do not change a maximum
                maps = torch.nn.functional.max_pool2d(maps, 2, ceil_mode=True)
                lengths = ceil_division(lengths, 2)
        return maps, lengths


def _convolutions(before: Sequence[int], after: Sequence[int], stride: int) -> nn.ModuleList:
    """Layers whose weights, and so maps, have channels side by side in memory: for a CPU a quarter less work."""
    layers = (nn.Conv2d(*sizes, 3, stride, padding=1) for sizes in zip(before, after, strict=True))
    return nn.ModuleList(layer.to(memory_format=torch.channels_last) for layer in layers)  # type: ignore[call-overload]


def build_front_end(
    kind: FrontEndKind, channels: tuple[int, ...], bins: int, others: int = 0, deltas: int = 0
) -> FrontEnd:
    """The front end of this kind; see `FrontEnd`."""
    return (ConvolutionalFrontEnd if kind == "strided" else VggFrontEnd)(channels, bins, others, deltas)
