"""Reading a long recording block by block, twice: its energies to plan the segments, then segment after segment.

At no time does more than a block or a segment stand in memory. The first reading checks all that `read_audio` checks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from seq2seq_asr.data.audio import TOLERANCE, open_audio, read_span, resample
from seq2seq_asr.data.completeness import cut_short, require_no_holes, require_whole_file
from seq2seq_asr.data.segmenting import Segment, SegmentConfig, energies, frame_size, plan_segments
from seq2seq_asr.data.signal_checks import SignalChecks, mixed
from seq2seq_asr.errors import AudioError

_BLOCK_SECONDS = 10


@runtime_checkable
class Recording(Protocol):
    """Audio that can be read from its beginning as often as wanted."""

    path: Path
    rate: int

    def blocks(self, sizes: Iterator[int]) -> Iterator[Float32[np.ndarray, "N C"]]:
        """Samples in blocks of the sizes asked for, until there are no more; the last may be shorter."""
        ...


class FileRecording:
    """A file, or a part of it.

    Args:
        path: As `read_audio`.
        offset: Where the part begins, in seconds.
        duration: Its length in seconds; None reads to the end, and checks that the file is whole.

    Raises:
        AudioError: The file is missing, is no audio, or there is less of it than asked for or promised.
    """

    def __init__(self, path: Path, offset: float = 0.0, duration: float | None = None) -> None:
        self.path, self.to_the_end = path, duration is None
        with open_audio(path) as file:
            self.rate = file.samplerate
            self.start = round(offset * self.rate)
            there = (require_whole_file(file, path) if duration is None else file.frames) - self.start
            self.wanted = there if duration is None else round(duration * self.rate)
            if self.wanted <= 0 or there < self.wanted - TOLERANCE * self.rate:
                raise cut_short(file, path, self.start, self.wanted, max(there, 0))
            self.wanted = min(self.wanted, there)

    def blocks(self, sizes: Iterator[int]) -> Iterator[Float32[np.ndarray, "N C"]]:
        """See `Recording.blocks`.

        Raises:
            AudioError: The file is damaged.
        """
        here, place, end = 0, self.start, self.start + self.wanted
        with open_audio(self.path) as file:
            for size in sizes:
                if place == end:
                    break
                block = read_span(file, self.path, place, min(size, end - place), here)
                if len(block) == 0:
                    raise AudioError(
                        f"{self.path}: cut short: {(end - place) / self.rate:.3f} s are missing at its end"
                    )
                here = place = place + len(block)
                yield block
            if place == end and self.to_the_end and self.start == 0:
                require_no_holes(file, self.path)


class ArrayRecording:
    """Samples in memory.

    Args:
        samples: Mono.
        rate: In Hz.
    """

    path = Path("samples")

    def __init__(self, samples: Float[np.ndarray, " N"], rate: int) -> None:
        self.samples, self.rate = samples, rate

    def blocks(self, sizes: Iterator[int]) -> Iterator[Float32[np.ndarray, "N C"]]:
        """See `Recording.blocks`."""
        start = 0
        for size in sizes:
            if start >= len(self.samples):
                return
            yield self.samples[start : start + size, None].astype(np.float32)
            start += size


@dataclass(frozen=True)
class Plan:
    """Where a recording is to be cut, in samples at its own rate."""

    segments: tuple[Segment, ...]
    rate: int


def plan(recording: Recording, config: SegmentConfig) -> Plan:
    """Read a recording from end to end, check it and decide where to cut it.

    Raises:
        AudioError: It is damaged, silent, not finite, of another scale, or its channels cancel out.
    """
    size = frame_size(recording.rate)
    checks, power = SignalChecks(recording.path), []
    for block in recording.blocks(_repeated(_BLOCK_SECONDS * recording.rate // size * size)):
        power.append(energies(checks.add(block), size))
    checks.require_sound()
    frames = plan_segments(np.concatenate(power), config)
    scaled = (Segment(one.start * size, min(one.end * size, checks.samples), one.quiet) for one in frames)
    return Plan(tuple(scaled), recording.rate)


def read_segments(recording: Recording, segments: Sequence[Segment], rate: int) -> Iterator[Float32[np.ndarray, " N"]]:
    """The samples of each segment, in order, mono and at one rate.

    Each segment is resampled by itself, as if it were a file of its own.

    Args:
        recording: The recording.
        segments: All of its `Plan`.
        rate: Of the result, in Hz.
    """
    sizes = iter([one.end - one.start for one in segments])
    for block in recording.blocks(sizes):
        yield resample(mixed(block), recording.rate, rate)


def _repeated(size: int) -> Iterator[int]:
    while True:
        yield size
