"""The folder that ``decode`` fills: settings, hypotheses as they come, transcripts and scores at the end."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.evaluation.report import Report, Scored, format_report, report_json
from seq2seq_asr.evaluation.trn import TrnLine, write_trn
from seq2seq_asr.recognizer import Transcript
from seq2seq_asr.strict_yaml import to_yaml

SCORES = ("ref.trn", "hyp.trn", "wer.txt", "wer.json")
"""What `write_scores` writes."""


def start_results(folder: Path, config: DecodeConfig, mark: str = "#", *, anew: bool = True) -> None:
    """Make the folder with ``decode.yaml``, and remove the scores of an earlier decoding: they would not belong.

    Args:
        folder: Where the results go.
        config: The settings, with the run and checkpoint that were found; ``--config decode.yaml`` repeats them.
        mark: A comment for ``decode.yaml``, to know the same weights and utterances by.
        anew: Remove an earlier decoding's transcripts too.

    Raises:
        CheckpointError: The folder or the file cannot be written.
    """
    values = to_yaml(replace(config, out=folder, resume=False))
    settings = f"# Decoded with seq2seq_asr {package_version()}.\n{mark}\n{values}"
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Transcripts before settings: a kill in between must not leave them to be taken for the new settings'.
        for name in (*SCORES, *["hyp.jsonl"] * anew):
            (folder / name).unlink(missing_ok=True)
        (folder / "decode.yaml").write_text(settings, encoding="utf-8")


def package_version() -> str:
    """Version of this package; without an installation there is none to tell."""
    try:
        return metadata.version("seq2seq_asr")
    except metadata.PackageNotFoundError:
        return "(not installed)"


class HypothesisFile:
    """``hyp.jsonl``: a line as soon as its batch is done, so that an interrupted decoding keeps what it has.

    Args:
        folder: Its folder; None writes nothing.
        kept: Lines of an interrupted decoding, by place, which the file begins with.

    Raises:
        CheckpointError: From any method, when the file cannot be written.
    """

    def __init__(self, folder: Path | None, kept: Mapping[int, str] | None = None) -> None:
        self.path = None if folder is None else folder / "hyp.jsonl"
        self.lines = dict(kept or {})
        self.file = None
        if self.path is not None:
            if self.lines:  # written anew: a line that was cut goes, and what was kept is never missing
                self.sort()
            with _writing(self.path):
                self.file = self.path.open("a" if self.lines else "w", encoding="utf-8", newline="\n")

    def write(self, transcripts: dict[int, Transcript]) -> None:
        """Write the transcripts of a batch, by place."""
        if self.path is None or self.file is None:
            return
        lines = {place: transcript_line(transcript) + "\n" for place, transcript in transcripts.items()}
        self.lines |= lines
        with _writing(self.path):
            self.file.writelines(lines.values())
            self.file.flush()

    def sort(self) -> None:
        """Put the lines into the order of the manifest; until then they stand as they were decoded."""
        if self.path is None:
            return
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with _writing(self.path):
            temporary.write_text("".join(self.lines[place] for place in sorted(self.lines)), "utf-8", newline="\n")
            temporary.replace(self.path)

    def __enter__(self) -> "HypothesisFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()


def transcript_line(transcript: Transcript) -> str:
    """A transcript as JSON: id, text, scores, pieces and words with their times in seconds, flags, n-best."""
    nbest = [_hypothesis(one) for one in transcript.nbest]
    entry = {"id": transcript.id, **_hypothesis(transcript), "nbest": nbest}
    return json.dumps(entry, ensure_ascii=False, allow_nan=False)


def _hypothesis(transcript: Transcript) -> dict[str, Any]:
    return {
        "text": transcript.text,
        "score": _finite(transcript.score),
        "log_prob": _finite(transcript.log_prob),
        "ended": transcript.ended,
        "flags": transcript.flags,
        "fallback": transcript.fallback,
        "scores": {name: _finite(score) for name, score in transcript.scores.items()},
        "pieces": transcript.pieces,
        "times": transcript.times,
        "words": [word._asdict() for word in transcript.words],
    }


def _finite(score: float) -> float | None:
    # JSON knows no infinity; it stands where the model gave nothing any probability.
    return score if math.isfinite(score) else None


def write_scores(folder: Path, scored: Sequence[Scored], report: Report) -> None:
    """Write ``ref.trn``, ``hyp.trn``, ``wer.txt`` and ``wer.json``.

    Raises:
        CheckpointError: One of them cannot be written.
    """
    with _writing(folder):
        write_trn(folder / "ref.trn", [TrnLine(id=one.id, text=one.reference, speaker=one.speaker) for one in scored])
        write_trn(folder / "hyp.trn", [TrnLine(id=one.id, text=one.hypothesis, speaker=one.speaker) for one in scored])
        (folder / "wer.txt").write_text(format_report(report), encoding="utf-8")
        values = json.dumps(report_json(report), ensure_ascii=False, allow_nan=False, indent=1)
        (folder / "wer.json").write_text(values + "\n", encoding="utf-8")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{error.filename or path}: cannot be written ({error.strerror})") from error
