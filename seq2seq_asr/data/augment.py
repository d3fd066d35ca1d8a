"""Speed perturbation (Ko et al. 2015, "Audio augmentation for speech recognition") of samples and of features."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float32

from seq2seq_asr.data.audio import resample
from seq2seq_asr.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SpeedPerturbConfig:
    """How often and how much the speed of a training utterance changes."""

    factors: tuple[float, ...] = (0.9, 1.0, 1.1)
    """Speeds to draw from with equal chance; above 1 is faster and higher."""
    probability: float = 0.0
    """Chance that an utterance gets a drawn speed at all; 0 switches it off."""

    def __post_init__(self) -> None:
        if not self.factors or not all(0.5 <= factor <= 2.0 for factor in self.factors):
            raise UsageError(f"factors: expected one or more speeds from 0.5 to 2, found {self.factors}")
        if not 0.0 <= self.probability <= 1.0:
            raise UsageError(f"probability: expected a number from 0 to 1, found {self.probability}")


def draw_factor(config: SpeedPerturbConfig, generator: np.random.Generator) -> float:
    """Draw the speed of one utterance; always takes two numbers from `generator`, whatever they turn out to be."""
    chance, choice = generator.random(2)
    return config.factors[int(choice * len(config.factors))] if chance < config.probability else 1.0


def at_speed(inputs: Float32[np.ndarray, "N *F"], factor: float, smallest: int) -> Float32[np.ndarray, "M *F"]:
    """Samples ``(N,)`` or feature frames ``(T, F)`` at another speed.

    Args:
        inputs: What a reader has read.
        factor: Speed; above 1 is faster.
        smallest: Fewest samples or frames that a model can use: what would be shorter stays as it is.
    """
    perturb = speed_perturb if inputs.ndim == 1 else speed_perturb_features
    perturbed = perturb(inputs, factor)
    return perturbed if len(perturbed) >= smallest else inputs


def speed_perturb(samples: Float32[np.ndarray, " N"], factor: float) -> Float32[np.ndarray, " M"]:
    """Play samples faster or slower; pitch moves along.

    Args:
        samples: Mono samples.
        factor: Speed; taken as the nearest fraction with a denominator up to 100.

    Returns:
        ``ceil(N / factor)`` samples.
    """
    ratio = Fraction(factor).limit_denominator(100)
    return resample(samples, ratio.numerator, ratio.denominator)


def speed_perturb_features(features: Float32[np.ndarray, "T F"], factor: float) -> Float32[np.ndarray, "S F"]:
    """Stretch precomputed features in time by linear interpolation; the spectrum of each frame stays.

    Args:
        features: Frames × bins.
        factor: Speed; above 1 gives fewer frames.

    Returns:
        ``ceil(T / factor)`` frames; frame ``s`` is read at time ``s * factor``.
    """
    if factor == 1.0:
        return features
    last = len(features) - 1
    positions = np.minimum(np.arange(math.ceil(len(features) / factor)) * factor, last)
    below = positions.astype(np.int64)
    above = np.minimum(below + 1, last)
    weight = (positions - below).astype(np.float32)[:, None]
    return (1 - weight) * features[below] + weight * features[above]
