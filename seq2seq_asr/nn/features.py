"""From waveforms, or arrays computed elsewhere, to the normalised frames the encoder reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.deltas import add_deltas
from seq2seq_asr.nn.fbank import FRAME_SHIFT, Fbank
from seq2seq_asr.nn.masks import valid_mask
from seq2seq_asr.nn.normalise import Normalisation, Normalise
from seq2seq_asr.nn.pitch import RATE, Curve, Pitch

LOWEST_RATE, HIGHEST_RATE = 1_000, 192_000
"""Samples per second that a model may read (Hz): tables grow with the rate, and a checkpoint may be a stranger's."""


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """What the encoder sees of an utterance."""

    kind: Literal["fbank", "precomputed"] = "fbank"
    """fbank: log-mel filterbank of waveforms; precomputed: arrays read from disk as they are."""
    rate: int = 16000
    """Samples per second of the waveforms (Hz)."""
    bins: int = 80
    """Mel bins of fbank; for precomputed, the dimension of the arrays."""
    deltas: Literal[0, 1, 2] = 0
    """Order of the time derivatives put beside the features: 0 none, 1 deltas, 2 and their deltas."""
    normalisation: Normalisation = "utterance"
    """Zero mean and unit variance per utterance, over the training data (global), or not at all (none)."""
    pitch: bool = False
    """Put voicing, pitch and its slope beside the filterbank (Ghahremani 2014), for languages with tones."""

    def __post_init__(self) -> None:
        if not LOWEST_RATE <= self.rate <= HIGHEST_RATE:
            raise UsageError(f"rate must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {self.rate}")
        if self.bins < 1:
            raise UsageError(f"bins must be at least 1, got {self.bins}")
        if self.pitch and self.kind != "fbank":
            raise UsageError(f"pitch is found in waveforms; kind {self.kind} has none")
        if self.pitch and self.rate % 100:  # the filterbank's frames are whole samples, and not 10 ms then
            raise UsageError(f"pitch needs a rate that is a multiple of 100 Hz, got {self.rate}")
        if self.pitch and self.rate <= RATE:  # only what is resampled to that is filtered as it should be
            raise UsageError(f"pitch needs a rate above {RATE} Hz, got {self.rate}")

    @property
    def spectrum(self) -> int:
        """Values of a frame that are bins or their deltas; they come first."""
        return self.bins * (1 + self.deltas)

    @property
    def others(self) -> tuple[Curve, ...]:
        """Values of a frame that have no place in frequency; they come last."""
        return Pitch.curves if self.pitch else ()


class Features(nn.Module):
    """Filterbank (unless precomputed), deltas, normalisation and pitch; nothing in it is learnt by gradient."""

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.config = config
        self.size = config.spectrum + len(config.others)
        """Values of a frame (F)."""
        self.fbank = Fbank(bins=config.bins, rate=config.rate) if config.kind == "fbank" else None
        self.frame_shift = self.fbank.frame_shift / config.rate if self.fbank else FRAME_SHIFT
        """Seconds from one frame to the next; those of precomputed arrays are taken to be 10 ms."""
        self.pitch = Pitch(config.rate) if config.pitch else None
        self.normalise = Normalise(config.normalisation, config.spectrum)

    def frame_count(self, samples: int) -> int:
        """The number of frames of so many samples; 0 if they do not fill one. Precomputed: `samples` are frames."""
        return samples if self.fbank is None else self.fbank.frame_count(samples)

    @property
    def smallest_input(self) -> int:
        """Fewest samples (or precomputed frames) that give a frame."""
        return 1 if self.fbank is None else self.fbank.frame_length

    @torch.no_grad()
    def forward(
        self, inputs: Float[Tensor, "B N"] | Float[Tensor, "B T G"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T2 F"], Int[Tensor, " B"]]:
        """Compute the features of a padded batch, each utterance as if it were alone.

        Args:
            inputs: Waveforms in [-1, 1], or arrays of `config.bins` values a frame; the padding may hold anything.
            lengths: Samples, or frames, of each utterance.

        Returns:
            Features in float32, zero past each utterance's length, and their lengths in frames. An utterance shorter
            than one frame has length 0; the caller decides what to say about it.

        Raises:
            UsageError: If the inputs do not fit `config.kind` and `config.bins`.
        """
        features, frames = self._unnormalised(inputs, lengths)
        features = self.normalise(features, frames)
        if self.pitch is not None:
            features = torch.cat((features, self.pitch(inputs, lengths, frames, features.shape[1])), dim=2)
        return features, frames

    def fit_global(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the statistics of global normalisation from batches of (inputs, lengths) as given to `forward`."""
        self.normalise.fit_global(self._unnormalised(inputs, lengths) for inputs, lengths in batches)

    @torch.no_grad()
    def _unnormalised(
        self, inputs: Float[Tensor, "B N"] | Float[Tensor, "B T G"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T2 F"], Int[Tensor, " B"]]:
        if self.fbank is not None:
            if inputs.dim() != 2:
                raise UsageError(f"kind fbank reads waveforms (B, N), got an array of shape {tuple(inputs.shape)}")
            features, lengths = self.fbank(inputs, lengths)
        else:
            if inputs.dim() != 3 or inputs.shape[2] != self.config.bins:
                raise UsageError(f"bins is {self.config.bins}, but the arrays have shape {tuple(inputs.shape)}")
            padding = ~valid_mask(lengths, inputs.shape[1])
            features = inputs.float().masked_fill(padding[:, :, None], 0.0)
        return add_deltas(features, lengths, self.config.deltas), lengths
