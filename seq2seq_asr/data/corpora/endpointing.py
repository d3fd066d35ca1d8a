"""Where the word is in a recording of a single word: clicks, hum and the tail of the word before are left out."""

import numpy as np
from jaxtyping import Float32

FRAME = 160
"""Samples that a level is measured over: 10 ms at 16 kHz."""
BELOW_PEAK = 10 ** (-35 / 20)
"""Frames over 35 dB below the loudest are quiet."""
LONGEST_CLOSURE = 25
"""Quiet frames that a word may hold, as the closures of its stops do; a longer quiet ends it."""
MARGIN = 3
"""Frames of quiet kept on each side."""


def endpoint(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " M"]:
    """The stretch of sound with the most energy, and 30 ms on each side of it.

    Sounds belong to one stretch where less than 250 ms of quiet lie between them (levels and durations after Rabiner
    and Sambur 1975, "An algorithm for determining the endpoints of isolated utterances"; without their zero crossings).

    Args:
        samples: One recorded word at 16 kHz.
    """
    frames = len(samples) // FRAME
    if frames == 0:
        return samples
    energies = np.mean(samples[: frames * FRAME].reshape(frames, FRAME) ** 2, axis=1)
    loud = np.flatnonzero(energies >= energies.max() * BELOW_PEAK**2)
    stretches = np.split(loud, np.flatnonzero(np.diff(loud) > LONGEST_CLOSURE) + 1)
    word = max(stretches, key=lambda stretch: float(energies[stretch[0] : stretch[-1] + 1].sum()))
    first, last = max(int(word[0]) - MARGIN, 0), int(word[-1]) + 1 + MARGIN
    return samples[first * FRAME : last * FRAME]
