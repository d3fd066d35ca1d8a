"""Is a recording all there? libsndfile quietly shortens a file that was cut; what it noticed stands in its log."""

import mmap
import os
import re
from pathlib import Path

import soundfile

from seq2seq_asr.data.mpeg_frames import mpeg_length
from seq2seq_asr.errors import AudioError

LONGEST_HEADER = 1 << 36
"""More samples than this in a header mean that the writer did not know the length."""
_LENGTH_UNKNOWN = 0x7FFF0000
"""From here on, a 32-bit length stands for "not known": the file was written to a pipe."""
# Bytes of samples in wav, aiff and au; of the whole file in rf64 and w64, whose logs do not compare the former.
_BYTES_CUT = re.compile(
    r"^\s*(?:data|SSND|Data Size|Riff size|riff) *: (?P<said>\d+) \(should be (?P<found>\d+)\)", re.MULTILINE
)
_NO_CHUNK = re.compile(
    r"(?:Unknown chunk marker.*|Have 0 marker) at position (?P<place>0x[0-9A-F]+|\d+)\b(?! with length \d+\. Skipping)"
)
"""What the log of a wav or aiff says of bytes that are no chunk, as behind samples more than the header tells."""
_UNPADDED_CHUNK = re.compile(rb"[A-Za-z_][A-Za-z0-9_ ]{3}")
_TAG = b"ID3"
"""Begins a tag of an mp3 (ID3v2), of any length, which some programs put behind the chunks of a wav."""
_LONGEST_RUBBISH = 1024
"""Bytes behind the last chunk that are no samples, such as an mp3's older tag (ID3v1); zeros may be more."""
_LONGEST_OGG_PAGE = 65307
_OGG_END_OF_STREAM = 4
_OGG_DAMAGED = re.compile(r"Ogg : Skipped (\d+) bytes looking for the next page")
_OGG_LATER_PAGE = re.compile(rb"OggS\0[\0\1\4\5]")
"""Any page but the first of a stream; all first pages come before it, where no file is chained to another."""
_OGG_FIRST_PAGE = b"OggS\0\2"
_FLAC_BEGINS = re.compile(rb"fLaC[\0\x80]\0\0\x22")
_SPHERE_SAMPLES = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
_SPHERE_HEADER = 1024
_MOST_ADDED = 0.25
"""Seconds that encoders add to an mp3, at most; at 8 kHz LAME may add as much."""
_SPARE_FRAMES = 2
"""Frames by which the length of an mp3 may be wrong: encoders count differently, and a first frame may be partial."""


def require_whole_file(file: soundfile.SoundFile, path: Path) -> int:
    """Compare the length that a header promises with the file.

    An mp3 without a Xing header promises nothing: cut at the end of a frame, it is whole as far as anyone can tell.

    Args:
        file: Just opened.
        path: Its path, for the error and, in a NIST sphere file, for the header.

    Returns:
        Samples of a channel that can be read.

    Raises:
        AudioError: There is less than promised, or more than will be read, or no telling.
    """
    if file.frames >= LONGEST_HEADER:
        raise AudioError(f"{path}: its header does not tell its length: write the file again or give a duration")
    for cut in _BYTES_CUT.finditer(file.extra_info):
        if int(cut["found"]) < int(cut["said"]) < _LENGTH_UNKNOWN:
            raise AudioError(f"{path}: cut short: expected {cut['said']} bytes of samples, found {cut['found']}")
    if (rest := _behind_all_chunks(file, path)) > _LONGEST_RUBBISH:
        raise AudioError(
            f"{path}: its header does not tell its length: {file.frames / file.samplerate:.3f} s would be read, "
            f"{rest} bytes that are no chunk come behind: write it anew, such as with "
            "`ffmpeg -ignore_length 1 -i in.wav out.wav`"
        )
    if file.format == "OGG" and not _ogg_ends(path):
        raise AudioError(f"{path}: cut short: the stream does not end, {file.frames / file.samplerate:.3f} s are there")
    if file.format in ("OGG", "FLAC") and _others_follow(path, file.format):
        raise AudioError(
            f"{path}: holds several recordings one after the other, only the first, {file.frames / file.samplerate:.3f}"
            " s, would be read: convert it to wav with a program that reads all of them, such as ffmpeg"
        )
    promised = _sphere_samples(path) if file.format == "NIST" else None
    if promised is not None and file.frames < promised:
        raise AudioError(f"{path}: cut short: expected {promised} samples, found {file.frames}")
    return told_length(file, path)


