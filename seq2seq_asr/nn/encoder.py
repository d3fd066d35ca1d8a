"""Pyramidal bidirectional encoder (Chan et al. 2016, "Listen, Attend and Spell", section 3.1)."""

from dataclasses import dataclass, field
from math import prod

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.cells import CellKind, PeepholeConfig
from seq2seq_asr.nn.convolution import ConvolutionalFrontEnd
from seq2seq_asr.nn.dropout import Dropout
from seq2seq_asr.nn.masks import ceil_division, valid_mask
from seq2seq_asr.nn.recurrent import BidirectionalLayer


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The listener: how deep, how wide and how strongly it shortens time."""

    cell: CellKind = "lstm"
    """Recurrent cell."""
    peephole: PeepholeConfig = field(default_factory=PeepholeConfig)
    """What the gates of a peephole LSTM see."""
    units: int = 128
    """Hidden units a direction in every layer."""
    reductions: tuple[int, ...] = (2, 2, 2)
    """One number a layer: how many neighbouring frames are joined before it (1 keeps the rate)."""
    convolutions: tuple[int, ...] = ()
    """Channels of 3 x 3 convolutions before the layers, each of which halves time and frequency; none by default."""
    dropout: float = 0.1
    """Dropout after every layer."""
    layer_norm: bool = True
    """Layer normalisation after every layer."""

    def __post_init__(self) -> None:
        if not self.reductions or min(self.reductions) < 1:
            raise UsageError("encoder.reductions: needs at least one layer, every number 1 or more")
        if min(self.convolutions, default=1) < 1:
            raise UsageError("encoder.convolutions: every number of channels must be 1 or more")
        if self.units < 1:
            raise UsageError("encoder.units: must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise UsageError("encoder.dropout: must lie in [0, 1)")

    @property
    def reduction(self) -> int:
        """Feature frames an encoded frame."""
        return 2 ** len(self.convolutions) * prod(self.reductions)


class Encoder(nn.Module):
    """Feature frames to hidden states, ``reduction`` times fewer."""

    def __init__(self, config: EncoderConfig, input_size: int) -> None:
        super().__init__()
        self.config = config
        self.size = 2 * config.units
        self.front = ConvolutionalFrontEnd(config.convolutions, input_size) if config.convolutions else None
        sizes = [self.front.size if self.front else input_size] + [self.size] * (len(config.reductions) - 1)
        joined = [size * factor for size, factor in zip(sizes, config.reductions, strict=True)]
        self.layers = nn.ModuleList(
            BidirectionalLayer(config.cell, size, config.units, config.peephole) for size in joined
        )
        self.norms = nn.ModuleList(nn.LayerNorm(self.size) if config.layer_norm else nn.Identity() for _ in joined)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B S E"], Int[Tensor, " B"]]:
        """Encode a padded batch.

        Args:
            features: Frames, zero past each utterance's length.
            lengths: Frames of each utterance.

        Returns:
            Hidden states and their lengths; an utterance's states do not depend on its batch mates.
        """
        states, lengths = self.front(features, lengths) if self.front else (features, lengths)
        for factor, layer, norm in zip(self.config.reductions, self.layers, self.norms, strict=True):
            states, lengths = join_frames(states, lengths, factor)
            states = self.dropout(norm(layer(states, lengths)))
            if self.config.layer_norm:  # its bias would leak from the padding into the last group of joined frames
                states = states * valid_mask(lengths, states.shape[1]).unsqueeze(-1)
        return states, lengths

    def encoded_lengths(self, lengths: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Hidden states that feature sequences of these lengths become."""
        for factor in (*[2] * len(self.config.convolutions), *self.config.reductions):
            lengths = ceil_division(lengths, factor)
        return lengths


def join_frames(
    frames: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"], factor: int
) -> tuple[Float[Tensor, "B T2 F2"], Int[Tensor, " B"]]:
    """Concatenate every ``factor`` neighbouring frames; the last group is filled with zeros."""
    if factor == 1:
        return frames, lengths
    frames = F.pad(frames, (0, 0, 0, -frames.shape[1] % factor))
    batch, time, size = frames.shape
    return frames.reshape(batch, time // factor, size * factor), ceil_division(lengths, factor)
