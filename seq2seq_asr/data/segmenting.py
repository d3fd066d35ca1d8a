"""Where to cut a long recording: in its pauses, found by energy, and at its quietest points where it has none.

Attention and CTC prefix scores cost a search time that grows with the square of the length, and an attention decoder
knows no recordings longer than those it learnt from (Chiu et al. 2019, "A comparison of end-to-end models for
long-form speech recognition"). So a long recording is cut into segments that touch without overlapping: every sample
lies in exactly one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from seq2seq_asr.errors import UsageError

FRAMES_A_SECOND = 100
"""Energies a second."""
_SMOOTHED = 5
"""Energies averaged before they are compared: a single crackle ends no pause."""
_QUIET_PLACE = 20
"""Energies averaged to find the quietest place in speech without pauses."""
_NEAR, _FAR = 2 * FRAMES_A_SECOND, 10 * FRAMES_A_SECOND
"""Energies before and after one that tell what is background there, and how loud speech is."""
_PEAK = 95
"""Percentile of the energy that stands for speech."""
_DEEPEST = 50.0
"""Decibels below the speech at which the background is taken to lie, at most: digital silence is no background."""
_FLATTEST = 8.0
"""Decibels between background and speech without which nothing counts as a pause."""
_SHARE = 0.3
"""Height of the threshold between background and speech."""
_LONG_PAUSE = 2.0
"""Seconds of quiet that end a segment however short it is."""
_STRIDE = 10
"""Energies that share a threshold."""
_DEAD = 1e-11
"""Mean squares up to this are digital silence, dithered by less than one step of 16 bits."""
_LOWEST = 1e-12
"""Mean squares below this count as this."""


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """How recordings that are too long for one search are cut; times in seconds."""

    above: float = 40.0
    """Recordings longer than this are cut at pauses and decoded in segments; inf never cuts."""
    shortest: float = 0.5
    """Length that a segment has at least before a pause may end it; very long pauses do not ask."""
    longest: float = 20.0
    """Longest segment; where there is no pause before, the cut is at the quietest place. Best as in training."""
    pause: float = 0.2
    """Quiet that counts as a pause."""
    margin: float = 0.1
    """Quiet left on either side of speech; what lies between, in the middle of a pause, is not searched."""

    def __post_init__(self) -> None:
        checks = {
            "above": (self.above > 0, "above 0"),
            "shortest": (0.1 <= self.shortest < float("inf"), "at least 0.1"),
            "longest": (2 * self.shortest <= self.longest < float("inf"), "at least twice shortest, and finite"),
            "pause": (0.05 <= self.pause < float("inf"), "at least 0.05"),
            "margin": (0.05 <= self.margin < float("inf"), "at least 0.05"),
        }
        for name, (holds, wanted) in checks.items():
            if not holds:
                raise UsageError(f"{name}: must be {wanted}, not {getattr(self, name)}")


class Segment(NamedTuple):
    """Part of a recording, from ``start`` up to and without ``end``."""

    start: int
    end: int
    quiet: bool = False
    """Whether it is the middle of a long pause, which is not searched."""


def frame_size(rate: int) -> int:
    """Samples of one energy at this sampling rate."""
    return max(1, round(rate / FRAMES_A_SECOND))


def energies(samples: Float[np.ndarray, " N"], size: int) -> Float[np.ndarray, " T"]:
    """Variance of every ``size`` samples, a last few included: a constant offset is no sound."""
    whole = len(samples) // size * size
    frames = samples[:whole].reshape(-1, size).astype(np.float64).var(1)
    rest = samples[whole:].astype(np.float64)
    return np.append(frames, rest.var()) if len(rest) else frames


def plan_segments(power: Float[np.ndarray, " T"], config: SegmentConfig) -> list[Segment]:
    """Cut a recording.

    A pause ends a segment that is long enough; its middle becomes a segment of its own, marked quiet. Speech without a
    pause is cut at its quietest place before ``longest``.

    Args:
        power: `energies` of the whole recording.
        config: Lengths.

    Returns:
        Segments in frames; the first begins at 0, each begins where the one before ends, the last ends at T.
    """
    shortest, long_pause = _frames(config.shortest), _frames(_LONG_PAUSE)
    found: list[Segment] = []
    start, last = 0, len(power)
    for pause in _runs(quiet_frames(power), max(1, _frames(config.pause))):
        middle = _middle(pause, power, _frames(config.margin))
        cut = middle._replace(start=max(start, middle.start), end=max(start, middle.end))
        # What is too short to stand alone goes with what follows; a very long pause cuts in any case.
        if start < cut.start < start + shortest and cut.end - cut.start < long_pause:
            continue
        found += [*_speech(start, cut.start, power, config), *[cut] * (cut.start < cut.end)]
        start = cut.end
    return [*found, *_speech(start, last, power, config)]


def _middle(pause: Segment, power: Float[np.ndarray, " T"], margin: int) -> Segment:
    """What of a pause is not searched; no frames where the margins fill it.

    No margin holds digital silence, which no microphone records: it would lie far from all else that is normalised
    with it.
    """
    start = pause.start + margin * (pause.start > 0)
    end = pause.end - margin * (pause.end < len(power))
    if start > end:
        start = end = (start + end) // 2
    dead = power <= _DEAD
    inside = pause.start + np.flatnonzero(dead[pause.start : pause.end])
    if len(inside):
        start, end = min(start, int(inside[0])), max(end, int(inside[-1]) + 1)
        # The threshold is of smoothed energies: silence may begin before the pause and end behind it.
        while start > 0 and dead[start - 1]:
            start -= 1
        while end < len(dead) and dead[end]:
            end += 1
    return Segment(start, end, True)


def quiet_frames(power: Float[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
    """Which frames lie near the background, as the seconds around them tell it: its level may change at any time."""
    if len(power) == 0:
        return np.zeros(0, dtype=bool)
    level, steady = (10 * np.log10(np.maximum(_smooth(power, width), _LOWEST)) for width in (_SMOOTHED, _QUIET_PLACE))
    floor = _around(steady, _NEAR, np.min)
    near, far = (_around(level, reach, _loud) for reach in (_NEAR, _FAR))
    # Where all is alike, the wider surroundings tell whether that is background.
    peak = np.where(near - floor >= _FLATTEST, near, far)
    floor = np.maximum(floor, peak - _DEEPEST)
    threshold = np.where(peak - floor >= _FLATTEST, floor + _SHARE * (peak - floor), -np.inf)
    # A stretch without any speech has no loud frames to be told from: the recording's own lie too far above.
    return level < np.maximum(threshold, np.percentile(level, _PEAK) - _DEEPEST)


def _loud(rows: np.ndarray, axis: int) -> np.ndarray:
    return np.percentile(rows, _PEAK, axis=axis)


def _around(level: Float[np.ndarray, " T"], reach: int, measure: Callable[..., np.ndarray]) -> Float[np.ndarray, " T"]:
    """A measure of what lies around each frame, taken at every tenth."""
    padded = np.pad(level, reach, mode="reflect" if len(level) > reach else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)[::_STRIDE]
    return np.repeat(np.concatenate([measure(part, axis=1) for part in _parts(windows)]), _STRIDE)[: len(level)]


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    """Some rows at a time, for a percentile copies its input."""
    return np.array_split(rows, max(1, len(rows) // 1000))


def _speech(start: int, end: int, power: Float[np.ndarray, " T"], config: SegmentConfig) -> Iterator[Segment]:
    """Segments of a stretch without a pause to cut it at; no runt is left at its end."""
    shortest, longest = _frames(config.shortest), _frames(config.longest)
    while end - start > longest:
        cut = _quietest(power, start + shortest, min(start + longest, end - shortest))
        yield Segment(start, cut)
        start = cut
    if start < end:
        yield Segment(start, end)


def _quietest(power: Float[np.ndarray, " T"], first: int, last: int) -> int:
    """The frame from ``first`` to ``last`` at which a cut does the least harm; among equals the latest."""
    around = slice(max(0, first - _QUIET_PLACE), last + _QUIET_PLACE + 1)
    level = _smooth(power[around], _QUIET_PLACE)[first - around.start :][: last - first + 1]
    return first + len(level) - 1 - int(level[::-1].argmin())


def _smooth(power: Float[np.ndarray, " T"], width: int) -> Float[np.ndarray, " T"]:
    """Moving average; at the ends over what is there."""
    window = np.ones(min(width, max(1, len(power))))
    if len(power) == 0:
        return power
    return np.convolve(power, window, "same") / np.convolve(np.ones(len(power)), window, "same")


def _runs(flags: Bool[np.ndarray, " T"], least: int) -> list[Segment]:
    """Stretches of at least so many frames that all are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [Segment(a, b) for a, b in edges.reshape(-1, 2).tolist() if b - a >= least]


def _frames(seconds: float) -> int:
    return round(seconds * FRAMES_A_SECOND)
