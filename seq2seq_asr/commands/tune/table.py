"""The table of all trials."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq_asr.commands.tune.sweep import Sweeper
from seq2seq_asr.strict_yaml import to_mapping
from seq2seq_asr.whole_file import replacing


def write_table(path: Path, sweeper: Sweeper) -> None:
    """Write ``tuned.csv``, a row a trial.

    Raises:
        OSError: It cannot be written.
    """
    found = list(rows(sweeper))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(found[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(found)


def rows(sweeper: Sweeper) -> Iterator[dict[str, Any]]:
    """The trials in the order tried: the sweeps that each is a point of, what was measured, then every setting."""
    points = {name: sweeper.along(name) for name in sweeper.starts}
    for trial in sweeper.trials.values():
        measured = {
            "sweeps": " ".join(name for name, line in points.items() if trial in line),
            "wer": trial.wer,
            "cer": trial.cer,
            "low": trial.interval.low,
            "high": trial.interval.high,
            "errors": trial.errors,
            "words": trial.words,
            "real_time_factor": trial.real_time_factor,
            "search_errors": trial.search_errors,
        }
        yield measured | to_mapping(trial.search)
