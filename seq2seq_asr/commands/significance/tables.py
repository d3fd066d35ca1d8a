"""``systems.csv``, ``pairs.csv`` and ``speakers.csv``: fractions, not percent; what is unknown is empty."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seq2seq_asr.commands.significance.pairs import Pair
from seq2seq_asr.commands.significance.systems import System, Unit
from seq2seq_asr.evaluation.wer import ErrorCounts
from seq2seq_asr.whole_file import write_csv


def write_tables(folder: Path, systems: Sequence[System], pairs: Sequence[Pair], unit: Unit) -> None:
    """Write all three, each whole or not at all.

    Raises:
        OSError: One cannot be written.
    """
    write_csv(folder / "systems.csv", [system_row(one, unit) for one in systems])
    write_csv(folder / "pairs.csv", [pair_row(one, unit) for one in pairs])
    write_csv(folder / "speakers.csv", list(speaker_rows(systems, unit)))


def system_row(one: System, unit: Unit) -> dict[str, Any]:
    """A system's figures."""
    known = one.interval.known
    return {
        "system": one.name,
        "folder": str(one.folder),
        "unit": unit,
        "utterances": len(one.counts),
        **_counted(one.total),
        "interval_low": one.interval.low if known else "",
        "interval_high": one.interval.high if known else "",
        "resampled": one.interval.unit,
        "resampled_units": one.interval.units,
        "sentence_error_rate": one.sentence_error_rate,
    }


def pair_row(pair: Pair, unit: Unit) -> dict[str, Any]:
    """A pair's figures: the difference is second minus first, ``p_value`` the larger of both tests, corrected."""
    interval = pair.student.interval
    return {
        "first": pair.first.name,
        "second": pair.second.name,
        "unit": unit,
        "difference": pair.student.difference,
        "difference_low": interval.low if interval.known else "",
        "difference_high": interval.high if interval.known else "",
        "tested": interval.unit,
        "tested_units": interval.units,
        "p_student": pair.student.p_value,
        "p_exchange_speakers": "" if pair.over_speakers is None else pair.over_speakers,
        "p_exchange_utterances": "" if pair.over_utterances is None else pair.over_utterances,
        "p_value": pair.p_value,
        "verdict": pair.verdict,
        "reason": pair.reason,
    }


def speaker_rows(systems: Sequence[System], unit: Unit) -> Iterator[dict[str, Any]]:
    """A row a speaker and system; an unknown speaker's name is empty."""
    for one in systems:
        for speaker, (utterances, counts) in one.by_speaker().items():
            yield {"speaker": speaker, "system": one.name, "unit": unit, "utterances": utterances, **_counted(counts)}


def _counted(counts: ErrorCounts) -> dict[str, Any]:
    return {
        "reference_length": counts.reference_length,
        "errors": counts.errors,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "error_rate": counts.rate if math.isfinite(counts.rate) else "",
    }
