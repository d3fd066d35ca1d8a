"""What makes a recording useless for recognition, looked for block by block: a short one is a single block."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from seq2seq_asr.errors import AudioError

LOUDEST = 16.0
"""A sample beyond this many times full scale is of another scale, such as 16-bit values in a file of floats."""
CANCELLED = 0.01
"""Power of the average, relative to what the loudest channel alone would leave of it."""


def mixed(block: Float32[np.ndarray, "N C"]) -> Float32[np.ndarray, " N"]:
    """The average of the channels."""
    with np.errstate(over="ignore", invalid="ignore"):
        return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


class SignalChecks:
    """Takes note of each block of a recording, and judges it at the end.

    Args:
        path: File to name in the errors.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.samples = path, 0
        self.low, self.high = np.inf, -np.inf
        self.channels: np.ndarray | float = 0.0
        """Energy of each channel, of several."""
        self.mono = 0.0
        """Energy of their average."""

    def add(self, block: Float32[np.ndarray, "N C"]) -> Float32[np.ndarray, " N"]:
        """Take note of a block and return the average of its channels.

        Raises:
            AudioError: It is not finite.
        """
        mono = mixed(block)
        if mono.size == 0:
            return mono
        low, high = float(mono.min()), float(mono.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise AudioError(f"{self.path}: samples hold NaN or infinite values")
        self.samples += len(mono)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if block.shape[1] > 1:
            self.channels = self.channels + np.einsum("nc,nc->c", block, block, dtype=np.float64)
            self.mono += float(np.einsum("n,n->", mono, mono, dtype=np.float64))
        return mono

    def require_agreement(self) -> None:
        """Refuse channels that cancel out: what is left would be noise, but not silent.

        Raises:
            AudioError: They do.
        """
        count = np.size(self.channels)
        if count > 1 and self.mono < CANCELLED * np.max(self.channels) / count**2:
            raise AudioError(f"{self.path}: its {count} channels cancel out when averaged: keep one of them")

    def require_sound(self) -> None:
        """Refuse what nothing can be recognised in.

        Raises:
            AudioError: There are no samples, they are all alike or far beyond full scale, or the channels cancel out.
        """
        self.require_agreement()
        if self.samples == 0:
            raise AudioError(f"{self.path}: no samples")
        if self.low == self.high:
            raise AudioError(f"{self.path}: silent: all {self.samples} samples are {self.high:g}")
        if (peak := max(-self.low, self.high)) > LOUDEST:
            raise AudioError(f"{self.path}: samples reach {peak:g} where full scale is 1: divide them by their scale")
