"""Where the word is in a recording of a single word: without clicks, crackle, hum and the tail of the word before."""

import numpy as np
from jaxtyping import Bool, Float32, Int

FRAME = 160
"""Samples that a level is measured over: 10 ms at 16 kHz."""
BELOW_PEAK = 10 ** (-35 / 20)
"""Frames over 35 dB below the loudest voiced one are quiet."""
FAINTEST = 10 ** (-55 / 20)
"""The ends of a word are followed down to 55 dB below its loudest voiced frame, for the sake of [f], ..."""
ABOVE_NOISE = 10 ** (8 / 20)
"""... but not below 8 dB above the recording's noise."""
_NOISE = 0.2
"""The level that a fifth of a recording's frames stay below is its noise."""
LONGEST_CLOSURE = 25
"""Quiet frames that a word may hold, as the closures of its stops do; a longer quiet ends it."""
LONGEST_CLOSURE_IN_TAIL = 12
"""The same for the tail of the word before, which is what a recording begins within."""
LONGEST_CONSONANT = 50
"""Unvoiced frames that a word may begin or end with."""
MARGIN = 3
"""Frames kept on each side."""
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

    Sounds belong to one stretch where less than 250 ms of quiet lie between them, 120 ms behind a sound that was under
    way when the recording began. A high threshold finds the stretch and a low one its ends (Rabiner and Sambur 1975,
    "An algorithm for determining the endpoints of isolated utterances"; voice in place of their zero crossings, since
    crackle is often louder than the word). It reaches half a second beyond its voice at most. Where nothing is voiced,
    all frames count as if they were.

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
    word = max(_stretches(energies >= quiet), key=lambda stretch: float(spoken[stretch[0] : stretch[-1] + 1].sum()))
    voice = word[spoken[word] >= quiet]
    faintest = max(np.quantile(energies, _NOISE) * ABOVE_NOISE**2, spoken.max() * FAINTEST**2)
    first, last = _grown(int(word[0]), int(word[-1]), energies >= min(faintest, quiet))
    first = max(first, int(voice[0]) - LONGEST_CONSONANT) - MARGIN
    last = min(last, int(voice[-1]) + LONGEST_CONSONANT) + 1 + MARGIN
    return samples[max(first, 0) * FRAME : last * FRAME]


def _stretches(loud: Bool[np.ndarray, " F"]) -> list[Int[np.ndarray, " _"]]:
    """The loud frames of each stretch."""
    frames = np.flatnonzero(loud)
    quiet = np.diff(frames) - 1
    ends = np.flatnonzero(quiet >= LONGEST_CLOSURE)
    if frames[0] <= MARGIN:
        ends = np.union1d(ends, np.flatnonzero(quiet >= LONGEST_CLOSURE_IN_TAIL)[:1])
    return np.split(frames, ends + 1)


def _grown(first: int, last: int, heard: Bool[np.ndarray, " F"]) -> tuple[int, int]:
    """The first and last frame of a stretch, moved outwards as long as something is heard."""
    silent = np.flatnonzero(~heard)
    before, after = silent[silent < first], silent[silent > last]
    return int(before[-1]) + 1 if len(before) else 0, int(after[0]) - 1 if len(after) else len(heard) - 1


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
