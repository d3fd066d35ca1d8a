"""Additive noise for training utterances: recordings, noise of random colour, or crackle."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from seq2seq_asr.data.audio import audio_duration, read_channels, resample
from seq2seq_asr.data.signal_checks import SignalChecks
from seq2seq_asr.errors import AudioError, UsageError

CRACKLE = 1 / 3
"""Share of crackle in synthetic noise."""
CLICKS = (2.0, 100.0)
"""Fewest and most clicks a second of a crackle."""
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
"""Endings of the files that a folder of noise is searched for."""


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """How often and how much noise is added to a training utterance."""

    probability: float = 0.0
    """Chance that an utterance gets noise; 0 switches it off."""
    snr_min: float = 5.0
    """Loudest noise: speech over noise, both as mean power over the utterance, in dB."""
    snr_max: float = 40.0
    """Faintest noise, in dB."""
    folders: tuple[Path, ...] = ()
    """Folders searched for recordings of noise, such as MUSAN's; none draws white to brown noise, or crackle."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise UsageError(f"noise.probability: expected a number from 0 to 1, found {self.probability}")
        if not -math.inf < self.snr_min <= self.snr_max < math.inf:
            found = f"{self.snr_min}, {self.snr_max}"
            raise UsageError(f"noise.snr_min, snr_max: expected finite numbers, min <= max, found {found}")


class NoiseAdder:
    """Adds noise by chance; all randomness comes from the caller's generator.

    Args:
        config: How often and how much.
        rate: Samples a second (Hz) of what gets noise.

    Raises:
        AudioError: A folder holds no audio, or is none.
    """

    def __init__(self, config: NoiseConfig, rate: int) -> None:
        self.config, self.rate = config, rate
        self.recordings = [path for folder in config.folders for path in find_audio(folder)]

    def __call__(self, samples: Float32[np.ndarray, " N"], random: np.random.Generator) -> Float32[np.ndarray, " N"]:
        """The samples with noise, or as they are.

        Raises:
            AudioError: A recording of noise is damaged.
        """
        if random.random() >= self.config.probability:
            return samples
        snr = random.uniform(self.config.snr_min, self.config.snr_max)
        return mix(samples, self._draw(len(samples), random), snr)

    def _draw(self, size: int, random: np.random.Generator) -> Float32[np.ndarray, " N"]:
        if not self.recordings:
            if random.random() < CRACKLE:
                return crackle(size, self.rate, random.uniform(*CLICKS), random)
            return coloured_noise(size, random.uniform(0.0, 2.0), random)
        path = self.recordings[int(random.integers(len(self.recordings)))]
        wanted, length = size / self.rate, audio_duration(path)
        offset = random.uniform(0.0, max(0.0, length - wanted))
        samples, rate = read_channels(path, offset=offset, duration=min(wanted, length - offset))
        checks = SignalChecks(path)
        mono = checks.add(samples)
        checks.require_agreement()
        return np.resize(resample(mono, rate, self.rate), size)


def find_audio(folder: Path) -> list[Path]:
    """All recordings below a folder, linked folders too (each once), in the order of their names.

    Raises:
        AudioError: There is none.
    """
    found, seen = [], set()
    for place, below, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()  # which name counts of a folder that has several must not vary
        found += [Path(place, name) for name in names if Path(name).suffix.lower() in SUFFIXES]
    found.sort()
    if not found:
        raise AudioError(f"{folder}: no folder with {', '.join(SUFFIXES)} files")
    return found


def mix(samples: Float32[np.ndarray, " N"], noise: Float32[np.ndarray, " N"], snr: float) -> Float32[np.ndarray, " N"]:
    """Add noise at a signal-to-noise ratio in dB; what goes beyond full scale is scaled back, as a whole."""
    speech_power, noise_power = float(np.mean(samples**2)), float(np.mean(noise**2))
    if noise_power == 0.0:
        return samples
    mixed = samples + noise * np.float32((speech_power / noise_power / 10 ** (snr / 10)) ** 0.5)
    return mixed / np.maximum(np.abs(mixed).max(), np.float32(1.0))


def coloured_noise(size: int, slope: float, random: np.random.Generator) -> Float32[np.ndarray, " N"]:
    """Gaussian noise whose power falls with frequency to the power ``slope``: 0 is white, 1 pink, 2 brown."""
    whole = 1 << max(size - 1, 1).bit_length()  # a length that is quick to transform
    spectrum = random.standard_normal((whole // 2 + 1, 2), dtype=np.float32).view(np.complex64)[:, 0]
    frequency = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1 + whole // 800)  # flat below: no drift
    return np.fft.irfft(spectrum * frequency ** np.float32(-slope / 2), whole)[:size].astype(np.float32)


def crackle(size: int, rate: int, clicks: float, random: np.random.Generator) -> Float32[np.ndarray, " N"]:
    """Clicks at random times, as of a bad contact: loudness exponential, each gone within a few milliseconds.

    Args:
        size: Samples.
        rate: Samples a second (Hz).
        clicks: Clicks a second, on average.
        random: Where the randomness comes from.
    """
    struck = random.random(size) < clicks / rate
    struck[int(random.integers(size))] = True  # one at least
    strokes = random.standard_exponential(size) * random.choice((-1.0, 1.0), size)
    decay = random.uniform(0.0001, 0.002) * rate
    ringing = np.exp(-np.arange(round(10 * decay) + 1) / decay) * random.standard_normal(round(10 * decay) + 1)
    sound = np.zeros(size + len(ringing))
    for start in np.flatnonzero(struck):
        sound[start : start + len(ringing)] += strokes[start] * ringing
    return sound[:size].astype(np.float32)
