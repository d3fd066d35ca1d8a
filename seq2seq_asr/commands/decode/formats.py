"""Transcripts as other programs read them: NIST ctm, SubRip, WebVTT, tab-separated values and plain text."""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from seq2seq_asr.commands.decode.config import Format
from seq2seq_asr.evaluation.layout import display_width, printable
from seq2seq_asr.recognizer import Transcript, Word
from seq2seq_asr.recognizer.stitching import joined
from seq2seq_asr.unspaced import CJK_PUNCTUATION, HAN, KANA, UNSPACED
from seq2seq_asr.whole_file import writing

LONGEST_CUE = 84
"""Columns of a subtitle: two lines of 42, the habit of broadcasters; a Chinese character takes two."""
LONGEST_CUE_SECONDS = 7.0
"""Seconds a subtitle stands, at most, unless one word takes longer."""
SHORTEST_CUE_SECONDS = 1.0
"""Seconds a subtitle stands, at least, where the next one and the end of the recording leave it time."""
LONGEST_PAUSE = 1.0
"""Seconds without a word that end a subtitle."""
_LONGEST_NAME = 200
"""Bytes of a file name, at most, beside a number and a suffix; file systems take 255."""
_AUDIO = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm", ".npy"}
_BREAK = re.compile(f"(?<=[{UNSPACED}{CJK_PUNCTUATION}])(?=[{KANA}{HAN}])")
"""Where a subtitle may end within what the recogniser takes for a word."""


class Cue(NamedTuple):
    """Words that are shown together."""

    start: float
    end: float
    text: str


def write_formats(
    folder: Path, transcripts: Sequence[Transcript], formats: Sequence[Format], seconds: Sequence[float]
) -> None:
    """Write ``hyp.ctm`` and ``hyp.txt`` for all utterances; the others go into a folder, a file an utterance.

    Args:
        folder: Results of a decoding.
        transcripts: In the order of the manifest.
        formats: What to write.
        seconds: Length of each recording.

    Raises:
        CheckpointError: A file cannot be written.
    """
    stems = file_names([one.id for one in transcripts])
    with writing(folder):
        for name in formats:
            if name in ("ctm", "txt"):
                _write(folder / f"hyp.{name}", "".join(WHOLE[name](one) for one in transcripts))
                continue
            (folder / name).mkdir(exist_ok=True)
            for stem, one, length in zip(stems, transcripts, seconds, strict=True):
                _write(folder / name / f"{stem}.{name}", SINGLE[name](cues(one.words, length)))


def format_files(formats: Sequence[Format], ids: Sequence[str]) -> list[str]:
    """The files that `write_formats` writes of utterances with these ids, by their place in the folder."""
    stems = file_names(ids)
    return [
        one
        for name in formats
        for one in ([f"hyp.{name}"] if name in WHOLE else [f"{name}/{stem}.{name}" for stem in stems])
    ]


def remove_formats(folder: Path, ids: Sequence[str]) -> None:
    """Take away what an earlier decoding of utterances with these ids wrote here: it would not belong any more.

    Raises:
        CheckpointError: A file cannot be removed.
    """
    with writing(folder):
        for name in format_files(get_args(Format), ids):
            (folder / name).unlink(missing_ok=True)


def file_names(ids: Sequence[str]) -> list[str]:
    """A file name for each utterance, without its suffix; what would come twice gets a number."""
    taken: set[str] = set()
    names = []
    for id in ids:
        path = Path(id)
        name = path.stem if path.suffix.lower() in _AUDIO else path.name
        safe = re.sub(r"[^\w.+-]", "_", name).lstrip(".")[:100]
        base = safe.encode()[:_LONGEST_NAME].decode(errors="ignore") or "utterance"
        unique, number = base, 2
        while unique.lower() in taken:  # some file systems do not tell cases apart
            unique, number = f"{base}-{number}", number + 1
        taken.add(unique.lower())
        names.append(unique)
    return names


def cues(words: Sequence[Word], seconds: float = math.inf) -> list[Cue]:
    """Words grouped to subtitles, which end at pauses and before they grow too long, and stay long enough to be read.

    Args:
        words: In order.
        seconds: Length of the recording.
    """
    groups: list[list[Word]] = []
    for word in itertools.chain.from_iterable(map(_parts, words)):
        group = groups[-1] if groups else None
        if group is None or _is_full(group, word):
            groups.append([word])
        else:
            group.append(word)
    limits = [*(group[0].start for group in groups[1:]), seconds][: len(groups)]
    return [_cue(group, limit) for group, limit in zip(groups, limits, strict=True)]


def _parts(word: Word) -> list[Word]:
    """The word, or of Chinese and Japanese its characters, each with an equal share of its time."""
    if len(texts := _BREAK.split(word.text)) == 1:
        return [word]
    places = itertools.accumulate(map(len, texts), initial=0)
    times = [round(word.start + (word.end - word.start) * place / len(word.text), 3) for place in places]
    return [Word(*part) for part in zip(texts, times, times[1:], strict=False)]


def _cue(group: Sequence[Word], limit: float) -> Cue:
    """The subtitle of some words; what its words need it has, and beyond them no more than up to the limit."""
    start, end = group[0].start, group[-1].end
    readable = round(min(start + SHORTEST_CUE_SECONDS, limit), 3)
    return Cue(start, max(end, readable), printable(joined([word.text for word in group])))


def _is_full(group: Sequence[Word], word: Word) -> bool:
    columns = display_width(joined([one.text for one in (*group, word)]))
    too_long = columns > LONGEST_CUE or word.end - group[0].start > LONGEST_CUE_SECONDS
    return too_long or word.start - group[-1].end > LONGEST_PAUSE


def ctm(transcript: Transcript) -> str:
    """Lines of ``file channel start duration word confidence``, as sclite reads them."""
    name = re.sub(r"\s|^;", "_", transcript.id) or "_"
    return "".join(
        f"{name} 1 {word.start:.3f} {word.end - word.start:.3f} {printable(word.text)}"
        + ("" if word.confidence is None else f" {word.confidence:.3f}")
        + "\n"
        for word in transcript.words
    )


def txt(transcript: Transcript) -> str:
    """The text on a line of its own."""
    return f"{printable(transcript.text)}\n"


def srt(shown: Sequence[Cue]) -> str:
    """SubRip."""
    numbered = enumerate(shown, start=1)
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n\n" for number, cue in numbered
    )


def vtt(shown: Sequence[Cue]) -> str:
    """WebVTT; three characters mean something there."""
    entities = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    lines = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{cue.text.translate(entities)}\n\n" for cue in shown
    ]
    return "WEBVTT\n\n" + "".join(lines)


def tsv(shown: Sequence[Cue]) -> str:
    """Start and end in milliseconds, and the text, between tabs."""
    lines = [f"{round(1000 * cue.start)}\t{round(1000 * cue.end)}\t{cue.text}\n" for cue in shown]
    return "start\tend\ttext\n" + "".join(lines)


WHOLE: dict[str, Callable[[Transcript], str]] = {"ctm": ctm, "txt": txt}
SINGLE: dict[str, Callable[[Sequence[Cue]], str]] = {"srt": srt, "vtt": vtt, "tsv": tsv}


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
