"""Where the word is in a recording of a single word: without clicks, crackle, hum and the tail of the word before."""

import numpy as np
from jaxtyping import Bool, Float32

FRAME = 160
"""Samples that a level is measured over: 10 ms at 16 kHz."""
BELOW_PEAK = 10 ** (-35 / 20)
"""Frames over 35 dB below the loudest voiced one are quiet."""
LONGEST_CLOSURE = 25
"""Quiet frames that a word may hold, as the closures of its stops do; a longer quiet ends it."""
LONGEST_CONSONANT = 50
"""Unvoiced frames that a word may begin or end with."""
MARGIN = 3
"""Frames of quiet kept on each side."""
_COARSE = 4
"""Samples averaged to one before periods are looked for: voices have theirs below 1 kHz."""
_WINDOW = 160
"""Averages that are searched for a period: 40 ms, more than two of the longest."""
_PERIODS = slice(4000 // 400, 4000 // 60)
_BAND = 50.0, 1000.0
"""Hz in which a voice is periodic; crackle has most of its energy above."""
_PERIODIC = 0.6
_SHORTEST_VOICE = 4
"""Of five neighbouring frames, so many are periodic; crackle is so for one or two."""


def endpoint(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " M"]:
    """The stretch of sound with the most energy in its voiced frames, and 30 ms on each side of it.

    Sounds belong to one stretch where less than 250 ms of quiet lie between them (levels and durations after Rabiner
    and Sambur 1975, "An algorithm for determining the endpoints of isolated utterances"; voice in place of their zero
    crossings, since crackle is often louder than the word). It reaches half a second beyond its voice at most. Where
    nothing is voiced, all frames count as if they were.

    Args:
        samples: One recorded word at 16 kHz.
    """
    frames = len(samples) // FRAME
    if frames == 0:
        return samples
    energies = np.mean(samples[: frames * FRAME].reshape(frames, FRAME) ** 2, axis=1)
    voiced = voicing(samples, frames)
    spoken = np.where(voiced, energies, 0) if voiced.any() else energies
    quiet = spoken.max() * BELOW_PEAK**2
    loud = np.flatnonzero(energies >= quiet)
    stretches = np.split(loud, np.flatnonzero(np.diff(loud) > LONGEST_CLOSURE) + 1)
    word = max(stretches, key=lambda stretch: float(spoken[stretch[0] : stretch[-1] + 1].sum()))
    voice = word[spoken[word] >= quiet]
    first = max(int(word[0]), int(voice[0]) - LONGEST_CONSONANT) - MARGIN
    last = min(int(word[-1]), int(voice[-1]) + LONGEST_CONSONANT) + 1 + MARGIN
    return samples[max(first, 0) * FRAME : last * FRAME]


def voicing(samples: Float32[np.ndarray, " N"], frames: int) -> Bool[np.ndarray, " F"]:
    """Which frames repeat themselves 60 to 400 times a second, as a voice does.

    The peak of the normalised autocorrelation below 1 kHz (after Rabiner 1977, "On the use of autocorrelation analysis
    for pitch detection"), each lag divided by the share of the window that it leaves.

    Args:
        samples: Sound at 16 kHz.
        frames: Frames to look at, from the first on.
    """
    averages = samples[: len(samples) // _COARSE * _COARSE].reshape(-1, _COARSE).mean(1)
    around = np.pad(averages, (_WINDOW // 2, _WINDOW))
    starts = (np.arange(frames)[:, None] * FRAME + FRAME // 2) // _COARSE
    windows = around[starts + np.arange(_WINDOW)]
    spectra = np.fft.rfft(windows - windows.mean(1, keepdims=True), 2 * _WINDOW)
    frequencies = np.fft.rfftfreq(2 * _WINDOW, _COARSE / 16000)
    power = np.abs(spectra) ** 2 * ((frequencies > _BAND[0]) & (frequencies < _BAND[1]))
    alike = np.fft.irfft(power)[:, :_WINDOW]
    alike /= np.maximum(alike[:, :1], np.finfo(np.float32).tiny) * (1 - np.arange(_WINDOW) / _WINDOW)
    periodic = alike[:, _PERIODS].max(1) > _PERIODIC
    return periodic & (np.convolve(periodic, np.ones(5), "same") >= _SHORTEST_VOICE)
