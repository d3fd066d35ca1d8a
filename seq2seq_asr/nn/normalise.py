"""Mean and variance normalisation of features, over an utterance or over the training data."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.masks import valid_mask

Normalisation = Literal["none", "utterance", "global"]

VARIANCE_FLOOR = 1e-5
"""Smallest variance divided by: a feature that never changes becomes zero instead of rounding noise blown up."""


class Normalise(nn.Module):
    """Shift and scale every feature to mean 0 and variance 1.

    The variance divides by the number of frames (biased, as in Kaldi) and is at least `VARIANCE_FLOOR`. The statistics
    of the kind "global" are buffers, so a checkpoint carries them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: Normalisation, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.fitted = kind != "global"
        """Whether the statistics are there; without them the kind "global" cannot run."""
        if kind == "global":
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("std", torch.zeros(size))  # zero: not known yet
            self.register_load_state_dict_post_hook(_note_loaded)

    def forward(self, features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T F"]:
        """Normalise valid frames and set all others to zero.

        Raises:
            RuntimeError: If the kind is "global" and no statistics were fitted, set or loaded.
        """
        padding = ~valid_mask(lengths, features.shape[1])[:, :, None]
        features = features.masked_fill(padding, 0.0)
        if self.kind == "none":
            return features
        if self.kind == "global":
            if not self.fitted:
                raise RuntimeError("global normalisation has no statistics: call fit_global or set_statistics first")
            return ((features - self.mean) / self.std).masked_fill(padding, 0.0)
        return _normalise_utterances(features, lengths, padding)

    def set_statistics(self, mean: Float[Tensor, " F"], std: Float[Tensor, " F"]) -> None:
        """Set the statistics of global normalisation; `std` is raised to the root of `VARIANCE_FLOOR`.

        Raises:
            ValueError: If the kind is not "global", or a value is not finite.
        """
        if self.kind != "global":
            raise ValueError(f"normalisation {self.kind!r} keeps no statistics")
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise ValueError("statistics of the features are not finite")
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=VARIANCE_FLOOR**0.5))
        self.fitted = True

    def fit_global(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the statistics from batches of (features, lengths), weighing every valid frame alike.

        Raises:
            ValueError: If there is no frame at all, or a feature is not finite.
        """
        self.set_statistics(*frame_statistics(batches))


def frame_statistics(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Float[Tensor, " F"], Float[Tensor, " F"]]:
    """Mean and standard deviation over all valid frames of batches of (features, lengths), in float64.

    Batches are merged by Chan, Golub and LeVeque (1979), which stays exact when the mean is large.

    Raises:
        ValueError: If there is no frame at all.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for features, lengths in batches:
        frames = features[valid_mask(lengths, features.shape[1])].double()  # (frames, F)
        if len(frames) == 0:
            continue
        batch_mean = frames.mean(0)
        batch_squares = (frames - batch_mean).square().sum(0)
        if count == 0:
            count, mean, squares = len(frames), batch_mean, batch_squares
            continue
        total = count + len(frames)
        step = batch_mean - mean
        squares = squares + batch_squares + step.square() * (count * len(frames) / total)
        mean = mean + step * (len(frames) / total)
        count = total
    if count == 0:
        raise ValueError("no frame to take the statistics of the features from")
    return mean, (squares / count).sqrt()


def _normalise_utterances(features: Tensor, lengths: Tensor, padding: Tensor) -> Tensor:
    """Normalise padded features (B, T, F), zero past the length, by the statistics of each utterance."""
    frames = lengths.clamp(min=1)[:, None, None]
    centred = (features - features.sum(1, keepdim=True) / frames).masked_fill(padding, 0.0)
    variance = centred.square().sum(1, keepdim=True) / frames
    return centred * variance.clamp(min=VARIANCE_FLOOR).rsqrt()


def _note_loaded(module: Normalise, incompatible_keys: Any) -> None:
    """After loading a state: statistics are known if they were known when it was saved."""
    module.fitted = bool((module.std > 0).all())
