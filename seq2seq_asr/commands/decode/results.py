"""The folder that ``decode`` fills: settings, hypotheses as they come, transcripts and scores at the end."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.report import Report, Scored, format_report, report_json
from seq2seq_asr.evaluation.trn import TrnLine, write_trn
from seq2seq_asr.recognizer import Transcript
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.version import package_version
from seq2seq_asr.whole_file import write_whole, writing

SCORES = ("ref.trn", "hyp.trn", "wer.txt", "wer.json")
"""What `write_scores` writes."""
CLASS_SCORES = ("accuracy.txt", "accuracy.json", "confusion.csv", "confusion.png", "confusions.csv")
"""What is written of a classifier in the place of the last two."""


MOST_LISTED = 2**16
"""Characters of the audio files' paths in ``decode.yaml``, at most: a file of settings is read up to 1 MiB."""


HEADER = "# Decoded with seq2seq_asr "
"""How a ``decode.yaml`` of ours begins."""


def require_own(folder: Path, formats: Sequence[str] = ()) -> None:
    """Refuse a folder that no decoding made, where files would be replaced or removed.

    Args:
        folder: Where results are to go.
        formats: What is to be written besides what always is, by its place in the folder.

    Raises:
        UsageError: There are such files.
    """
    settings = folder / "decode.yaml"
    try:
        with settings.open(encoding="utf-8", errors="replace") as file:
            head = file.read(len(HEADER))
    except OSError:
        head = ""
    if head == HEADER:
        return
    written = ("hyp.jsonl", *SCORES, *CLASS_SCORES, *formats)
    for name in (*[settings.name] * bool(head), *written):
        if (folder / name).exists():
            raise UsageError(f"{folder / name}: not written by decode, which would replace it: give another --out")


def start_results(folder: Path, config: DecodeConfig, mark: str = "#", *, anew: bool = True) -> None:
    """Make the folder with ``decode.yaml``, and remove the scores of an earlier decoding: they would not belong.

    Args:
        folder: Where the results go.
        config: The settings, with the run that was found; ``--config decode.yaml`` repeats them.
        mark: A comment for ``decode.yaml``, to know the same weights and utterances by.
        anew: Remove an earlier decoding's transcripts too.

    Raises:
        CheckpointError: The folder or the file cannot be written.
    """
    listed = sum(len(str(path)) for path in config.audio) <= MOST_LISTED
    told = (
        ""
        if listed
        else f"# The {len(config.audio)} audio files are too many to list here: name them to decode again.\n"
    )
    values = to_yaml(replace(config, out=folder, resume=False, audio=config.audio if listed else ()))
    settings = f"{HEADER}{package_version()}.\n{mark}\n{told}{values}"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Transcripts before settings: a kill in between must not leave them to be taken for the new settings'.
        for name in (*SCORES, *CLASS_SCORES, *["hyp.jsonl"] * anew):
            (folder / name).unlink(missing_ok=True)
    write_whole(folder / "decode.yaml", settings)


class HypothesisFile:
    """``hyp.jsonl``: a line as soon as its batch is done, so that an interrupted decoding keeps what it has.

    Args:
        folder: Its folder; None writes nothing.
        kept: Lines of an interrupted decoding, by place, which the file begins with.
        references: What was said, by place, where it is known.

    Raises:
        CheckpointError: From any method, when the file cannot be written.
    """

    def __init__(
        self, folder: Path | None, kept: Mapping[int, str] | None = None, references: Mapping[int, str] | None = None
    ) -> None:
        self.references = references or {}
        self.path = None if folder is None else folder / "hyp.jsonl"
        self.lines = {place: with_reference(line, self.references.get(place)) for place, line in (kept or {}).items()}
        self.file = None
        if self.path is not None:
            if self.lines:  # written anew: a line that was cut goes, and what was kept is never missing
                self.sort()
            with writing(self.path):
                self.file = self.path.open("a" if self.lines else "w", encoding="utf-8", newline="\n")

    def write(self, transcripts: dict[int, Transcript]) -> None:
        """Write the transcripts of a batch, by place."""
        if self.path is None or self.file is None:
            return
        told = self.references
        lines = {place: transcript_line(one, told.get(place)) + "\n" for place, one in transcripts.items()}
        self.lines |= lines
        with writing(self.path):
            self.file.writelines(lines.values())
            self.file.flush()

    def sort(self) -> None:
        """Put the lines into the order of the manifest; until then they stand as they were decoded."""
        if self.path is None:
            return
        write_whole(self.path, "".join(self.lines[place] for place in sorted(self.lines)))

    def __enter__(self) -> "HypothesisFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()


