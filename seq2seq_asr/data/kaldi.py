"""Kaldi data folders: ``wav.scp`` of plain files, ``text`` and, if there, ``utt2spk``, ``segments``, ``utt2dur``."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from seq2seq_asr.data.audio import audio_channels, audio_duration
from seq2seq_asr.data.confinement import Confinement, require_plain_path
from seq2seq_asr.data.lines import fault, read_pairs
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError, ManifestError

_Table = dict[str, tuple[int, str]]
_Number = TypeVar("_Number", int, float)
_TABLES = ("wav.scp", "text", "utt2spk", "segments", "utt2dur")


def read_kaldi(folder: Path, *, allow_empty_text: bool = False, root: Path | None = None) -> list[Utterance]:
    """Read a Kaldi data folder; commands are never run.

    Args:
        folder: Holds ``wav.scp`` (paths relative to `folder`, or absolute) and ``text``. With ``segments``,
            ``wav.scp`` names recordings and an end of -1 means the recording's end; a channel as fifth column is taken
            where the recording has no other. Without, lengths come from ``utt2dur`` or else from the headers of the
            files.
        allow_empty_text: Accept a folder without ``text``, such as audio yet to be transcribed, and ids without words.
        root: Folder that the audio must lie in, symbolic links followed; None takes it from anywhere.

    Returns:
        The utterances in the order of ``text``, with absolute paths.

    Raises:
        ManifestError: ``file:line: why``; a pipe or a URL in ``wav.scp`` is such an error.
        AudioError: A length or the number of channels is needed from a file that cannot be read.
    """
    recordings = _recordings(folder / "wav.scp", Confinement(root))
    silent = allow_empty_text and not (folder / "text").exists()
    told = None if silent else read_pairs(folder / "text", allow_alone=allow_empty_text)
    spans = _spans(folder, recordings)
    texts = {name: (span.line, "") for name, span in spans.items()} if told is None else told
    speakers = _optional_table(folder / "utt2spk")
    if not texts and not spans:
        raise ManifestError(f"{folder / 'text'}:1: empty")
    _require_same_ids(folder, texts, spans, speakers)
    return [
        Utterance(
            id=name,
            text=text,
            duration=spans[name].duration,
            audio=spans[name].audio,
            offset=spans[name].offset,
            speaker=speakers[name][1] if name in speakers else None,
        )
        for name, (_, text) in texts.items()
    ]


def kaldi_tables(folder: Path) -> list[Path]:
    """The files of a data folder that `read_kaldi` reads, those that are there."""
    return [folder / name for name in _TABLES if (folder / name).exists()]


@dataclass(frozen=True)
class _Span:
    """A part of a recording, and the line that tells of it."""

    audio: Path
    offset: float
    duration: float
    source: Path
    line: int


def _optional_table(path: Path) -> _Table:
    return read_pairs(path) if path.exists() else {}


def _recordings(path: Path, confinement: Confinement) -> dict[str, tuple[int, Path]]:
    folder = os.path.abspath(path.parent)
    recordings = {}
    for name, (line, location) in read_pairs(path).items():
        audio = Path(os.path.join(folder, location))
        try:
            require_plain_path(location)
            confinement.require(audio)
        except ValueError as error:
            raise fault(path, line, str(error)) from error
        recordings[name] = line, audio
    return recordings


def _spans(folder: Path, recordings: dict[str, tuple[int, Path]]) -> dict[str, _Span]:
    segments = folder / "segments"
    if segments.exists():
        channels = cache(audio_channels)
        return {
            name: _segment(segments, line, columns, recordings, channels)
            for name, (line, columns) in read_pairs(segments).items()
        }
    durations = _optional_table(folder / "utt2dur")
    spans = {}
    for name, (line, audio) in recordings.items():
        known = durations.get(name)
        source = folder / "wav.scp"
        duration = _seconds(folder / "utt2dur", *known) if known else _from_header(audio_duration, audio, source, line)
        spans[name] = _Span(audio, 0.0, duration, source, line)
    return spans


def _segment(
    path: Path, line: int, columns: str, recordings: dict[str, tuple[int, Path]], channels: Callable[[Path], int]
) -> _Span:
    recording, *times = columns.split()
    if recording not in recordings:
        raise fault(path, line, f"recording {recording!r} is not in wav.scp")
    if len(times) not in (2, 3):
        raise fault(path, line, "expected <utterance> <recording> <start> <end>")
    audio = recordings[recording][1]
    # The third is a channel; averaged, its speaker would be mixed.
    if len(times) == 3 and _from_header(channels, audio, path, line) > 1:
        raise fault(path, line, f"channel {times[2]!r} of {audio}: make a file of each channel first")
    start, end = (_number(path, line, time) for time in times[:2])
    if end == -1:
        end = _from_header(audio_duration, audio, path, line)
    if not 0 <= start < end:
        raise fault(path, line, f"expected 0 <= start < end, found {times[0]} and {times[1]}")
    return _Span(audio, start, end - start, path, line)


def _from_header(what: Callable[[Path], _Number], audio: Path, path: Path, line: int) -> _Number:
    """What the header of a recording tells, or an error that names the line as well."""
    try:
        return what(audio)
    except AudioError as error:
        raise AudioError(f"{path}:{line}: {error}") from error


def _number(path: Path, line: int, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise fault(path, line, f"expected a number of seconds, found {text!r}")
    return number


def _seconds(path: Path, line: int, text: str) -> float:
    number = _number(path, line, text)
    if number <= 0:
        raise fault(path, line, f"expected more than 0 seconds, found {text!r}")
    return number


def _require_same_ids(folder: Path, texts: _Table, spans: dict[str, _Span], speakers: _Table) -> None:
    for name, (line, _) in texts.items():
        if name not in spans:
            raise fault(folder / "text", line, f"utterance {name!r} has no audio in wav.scp or segments")
    for name, span in spans.items():
        if name not in texts:
            raise fault(span.source, span.line, f"utterance {name!r} has no line in text")
        if speakers and name not in speakers:
            raise fault(span.source, span.line, f"utterance {name!r} has no line in utt2spk")
    for name, (line, _) in speakers.items():
        if name not in spans:
            raise fault(folder / "utt2spk", line, f"utterance {name!r} has no audio in wav.scp or segments")
