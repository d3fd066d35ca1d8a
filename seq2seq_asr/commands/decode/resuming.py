"""Going on where an interrupted decoding stopped."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.marks import alike, mark_of, same_search
from seq2seq_asr.data.sources import Source, source_id
from seq2seq_asr.errors import ManifestError, UsageError
from seq2seq_asr.recognizer import Passage, Transcript, Word


class KeptLine(NamedTuple):
    """What an interrupted decoding wrote of one utterance."""

    line: str
    """As it stands in ``hyp.jsonl``, to be kept to the letter, but for a reference that was corrected since."""
    transcript: Transcript


def kept_lines(folder: Path, config: DecodeConfig, sources: Sequence[Source], mark: str) -> dict[int, KeptLine]:
    """What an interrupted decoding of the same sources left in the folder, by place.

    Args:
        folder: Results of the interrupted decoding.
        config: Settings of the one to come.
        sources: What it is to decode.
        mark: Their `fingerprint`.

    Raises:
        UsageError: The folder's transcripts are of other settings, weights or utterances.
        ManifestError: ``file:line: why``, for a line that is damaged.
    """
    path = folder / "hyp.jsonl"
    if not path.exists():
        return {}
    searched_alike = same_search(folder, config)
    if not searched_alike or (path.stat().st_size and not alike(mark_of(folder), mark)):
        what = "weights, files or utterances" if searched_alike else "search settings"
        raise UsageError(f"{folder}: its transcripts are of other {what}: decode them anew, without --resume")
    found = {kept.transcript.id: kept for kept in read_hypotheses(path)}
    names = [source_id(source, place) for place, source in enumerate(sources)]
    return {place: found[name] for place, name in enumerate(names) if name in found}


def read_hypotheses(path: Path) -> list[KeptLine]:
    """The lines of a ``hyp.jsonl``; a last line without its end was being written, and is left out.

    Raises:
        ManifestError: ``file:line: why``.
    """
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(KeptLine(line.decode() + "\n", _transcript(json.loads(line))))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ManifestError(f"{path}:{number}: not a transcript that decode wrote") from error
    return found


def _transcript(entry: dict[str, Any]) -> Transcript:
    """The inverse of `transcript_line`."""
    name = _text(entry["id"])
    nbest = tuple(_hypothesis(name, one) for one in entry["nbest"])
    return replace(_hypothesis(name, entry), nbest=nbest, segments=tuple(map(_passage, entry.get("segments", []))))


def _hypothesis(name: str, entry: dict[str, Any]) -> Transcript:
    return Transcript(
        id=name,
        text=_text(entry["text"]),
        score=_number(entry["score"]),
        log_prob=_number(entry["log_prob"]),
        pieces=tuple(map(_text, entry["pieces"])),
        times=tuple(map(_number, entry["times"])),
        ended=bool(entry["ended"]),
        scores={_text(scorer): _number(score) for scorer, score in dict(entry["scores"]).items()},
        words=tuple(map(_word, entry["words"])),
        flags=tuple(map(_text, entry["flags"])),
        fallback=None if entry["fallback"] is None else _text(entry["fallback"]),
    )


def _word(entry: dict[str, Any]) -> Word:
    sure = entry["confidence"]
    return Word(
        _text(entry["text"]), _number(entry["start"]), _number(entry["end"]), None if sure is None else float(sure)
    )


def _passage(entry: dict[str, Any]) -> Passage:
    return Passage(
        start=_number(entry["start"]),
        end=_number(entry["end"]),
        text=_text(entry["text"]),
        score=_number(entry["score"]),
        ended=bool(entry["ended"]),
        flags=tuple(map(_text, entry["flags"])),
        fallback=None if entry["fallback"] is None else _text(entry["fallback"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _number(value: Any) -> float:
    return -math.inf if value is None else float(value)
