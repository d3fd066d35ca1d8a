"""NIST ``trn`` transcripts, one ``words (speaker-id)`` a line, as sclite reads them.

Whatever sclite would take for markup is percent-escaped (``(`` is ``%28``), alike in reference and hypothesis, so
that scores stay the same and reading gives back what was written. Runs of white space become one space.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from seq2seq_asr.errors import ManifestError
from seq2seq_asr.whole_file import replacing

_UNKNOWN: Final = "unknown"
"""Stands for a missing speaker: sclite wants one. One of that name has its first letter escaped."""
# A percent sign is escaped only where it would be read back as an escape, so that "100%" stays readable.
_PERCENT: Final = r"%(?=[0-9a-fA-F]{2})"
# Brackets mark optional words and alternatives, ";" opens a comment, "@" is the empty word, U+FEFF a byte order mark.
_IN_TEXT: Final = re.compile(rf"{_PERCENT}|[(){{}}\ufeff]|^;|(?<!\S)@(?!\S)")
_IN_ID: Final = re.compile(rf"{_PERCENT}|[()\s\ufeff]")
_IN_SPEAKER: Final = re.compile(rf"{_PERCENT}|[()\s\ufeff_-]|\Au(?=nknown\Z)")
_LINE: Final = re.compile(r"(?P<text>.*?)\s*\((?P<name>[^()\s]+)\)\s*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class TrnLine:
    """One transcript of a ``trn`` file."""

    id: str
    """Utterance id, not empty."""
    text: str
    """Words with single spaces between them; may be empty."""
    speaker: str | None = None
    """Speaker, if known."""


def write_trn(path: Path, lines: Iterable[TrnLine]) -> None:
    """Write transcripts; the file appears whole or not at all.

    Raises:
        ManifestError: An empty or repeated id.
    """
    seen: set[tuple[str | None, str]] = set()
    rendered: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.id:
            raise ManifestError(f"{path}:{number}: empty utterance id")
        _claim(seen, line, f"{path}:{number}")
        rendered.append(_render(line) + "\n")
    with replacing(path) as temporary:
        temporary.write_text("".join(rendered), encoding="utf-8", newline="\n")


def read_trn(path: Path) -> list[TrnLine]:
    """Read transcripts in file order. The speaker is what stands before the id's first hyphen.

    Raises:
        ManifestError: A file that is missing, is not UTF-8, has a line without ``(id)`` at its end, or repeats an id.
    """
    try:
        content = (raw := path.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path}:{number}: not UTF-8 text") from error
    seen: set[tuple[str | None, str]] = set()
    lines: list[TrnLine] = []
    for number, row in enumerate(content.split("\n"), start=1):
        if not row.strip() or row.startswith(";;"):
            continue
        line = _parse(row, f"{path}:{number}")
        _claim(seen, line, f"{path}:{number}")
        lines.append(line)
    return lines


def as_read(line: TrnLine) -> TrnLine:
    """The line as `read_trn` gives it back once it was written."""
    return _parse(_render(line), line.id)


def _render(line: TrnLine) -> str:
    text = _escape(_IN_TEXT, " ".join(line.text.split()))
    speaker = _escape(_IN_SPEAKER, line.speaker) if line.speaker else _UNKNOWN
    name = f"{speaker}-{_escape(_IN_ID, line.id)}"
    return f"{text} ({name})" if text else f"({name})"


def _parse(row: str, where: str) -> TrnLine:
    match = _LINE.fullmatch(row)
    if match is None:
        raise ManifestError(f"{where}: expected 'words (speaker-id)', got {row.strip()[:60]!r}")
    speaker, hyphen, identity = match["name"].partition("-")
    if not hyphen:
        speaker, identity = _UNKNOWN, match["name"]
    if not identity:
        raise ManifestError(f"{where}: empty utterance id")
    return TrnLine(
        id=unquote(identity),
        text=" ".join(unquote(match["text"]).split()),
        speaker=None if speaker in ("", _UNKNOWN) else unquote(speaker),
    )


def _claim(seen: set[tuple[str | None, str]], line: TrnLine, where: str) -> None:
    key = (line.speaker or None, line.id)
    if key in seen:
        raise ManifestError(f"{where}: utterance {line.id!r} is listed twice")
    seen.add(key)


def _escape(special: re.Pattern[str], text: str) -> str:
    # urllib.parse.quote never escapes "_" and "-", which are special in a speaker.
    return special.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)
