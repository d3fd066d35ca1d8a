"""What ``decode`` does otherwise for a classifier: nothing is searched, and the score is an accuracy."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.results import write_pairs
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.classification import (
    ClassReport,
    class_report_json,
    format_class_report,
    make_class_report,
)
from seq2seq_asr.evaluation.report import Scored
from seq2seq_asr.recognizer import SpeechClassifier
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.plots import confusion_figure, save_figure
from seq2seq_asr.whole_file import write_csv, write_whole, writing

CONFUSIONS: Final = ("speaker", "reference", "hypothesis", "count")
"""Columns of ``confusions.csv``: what was taken for what, by speaker, most frequent first."""


def load_classifier(config: DecodeConfig) -> SpeechClassifier:
    """The run's classifier.

    Raises:
        UsageError: A setting is for recognisers alone.
    """
    assert config.run is not None
    refuse_search(config)
    return SpeechClassifier.load(config.run, checkpoint=config.checkpoint, device=config.device)


def refuse_search(config: DecodeConfig) -> None:
    """No setting of the search, nor a form of output that needs the times of words, has a meaning here.

    Raises:
        UsageError: One was given; the text names it.
    """
    usual = BeamConfig()
    given = [one.name for one in fields(BeamConfig) if getattr(config.search, one.name) != getattr(usual, one.name)]
    given += [name for name in ("ensemble", "lm", "ngram", "hotwords", "formats") if getattr(config, name)]
    if given:
        raise UsageError(f"--{given[0]}: {config.run} is a classifier, which searches nothing: leave it out")


def write_class_scores(
    folder: Path, scored: Sequence[Scored], names: Sequence[str], factor: float | None, seed: int, skipped: int
) -> str:
    """Write transcripts and accuracy; returns the readable report.

    Args:
        folder: Where to.
        scored: References with predicted classes.
        names: All classes.
        factor: Real-time factor.
        seed: Of the bootstrap.
        skipped: Utterances that could not be decoded.

    Raises:
        CheckpointError: A file cannot be written.
    """
    report = make_class_report(scored, names, real_time_factor=factor, seed=seed)
    text, values = format_class_report(report), class_report_json(report)
    write_pairs(folder, scored)
    line = json.dumps({**values, "skipped": skipped}, ensure_ascii=False, allow_nan=False, indent=1)
    write_whole(folder / "accuracy.txt", text)
    write_whole(folder / "accuracy.json", line + "\n")
    with writing(folder):
        write_csv(folder / "confusion.csv", matrix_rows(report, names))
        write_csv(folder / "confusions.csv", [vars(one) for one in report.confusions], CONFUSIONS)
        save_figure(confusion_figure(report.matrix, names), folder / "confusion.png")
    return text


def matrix_rows(report: ClassReport, names: Sequence[str]) -> list[dict[str, Any]]:
    """The confusion matrix: a row for each true class, a column for each predicted one."""
    rows = zip(names, report.matrix.tolist(), strict=True)
    return [{"true \\ predicted": name, **dict(zip(names, row, strict=True))} for name, row in rows]
