"""Which attention, and its sizes."""

import math
from dataclasses import dataclass
from typing import Literal

from seq2seq_asr.errors import UsageError

AttentionKind = Literal[
    "location", "additive", "dot", "scaled_dot", "general", "coverage", "forward", "gaussian", "mocha", "none"
]
"""location-aware (Chorowski 2015), additive (Bahdanau 2015), dot product and general (Luong 2015), scaled dot product
(Vaswani 2017), coverage (See 2017), forward (Zhang 2018), Gaussian mixture (Graves 2013), monotonic chunkwise (Chiu
2018)."""


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """How the decoder finds the frames of its next token."""

    kind: AttentionKind = "location"
    """How frames are found; `none` is a vector of fixed length (Sutskever 2014, Cho 2014)."""
    size: int = 128
    """Size of the space in which decoder state and frames are compared; several heads share it."""
    heads: int = 1
    """Attentions of this kind side by side, each with its own projection of what it finds (Vaswani 2017)."""
    filters: int = 10
    """Convolution filters over the previous alignment (location-aware only)."""
    width: int = 31
    """Width of those filters in encoded frames, an odd number (location-aware only)."""
    cumulative: bool = False
    """Filter the sum of all previous alignments in place of the last one (location-aware only)."""
    window: int = 0
    """Frames on either side of the last alignment's median that may get weight; 0 is all (location-aware only)."""
    smoothing: bool = False
    """Normalise logistic functions of the energies in place of exponentials (Chorowski 2015, section 2.3)."""
    mixtures: int = 5
    """Components of a Gaussian mixture."""
    chunk: int = 4
    """Frames attended to at each stop, which comes last (mocha only)."""
    noise: float = 1.0
    """Standard deviation of the noise on the logits of stopping while training (mocha only)."""
    fixed_feeds: Literal["start", "every_step"] = "every_step"
    """Without attention: whether the fixed-length vector gives the first state alone or is read at every step too."""

    def __post_init__(self) -> None:
        if min(self.size, self.filters, self.heads, self.mixtures) < 1:
            raise UsageError("attention.size, attention.filters, attention.heads, attention.mixtures: 1 or more")
        if self.width < 1 or self.width % 2 == 0:
            raise UsageError(f"attention.width: must be an odd number above 0, not {self.width}")
        if self.size % self.heads:
            raise UsageError(f"attention.heads: {self.heads} heads do not divide attention.size {self.size}")
        if self.window < 0:
            raise UsageError("attention.window: must be 0 or more")
        if self.kind != "location" and (self.cumulative or self.window):
            raise UsageError("attention.cumulative, attention.window: only for attention.kind location")
        if self.cumulative and self.window:
            raise UsageError("attention.window: needs the last alignment, which attention.cumulative replaces")
        if self.chunk < 1 or not 0 <= self.noise < math.inf:
            raise UsageError("attention.chunk: must be 1 or more, and attention.noise 0 or more, and finite")
        if self.kind in ("mocha", "forward", "gaussian") and self.smoothing:
            raise UsageError(f"attention.smoothing: attention.kind {self.kind} weighs a few frames, which need none")
        if self.kind == "none" and (self.heads > 1 or self.smoothing):
            raise UsageError("attention.heads, attention.smoothing: attention.kind none has no weights")