def transcript_line(transcript: Transcript, reference: str | None = None) -> str:
    """A transcript as JSON: id, reference, text, scores, pieces, words with times and confidence, flags, n-best.

    A recording that was cut has its segments besides.
    """
    nbest = [_hypothesis(one) for one in transcript.nbest]
    told = {} if reference is None else {"reference": reference}
    entry = {"id": transcript.id, **told, **_hypothesis(transcript), "nbest": nbest}
    if transcript.segments:
        entry["segments"] = [{**one._asdict(), "score": _finite(one.score)} for one in transcript.segments]
    return json.dumps(entry, ensure_ascii=False, allow_nan=False)


def with_reference(line: str, reference: str | None) -> str:
    """A line of ``hyp.jsonl`` with another reference, which was corrected since; to the letter where it is the same."""
    entry = json.loads(line)
    if entry.get("reference") == reference:
        return line
    told = {} if reference is None else {"reference": reference}
    rest = {name: value for name, value in entry.items() if name not in ("id", "reference")}
    return json.dumps({"id": entry["id"], **told, **rest}, ensure_ascii=False, allow_nan=False) + "\n"


def _hypothesis(transcript: Transcript) -> dict[str, Any]:
    return {
        "text": transcript.text,
        "score": _finite(transcript.score),
        "log_prob": _finite(transcript.log_prob),
        "probability": math.exp(transcript.log_prob) if math.isfinite(transcript.log_prob) else None,
        "ended": transcript.ended,
        "flags": transcript.flags,
        "fallback": transcript.fallback,
        "scores": {name: _finite(score) for name, score in transcript.scores.items()},
        "pieces": transcript.pieces,
        "times": transcript.times,
        "words": [word._asdict() for word in transcript.words],
    }


def _finite(score: float) -> float | None:
    # JSON knows no infinity; it stands where the model gave nothing any probability, or nobody knows which.
    return score if math.isfinite(score) else None


def write_scores(folder: Path, scored: Sequence[Scored], report: Report, skipped: int) -> None:
    """Write ``ref.trn``, ``hyp.trn``, ``wer.txt`` and ``wer.json``.

    Args:
        folder: Where to.
        scored: References with what was recognised.
        report: Their scores.
        skipped: Utterances that could not be decoded.

    Raises:
        CheckpointError: One of them cannot be written.
    """
    write_pairs(folder, scored)
    write_whole(folder / "wer.txt", format_report(report))
    values = json.dumps({**report_json(report), "skipped": skipped}, ensure_ascii=False, allow_nan=False, indent=1)
    write_whole(folder / "wer.json", values + "\n")


def write_pairs(folder: Path, scored: Sequence[Scored]) -> None:
    """Write ``ref.trn`` and ``hyp.trn``.

    Raises:
        CheckpointError: One of them cannot be written.
    """
    with writing(folder):
        write_trn(folder / "ref.trn", [TrnLine(id=one.id, text=one.reference, speaker=one.speaker) for one in scored])
        write_trn(folder / "hyp.trn", [TrnLine(id=one.id, text=one.hypothesis, speaker=one.speaker) for one in scored])
