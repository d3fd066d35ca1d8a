"""Manifests: one utterance a line, as JSON, in NeMo's convention with a closed set of keys."""

import gc
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from seq2seq_asr.data.confinement import Confinement, require_plain_path
from seq2seq_asr.data.kaldi import read_kaldi
from seq2seq_asr.data.lines import read_pairs
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import ManifestError
from seq2seq_asr.whole_file import replacing

_KEYS = frozenset({"audio_filepath", "features_filepath", "duration", "text", "offset", "speaker", "lang", "id"})
_UNFIT = re.compile("[\0\ud800-\udfff]").search


def read_manifest(path: Path, *, allow_empty_text: bool = False, root: Path | None = None) -> list[Utterance]:
    """Read a manifest; a byte-order mark, CRLF line ends and blank lines are tolerated, nothing else is.

    Whether the audio exists is not looked at here: `read_audio` tells.

    Args:
        path: JSON lines with ``audio_filepath`` or ``features_filepath`` (relative to the manifest's folder or
            absolute), ``duration``, ``text`` and, optionally, ``offset``, ``speaker``, ``lang`` and ``id``. Without
            ``id`` it is the file's stem, followed by ``-<offset in ms>`` when there is an offset.
        allow_empty_text: Accept utterances with an empty or no ``text``, such as audio yet to be transcribed.
        root: Folder that audio and features must lie in, symbolic links followed; None takes them from anywhere.

    Returns:
        The utterances in file order, with absolute paths.

    Raises:
        ManifestError: ``file:line: why``.
    """
    try:
        with open(path, "rb") as file, _collector_paused():
            return _read_lines(path, file, allow_empty_text, Confinement(root))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error


def _read_lines(
    path: Path, lines: Iterable[bytes], allow_empty_text: bool, confinement: Confinement
) -> list[Utterance]:
    folder = os.path.dirname(os.path.abspath(path)) + os.sep
    utterances: list[Utterance] = []
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.isspace() or not line:
            continue
        try:
            utterance = _utterance(_decode(line), folder, allow_empty_text, confinement)
            if first_lines.setdefault(utterance.id, number) != number:
                raise ValueError(f"id {utterance.id!r} is already on line {first_lines[utterance.id]}")
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path}:{number}: {error}") from error
        utterances.append(utterance)
    if not utterances:
        raise ManifestError(f"{path}:1: empty manifest")
    return utterances


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest whole or not at all.

    Args:
        path: File to write; its folder is made. Paths below that folder become relative to it.
        utterances: Utterances in the order to write.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_lines(path, utterances))


def is_manifest_of(path: Path, utterances: Iterable[Utterance]) -> bool:
    """Whether a file holds what `write_manifest` would write."""
    return path.read_bytes() == "".join(_lines(path, utterances)).encode()


def _lines(path: Path, utterances: Iterable[Utterance]) -> Iterator[str]:
    folder = os.path.dirname(os.path.abspath(path))
    for utterance in utterances:
        yield json.dumps(_entry(utterance, folder), ensure_ascii=False) + "\n"


def read_utterances(path: Path, *, allow_empty_text: bool = False, root: Path | None = None) -> list[Utterance]:
    """Read a manifest file or a Kaldi data folder.

    Args:
        path: The file or the folder.
        allow_empty_text: Accept utterances without words, and a Kaldi folder without ``text``.
        root: As `read_manifest`.

    Raises:
        ManifestError: ``file:line: why``.
    """
    read = read_kaldi if path.is_dir() else read_manifest
    return read(path, allow_empty_text=allow_empty_text, root=root)


def place_of(path: Path, id: str) -> str:
    """Where an utterance of a manifest or Kaldi folder that could be read stands, as ``file:line``: for errors."""
    if path.is_dir():
        segments = path / "segments"
        table = segments if segments.exists() else path / "wav.scp"
        return f"{table}:{read_pairs(table)[id][0]}"
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip() and _utterance(_decode(line), os.sep, True, Confinement(None)).id == id:
                return f"{path}:{number}"
    return str(path)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Nothing here makes cycles, and looking for them among a million utterances doubles the time of reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


