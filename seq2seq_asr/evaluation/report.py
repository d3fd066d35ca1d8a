"""A test set's score as one object, as readable text (``wer.txt``) and as plain JSON values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.intervals import Interval, bootstrap_interval
from seq2seq_asr.evaluation.layout import aligned_lines, bounds, percent, plural, printable
from seq2seq_asr.evaluation.wer import ErrorCounts, character_errors, word_errors

_FEW_UNITS: Final = 10
_WORST: Final = 5
"""So many of the worst utterances are kept."""
_WIDTH: Final = 110
"""Columns at which aligned utterances wrap."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A reference with what was recognised."""

    id: str
    """Utterance id."""
    reference: str
    """True text; may be empty."""
    hypothesis: str
    """Recognised text; may be empty."""
    speaker: str | None = None
    """Speaker, if known; the intervals resample speakers when all are."""


@dataclass(frozen=True, kw_only=True)
class WorstUtterance:
    """One of the utterances with the most errors."""

    scored: Scored
    words: ErrorCounts
    characters: ErrorCounts


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of one test set; rates and intervals are fractions."""

    utterances: int
    words: ErrorCounts
    characters: ErrorCounts
    wrong_utterances: int
    """Utterances with at least one word error."""
    interval: Interval
    """95 % interval of the word error rate."""
    character_interval: Interval
    """95 % interval of the character error rate."""
    worst: tuple[WorstUtterance, ...]
    """Most word errors first, then most character errors; utterances without errors are left out."""
    real_time_factor: float | None = None
    """Seconds of computation per second of audio, where measured."""

    @property
    def sentence_error_rate(self) -> float:
        """Share of utterances with at least one word error."""
        return self.wrong_utterances / self.utterances


def make_report(scored: Sequence[Scored], *, real_time_factor: float | None = None, seed: int = 0) -> Report:
    """Score a test set.

    Args:
        scored: Every utterance of the set, empty hypotheses included.
        real_time_factor: Seconds of computation per second of audio, where measured.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: There is nothing to score.
    """
    if not scored:
        raise UsageError("there are no utterances to score")
    words = [word_errors(item.reference, item.hypothesis) for item in scored]
    characters = [character_errors(item.reference, item.hypothesis) for item in scored]
    speakers = [item.speaker for item in scored]
    ranked = sorted(range(len(scored)), key=lambda i: (-words[i].errors, -characters[i].errors, scored[i].id))
    return Report(
        utterances=len(scored),
        words=sum(words, ErrorCounts()),
        characters=sum(characters, ErrorCounts()),
        wrong_utterances=sum(counts.errors > 0 for counts in words),
        interval=_interval(words, speakers, seed),
        character_interval=_interval(characters, speakers, seed),
        worst=tuple(
            WorstUtterance(scored=scored[i], words=words[i], characters=characters[i])
            for i in ranked[:_WORST]
            if words[i].errors
        ),
        real_time_factor=real_time_factor,
    )


def format_report(report: Report) -> str:
    """The report as text for a terminal or ``wer.txt``, ending in a line break."""
    lines = [*_table(report), "", *interval_facts(report.interval, report.real_time_factor)]
    if report.worst:
        lines += ["", "Worst utterances, most word errors first (S substituted, D deleted, I inserted)"]
    for item in report.worst:
        lines += ["", _heading(item)]
        lines += [f"  {line}" for line in aligned_lines(item.scored.reference, item.scored.hypothesis, _WIDTH - 2)]
    return "\n".join(lines) + "\n"


def interval_facts(interval: Interval, real_time_factor: float | None) -> list[str]:
    """Two lines: what the interval was made of, and how fast the decoding was."""
    factor = "not measured" if real_time_factor is None else f"{real_time_factor:.3g}"
    return [f"95 % interval     {method_of(interval)}", f"Real-time factor  {factor}"]


def method_of(interval: Interval) -> str:
    """How an interval was made, and where it is rough."""
    units = f"{interval.units:,} {interval.unit}s"
    if not interval.known:
        return "not estimated: it takes two utterances and a reference"
    if interval.alike:
        told = "no errors" if interval.alike == "right" else "nothing right"
        return f"{told}: rule of three over {units} (Hanley & Lippman-Hand 1983)"
    rough = "; so few that it is rough" if interval.units < _FEW_UNITS else ""
    return f"bootstrap over {units} (Bisani & Ney 2004){rough}"


def report_json(report: Report) -> dict[str, Any]:
    """The report as plain values that strict JSON can hold: an infinite rate or an unknown interval is None."""
    return {
        "utterances": report.utterances,
        "words": _counts_json(report.words, report.interval),
        "characters": _counts_json(report.characters, report.character_interval),
        "sentence_error_rate": report.sentence_error_rate,
        "wrong_utterances": report.wrong_utterances,
        "resampled": {"unit": report.interval.unit, "units": report.interval.units},
        "real_time_factor": report.real_time_factor,
        "worst": [
            {**vars(item.scored), "word_errors": item.words.errors, "character_errors": item.characters.errors}
            for item in report.worst
        ],
    }


def _interval(counts: Sequence[ErrorCounts], speakers: Sequence[str | None], seed: int) -> Interval:
    errors = np.array([item.errors for item in counts])
    lengths = np.array([item.reference_length for item in counts])
    return bootstrap_interval(errors, lengths, speakers, seed=seed)


def _table(report: Report) -> list[str]:
    lines = [f"{'':8}{'rate':>10}  {'95 % interval':^17}{'errors':>9}{'sub':>8}{'del':>8}{'ins':>8}{'of':>11}"]
    for name, counts, interval, unit in (
        ("WER", report.words, report.interval, "words"),
        ("CER", report.characters, report.character_interval, "characters"),
    ):
        edits = f"{counts.substitutions:>8,}{counts.deletions:>8,}{counts.insertions:>8,}"
        score = f"{percent(counts.rate):>10}  {bounds(interval):^17}{counts.errors:>9,}"
        lines.append(f"{name:8}{score}{edits}{counts.reference_length:>11,} {unit}")
    rate = percent(report.sentence_error_rate)
    lines.append(f"{'SER':8}{rate:>10}  {'':17}{report.wrong_utterances:>9,}{'':24}{report.utterances:>11,} utterances")
    return lines


def _heading(item: WorstUtterance) -> str:
    speaker = f", speaker {item.scored.speaker}" if item.scored.speaker else ""
    of_words = f"{plural(item.words.errors, 'word error')} in {plural(item.words.reference_length, 'word')}"
    return printable(f"{item.scored.id}{speaker}: {of_words}, {plural(item.characters.errors, 'character error')}")


def _counts_json(counts: ErrorCounts, interval: Interval) -> dict[str, Any]:
    return {
        "rate": counts.rate if math.isfinite(counts.rate) else None,
        "interval": [interval.low, interval.high] if interval.known else None,
        "errors": counts.errors,
        **vars(counts),
    }