def told_length(file: soundfile.SoundFile, path: Path) -> int:
    """Samples of a channel that libsndfile will read, counted in an mp3: there its own figure may be a guess.

    Without a Xing header it supposes every frame to be as large as the first and tags to be sound; with one it reads
    what that promises, also of several files joined. Beyond its figure it reads nothing.

    Args:
        file: Just opened.
        path: Its path.

    Raises:
        AudioError: An mp3 holds more than would be read, or less than it promises.
    """
    counted = mpeg_length(path) if file.format == "MP3" else None
    if counted is None:
        return file.frames
    spare = _SPARE_FRAMES * counted.frame
    if file.frames < counted.samples - counted.trimmed - spare:
        raise AudioError(
            f"{path}: its header does not tell its length: {counted.samples / file.samplerate:.3f} s are there, "
            f"{file.frames / file.samplerate:.3f} s would be read: mend it with `ffmpeg -i in.mp3 -c copy out.mp3`"
        )
    if not counted.promised:
        return min(file.frames, counted.samples)
    if file.frames > counted.samples + spare:
        raise AudioError(f"{path}: cut short: expected {file.frames} samples, found {counted.samples}")
    return file.frames


def cut_short(file: soundfile.SoundFile, path: Path, start: int, wanted: int, found: int) -> AudioError:
    """The error of a part that ends too early, with a remedy where the duration may be that of the frames of an mp3.

    These hold what its encoder added, which libsndfile leaves out.

    Args:
        file: Just opened.
        path: Its path.
        start: First sample of the part.
        wanted: Samples asked for.
        found: Samples that are there.

    Raises:
        AudioError: The header of an mp3 is wrong.
    """
    rate, length = file.samplerate, told_length(file, path)
    added = file.format == "MP3" and length < start + wanted < length + _MOST_ADDED * rate
    remedy = f"; a duration must leave out what the encoder added: the file has {length / rate:.3f} s" if added else ""
    return AudioError(
        f"{path}: cut short: expected {wanted} samples ({wanted / rate:.3f} s) from {start / rate:.3f} s on, "
        f"found {found} ({found / rate:.3f} s){remedy}"
    )


def require_no_holes(file: soundfile.SoundFile, path: Path) -> None:
    """Look, after a file was read from end to end, whether its decoder had to leave something out.

    Args:
        file: Read whole; seeking alone leaves the same trace in the log of an Ogg stream.
        path: Its path, for the error.

    Raises:
        AudioError: Part of the stream was damaged and skipped.
    """
    if found := _OGG_DAMAGED.search(file.extra_info):
        raise AudioError(f"{path}: damaged: {found[1]} bytes in the middle of the stream cannot be read")


def _ogg_ends(path: Path) -> bool:
    """Whether the last page of an Ogg file is whole and is marked as the last (RFC 3533, section 6)."""
    with path.open("rb") as raw:
        size = raw.seek(0, os.SEEK_END)
        raw.seek(max(0, size - 2 * _LONGEST_OGG_PAGE))
        tail = raw.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & _OGG_END_OF_STREAM:
        return False
    return len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _behind_all_chunks(file: soundfile.SoundFile, path: Path) -> int:
    """Bytes that no header tells of, as a recorder leaves that was killed, or 32 bits beyond 4 GiB; zeros are none."""
    if not (found := _NO_CHUNK.search(file.extra_info)):
        return 0
    with path.open("rb") as raw:
        start = int(found["place"], 0)
        raw.seek(start - 1)
        # A chunk of odd size should have a byte more than it tells, and libsndfile reads on behind that.
        if _UNPADDED_CHUNK.match(head := raw.read(4)) or _TAG in head:
            return 0
        raw.seek(start)
        return 0 if not raw.read(1 << 20).strip(b"\0") else raw.seek(0, os.SEEK_END) - start


def _others_follow(path: Path, format: str) -> bool:
    """Whether files are joined: libsndfile reads the first alone, also of an Ogg chain (RFC 3533, section 4)."""
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if format == "OGG":
            later = _OGG_LATER_PAGE.search(content)
            return later is not None and content.find(_OGG_FIRST_PAGE, later.end()) != -1
        return len(_FLAC_BEGINS.findall(content)) > 1


def _sphere_samples(path: Path) -> int | None:
    with path.open("rb") as raw:
        found = _SPHERE_SAMPLES.search(raw.read(_SPHERE_HEADER))
    return int(found[1]) if found else None
