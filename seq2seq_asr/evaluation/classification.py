"""A classifier's score on a test set: accuracy with its interval, F1, who was understood and what was confused."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.intervals import Interval, bootstrap_interval
from seq2seq_asr.evaluation.layout import bounds, display_width, percent, printable
from seq2seq_asr.evaluation.report import Scored, interval_facts

SHOWN = 10
"""Confusions that the readable report lists."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How one class fared."""

    name: str
    utterances: int
    """That are of this class."""
    predicted: int
    """That were taken for it."""
    right: int

    @property
    def recall(self) -> float | None:
        """Share of its utterances that were found; None when it has none."""
        return self.right / self.utterances if self.utterances else None

    @property
    def precision(self) -> float | None:
        """Share right of what was taken for it; None when nothing was."""
        return self.right / self.predicted if self.predicted else None

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing is right."""
        return 2 * self.right / max(1, self.utterances + self.predicted)


@dataclass(frozen=True, kw_only=True)
class SpeakerScore:
    """How well one speaker was understood."""

    name: str
    utterances: int
    right: int

    @property
    def accuracy(self) -> float:
        """Share of right classes."""
        return self.right / self.utterances


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """One class taken for another, and how often."""

    speaker: str | None
    reference: str
    hypothesis: str
    count: int


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """Scores of one test set; rates and intervals are fractions."""

    utterances: int
    right: int
    interval: Interval
    """95 % interval of the accuracy."""
    classes: tuple[ClassScore, ...]
    """All that the classifier knows, in its order."""
    speakers: tuple[SpeakerScore, ...]
    """Those with a name, in the order of their names."""
    confusions: tuple[Confusion, ...]
    """What was wrong, most frequent first, by speaker."""
    matrix: Int[np.ndarray, "classes classes"]
    """Utterances by true (row) and predicted class (column)."""
    real_time_factor: float | None = None
    """Seconds of computation per second of audio, where measured."""

    @property
    def accuracy(self) -> float:
        """Share of right classes."""
        return self.right / self.utterances

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur, as reference or as prediction (Yang 1999: each class counts the same)."""
        scores = [one.f1 for one in self.classes if one.utterances or one.predicted]
        return sum(scores) / len(scores)


def make_class_report(
    scored: Sequence[Scored], names: Sequence[str], *, real_time_factor: float | None = None, seed: int = 0
) -> ClassReport:
    """Score a test set.

    Args:
        scored: References with their predicted classes.
        names: All classes.
        real_time_factor: Seconds of computation per second of audio.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: Nothing to score.
        KeyError: A text is none of the classes.
    """
    if not scored:
        raise UsageError("no utterances to score")
    places = {name: place for place, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    for one in scored:
        matrix[places[one.reference], places[one.hypothesis]] += 1
    wrong = np.array([one.reference != one.hypothesis for one in scored], dtype=np.int64)
    errors = bootstrap_interval(wrong, np.ones_like(wrong), [one.speaker for one in scored], share=True, seed=seed)
    return ClassReport(
        utterances=len(scored),
        right=int(np.trace(matrix)),
        interval=replace(errors, low=1 - errors.high, high=1 - errors.low) if errors.known else errors,
        classes=tuple(_class_score(matrix, place, name) for name, place in places.items()),
        speakers=_speaker_scores(scored),
        confusions=_confusions(scored),
        matrix=matrix,
        real_time_factor=real_time_factor,
    )


def format_class_report(report: ClassReport) -> str:
    """The report as text for a terminal or ``accuracy.txt``, ending in a line break."""
    counts = f"{report.right:>9,}{report.utterances:>9,}"
    lines = [
        f"{'':10}{'rate':>10}  {'95 % interval':^17}{'right':>9}{'of':>9}",
        f"{'Accuracy':10}{percent(report.accuracy):>10}  {bounds(report.interval):^17}{counts} utterances",
        f"{'Macro F1':10}{percent(report.macro_f1):>10}",
        "",
        *interval_facts(report.interval, report.real_time_factor),
        "",
        *_table(
            "Class", report.classes, ("recall", "precision", "F1"), lambda one: (one.recall, one.precision, one.f1)
        ),
    ]
    if report.speakers:
        lines += ["", *_table("Speaker", report.speakers, ("accuracy",), lambda one: (one.accuracy,))]
    if report.confusions:
        lines += ["", "Most frequent confusions", *_most_frequent(report.confusions)]
    return "\n".join(lines) + "\n"


def class_report_json(report: ClassReport) -> dict[str, Any]:
    """The report as plain values that strict JSON can hold: what is unknown is None."""
    interval = report.interval
    return {
        "utterances": report.utterances,
        "accuracy": {
            "rate": report.accuracy,
            "interval": [interval.low, interval.high] if interval.known else None,
            "right": report.right,
        },
        "macro_f1": report.macro_f1,
        "resampled": {"unit": interval.unit, "units": interval.units},
        "real_time_factor": report.real_time_factor,
        "classes": [
            {**vars(one), "recall": one.recall, "precision": one.precision, "f1": one.f1} for one in report.classes
        ],
        "speakers": [{**vars(one), "accuracy": one.accuracy} for one in report.speakers],
        "confusions": [vars(one) for one in report.confusions],
    }


def _class_score(matrix: Int[np.ndarray, "classes classes"], place: int, name: str) -> ClassScore:
    counts = {"utterances": matrix[place].sum(), "predicted": matrix[:, place].sum(), "right": matrix[place, place]}
    return ClassScore(name=name, **{field: int(count) for field, count in counts.items()})


def _speaker_scores(scored: Sequence[Scored]) -> tuple[SpeakerScore, ...]:
    spoken = Counter(one.speaker for one in scored if one.speaker)
    right = Counter(one.speaker for one in scored if one.speaker and one.reference == one.hypothesis)
    return tuple(SpeakerScore(name=name, utterances=spoken[name], right=right[name]) for name in sorted(spoken))


def _confusions(scored: Sequence[Scored]) -> tuple[Confusion, ...]:
    wrong = Counter((one.speaker, one.reference, one.hypothesis) for one in scored if one.reference != one.hypothesis)
    ranked = sorted(wrong.items(), key=lambda entry: (-entry[1], entry[0][0] or "", *entry[0][1:]))
    return tuple(
        Confusion(speaker=speaker, reference=reference, hypothesis=hypothesis, count=count)
        for (speaker, reference, hypothesis), count in ranked
    )


def _most_frequent(confusions: Sequence[Confusion]) -> list[str]:
    """The confusions that most utterances have, whoever spoke them."""
    counts = Counter[tuple[str, str]]()
    for one in confusions:
        counts[one.reference, one.hypothesis] += one.count
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [printable(f"{count:>5} × {true} taken for {taken}") for (true, taken), count in ranked[:SHOWN]]


def _table(
    heading: str, rows: Sequence[Any], columns: Sequence[str], rates: Callable[[Any], Sequence[float | None]]
) -> list[str]:
    """Names on the left, then utterances, right ones and rates."""
    width = max(display_width(name) for name in (heading, *(printable(one.name) for one in rows)))
    lines = [f"{heading:{width}}{'utterances':>12}{'right':>8}" + "".join(f"{name:>11}" for name in columns)]
    for one in rows:
        name = printable(one.name)
        cells = "".join(f"{'–' if rate is None else percent(rate):>11}" for rate in rates(one))
        lines.append(f"{name}{' ' * (width - display_width(name))}{one.utterances:>12,}{one.right:>8,}{cells}")
    return lines
