"""How much an MPEG audio file (mp3) holds, counted frame by frame: libsndfile believes its header, or guesses."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_RATES = (44100, 48000, 32000)
_BITRATES = {  # kbit/s by whether it is MPEG-1 and by layer; MPEG-2 and 2.5 share theirs
    (True, 1): range(0, 449, 32),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KIND = 0xFFFE0C00
"""Bits of a frame's header that do not change within a file: sync, version, layer, sampling rate."""
_BUFFER = 1 << 18
"""Bytes read at once."""
_SYNC = re.compile(rb"(?=(\xff[\xe0-\xff]..))", re.DOTALL)
"""The first bits of a frame's header are all set; found wherever it stands, also within another."""
_TAG_WITHIN = 46
"""Bytes of the first frame in which a Xing tag begins: header, checksum and side information are before it."""


@dataclass(frozen=True)
class MpegLength:
    """What the frames of a file hold."""

    samples: int
    """Samples of a channel in all whole frames, without the one that holds the Xing tag."""
    frame: int
    """Samples of a frame."""
    promised: bool
    """Whether a Xing tag says how many frames there are."""
    trimmed: int
    """Samples of the encoder's delay and padding, which decoders leave out."""


def mpeg_length(path: Path) -> MpegLength | None:
    """Count the frames of a file; less than half a second for an hour.

    Tags (ID3, APE) and what else is no frame are left out, as decoders leave them out.

    Args:
        path: Audio of MPEG-1, 2 or 2.5, layer I, II or III.

    Returns:
        None where there is no frame that tells its size, as in free format.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb", buffering=_BUFFER) as raw:
        frames = _frames(raw)
        place, first = next(frames, (0, None))
        if first is None:
            return None
        raw.seek(place)
        tag = _xing_tag(raw.read(first.size))
        seconds = sum((frame.samples / frame.rate for _, frame in frames), 0.0)
    if tag is None:
        seconds += first.samples / first.rate
    promised, trimmed = tag or (0, 0)
    return MpegLength(round(seconds * first.rate), first.samples, promised > 0, trimmed)


@dataclass(frozen=True)
class _Frame:
    """A frame, as its header has it."""

    size: int
    samples: int
    rate: int
    kind: int


@lru_cache(maxsize=4096)
def _frame(header: bytes) -> _Frame | None:
    """The frame that begins with these four bytes (ISO 11172-3, section 2.4.1.3; ISO 13818-3); None if none does."""
    bits = int.from_bytes(header, "big")
    version, layer, bitrate, rate = bits >> 19 & 3, 4 - (bits >> 17 & 3), bits >> 12 & 15, bits >> 10 & 3
    if len(header) < 4 or bits >> 21 != 0x7FF or version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    hertz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1
    bytes_a_second = 125 * _BITRATES[version == 3, layer][bitrate]
    size = (samples * bytes_a_second // (hertz * slot) + (bits >> 9 & 1)) * slot
    return _Frame(size, samples, hertz, bits & _KIND)


def _frames(raw: BinaryIO) -> Iterator[tuple[int, _Frame]]:
    """All whole frames and where they begin, in bytes."""
    end = raw.seek(0, os.SEEK_END)
    place: int | None = 0
    kind = None
    while place is not None and place < end:
        frame = _frame_at(raw, place)
        if frame is None or (frame.kind != kind and not _goes_on(raw, place, frame)):
            place = _after_tag(raw, place) or _next_frame(raw, place)
        elif place + frame.size > end:
            return
        else:
            kind = frame.kind
            yield place, frame
            place += frame.size


def _frame_at(raw: BinaryIO, place: int) -> _Frame | None:
    raw.seek(place)
    return _frame(raw.read(4))


def _goes_on(raw: BinaryIO, place: int, frame: _Frame) -> bool:
    """Whether a frame of the same kind follows: four bytes alone may look like a header by chance."""
    following = _frame_at(raw, place + frame.size)
    return following is not None and following.kind == frame.kind


def _after_tag(raw: BinaryIO, place: int) -> int | None:
    """Where the tag ends that begins here; None if none does."""
    raw.seek(place)
    head = raw.read(32)
    if head.startswith(b"ID3") and len(head) >= 10:
        size = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return place + 10 + size + (10 if head[5] & 16 else 0)
    if head.startswith(b"TAG"):
        return place + 128
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return place + 32 + int.from_bytes(head[12:16], "little")
    return None


def _next_frame(raw: BinaryIO, place: int) -> int | None:
    """Where after `place` a frame begins that another of its kind follows; None if none does."""
    start = place + 1
    while True:
        raw.seek(start)
        block = raw.read(_BUFFER)
        if len(block) < 4:
            return None
        for sync in _SYNC.finditer(block):
            frame = _frame(sync[1])
            if frame is not None and _goes_on(raw, start + sync.start(), frame):
                return start + sync.start()
        start += len(block) - 3  # a header may stand across two blocks


def _xing_tag(first: bytes) -> tuple[int, int] | None:
    """Frames promised, and samples to leave out, where the first frame holds a Xing or LAME tag in place of sound."""
    start = max(first.find(b"Xing", 4, _TAG_WITHIN), first.find(b"Info", 4, _TAG_WITHIN))
    if start < 0:
        return None
    flags = int.from_bytes(first[start + 4 : start + 8], "big")
    frames = int.from_bytes(first[start + 8 : start + 12], "big") if flags & 1 else 0
    encoder = start + 8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
    delays = int.from_bytes(first[encoder + 21 : encoder + 24], "big")
    return frames, (delays >> 12) + (delays & 0xFFF)
