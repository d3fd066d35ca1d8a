"""What a recording, or an array of features, is like: measured once, kept as a few numbers."""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32

from seq2seq_asr.data.audio import read_channels, read_features
from seq2seq_asr.data.dataset import quantise
from seq2seq_asr.data.signal_checks import SignalChecks
from seq2seq_asr.data.utterance import Utterance

FEATURE_RATE: Final = 100
"""Frames a second of precomputed features."""
_BLOCK_SECONDS: Final = 0.02
_QUIET_BELOW_LOUDEST: Final = 40.0
_FLOOR: Final = 1e-10


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Measurements of one utterance."""

    digest: bytes
    """Of the 16-bit samples, whatever file format holds them, or of the features."""
    rate: int
    """Samples (or frames) a second."""
    length: int
    """Samples, or frames of features."""
    kind: str
    """Such as ``16000 Hz`` or ``13 bins``."""
    clipped: float = 0.0
    """Share of the samples that stand at the extreme value for three or more in a row."""
    quiet: float = 0.0
    """Share of blocks of 20 ms that are 40 dB below the loudest."""
    peak: float = 0.0
    """Largest sample, where full scale is 1."""
    level: float = 0.0
    """Root mean square of the loudest block, in dB of full scale."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.length / self.rate


def measure(utterance: Utterance, *, whole: bool) -> Signal:
    """Read an utterance and measure it.

    Args:
        utterance: The utterance.
        whole: Read the whole file, and have it complete, whatever the manifest says of its length.

    Raises:
        AudioError: It cannot be read or nothing can be recognised in it.
    """
    if utterance.audio is None:
        assert utterance.features is not None
        features = read_features(utterance.features)
        return Signal(
            digest=_digest(features), rate=FEATURE_RATE, length=len(features), kind=f"{features.shape[1]} bins"
        )
    span = {} if whole else {"offset": utterance.offset, "duration": utterance.duration}
    channels, rate = read_channels(utterance.audio, **span)
    checks = SignalChecks(utterance.audio)
    mono = checks.add(channels)
    checks.require_sound()
    levels = block_levels(mono, rate)
    return Signal(
        digest=_digest(quantise(mono)),
        rate=rate,
        length=len(mono),
        kind=f"{rate} Hz",
        clipped=max(clipped_share(channel) for channel in channels.T),
        quiet=float((levels < levels.max() - _QUIET_BELOW_LOUDEST).mean()),
        peak=float(np.abs(mono).max()),
        level=float(levels.max()),
    )


def clipped_share(samples: Float32[np.ndarray, " N"]) -> float:
    """Share of samples in runs of three or more at the highest or at the lowest value, at whatever level that is."""
    share = 0
    for limit in (samples.max(), samples.min()):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], samples == limit, [False]])))
        runs = edges[1::2] - edges[::2]
        share += int(runs[runs >= 3].sum()) if limit != 0 else 0
    return share / len(samples)


def block_levels(samples: Float32[np.ndarray, " N"], rate: int) -> Float32[np.ndarray, " L"]:
    """Root mean square of each block of 20 ms in dB of full scale; what is left over at the end is left out."""
    size = min(max(1, round(_BLOCK_SECONDS * rate)), len(samples))
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.einsum("ls,ls->l", blocks, blocks) / size
    return (10 * np.log10(np.maximum(power, _FLOOR))).astype(np.float32)


def _digest(values: np.ndarray) -> bytes:
    return hashlib.blake2b(values.tobytes(), digest_size=16).digest()