# raw_decode does not look for blanks around the value, which would be a tenth of the time of reading.
_parse = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode


def _decode(line: bytes) -> dict[str, Any]:
    if b"\0" in line:
        raise ValueError("NUL byte")
    try:
        text = line.decode().strip()
        entry, end = _parse(text)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno})") from error
    if end != len(text):
        raise ValueError(f"not JSON: more text after the object (column {end + 1})")
    if type(entry) is not dict:
        raise ValueError("expected a JSON object")
    if b"\\u" in line:  # The only way in for what UTF-8 itself refuses.
        for value in entry.values():
            if type(value) is str and (found := _UNFIT(value)):
                raise ValueError(f"holds the character {found[0]!r}, a NUL or half of a surrogate pair")
    return entry


def _utterance(entry: dict[str, Any], folder: str, allow_empty_text: bool, confinement: Confinement) -> Utterance:
    """Check one line; plain and flat, since it runs a million times."""
    if not entry.keys() <= _KEYS:
        raise ValueError(f"unknown key {min(entry.keys() - _KEYS)!r}; known are {', '.join(sorted(_KEYS))}")
    get = entry.get
    audio, features = get("audio_filepath"), get("features_filepath")
    if (audio is None) == (features is None):
        raise ValueError("expected exactly one of audio_filepath and features_filepath")
    duration = _seconds(get("duration"), "duration")
    if duration <= 0:
        raise ValueError(f"duration: expected more than 0 seconds, found {duration}")
    offset = _seconds(entry["offset"], "offset") if "offset" in entry else 0.0
    if offset < 0 or (offset and features is not None):
        raise ValueError(f"offset: expected 0 or more seconds, and none with features, found {offset}")
    text = get("text", "" if allow_empty_text else None)
    if text != "" or not allow_empty_text:
        text = _string(text, "text")
    source = _string(audio if features is None else features, "audio_filepath or features_filepath")
    if "|" in source or "://" in source:
        require_plain_path(source)
    location = Path(source if source.startswith(os.sep) else folder + source)
    confinement.require(location)
    name = get("id")
    if name is None:
        name = f"{location.stem}-{round(offset * 1000)}" if offset else location.stem
    speaker, lang = get("speaker"), get("lang")
    return Utterance(
        id=_printable(name),
        text=text,
        duration=duration,
        audio=location if features is None else None,
        features=location if audio is None else None,
        offset=offset,
        speaker=None if speaker is None else _string(speaker, "speaker"),
        lang=None if lang is None else _string(lang, "lang"),
    )


def _seconds(value: object, key: str) -> float:
    # bool is a kind of int in Python: compare types, so that `true` is not one second.
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and abs(value) < 1e9:
        return float(value)
    raise ValueError(f"{key}: expected a number of seconds, found {value!r}")


def _string(value: object, key: str) -> str:
    if type(value) is not str or not value or value.isspace():
        raise ValueError(f"{key}: expected text that is not empty, found {value!r}")
    return value


def _printable(name: object) -> str:
    # Hypothesis files and reports write the id on one line.
    name = _string(name, "id")
    if not name.isprintable():
        raise ValueError(f"id: holds a character that cannot be printed: {name!r}")
    return name


def _entry(utterance: Utterance, folder: str) -> dict[str, Any]:
    source = utterance.audio or utterance.features
    if source is None or (utterance.audio and utterance.features):
        raise ManifestError(f"{utterance.id}: expected exactly one of audio and features")
    location = os.path.abspath(source)
    if location.startswith(folder.rstrip(os.sep) + os.sep):
        location = os.path.relpath(location, folder)
    entry: dict[str, Any] = {
        "id": utterance.id,
        "audio_filepath" if utterance.audio else "features_filepath": location,
        "duration": utterance.duration,
        "text": utterance.text,
    }
    optional = {"offset": utterance.offset or None, "speaker": utterance.speaker, "lang": utterance.lang}
    return entry | {key: value for key, value in optional.items() if value is not None}
