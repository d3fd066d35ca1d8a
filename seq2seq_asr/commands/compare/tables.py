"""``comparison.csv``: one row a system. ``runs.csv``: one row a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq_asr.commands.compare.budget import Measured
from seq2seq_asr.commands.compare.ranking import RankedSystem, Ranking
from seq2seq_asr.commands.compare.results import RunResult
from seq2seq_asr.whole_file import write_csv, writing


def write_tables(
    folder: Path, ranking: Ranking, measured: Mapping[str, Measured], flops: Mapping[str, float], suffix: str = ""
) -> None:
    """Write both files, their names with the suffix; fractions, seconds and bytes, not percent.

    Raises:
        CheckpointError: One cannot be written.
    """
    systems = [system_row(one, measured, flops) for one in ranking.standings]
    runs = [run_row(run, one) for one in ranking.standings for run in one.runs]
    with writing(folder):
        for name, rows in (("comparison", systems), ("runs", runs)):
            write_csv(folder / f"{name}{suffix}.csv", rows)


def system_row(one: RankedSystem, measured: Mapping[str, Measured], flops: Mapping[str, float]) -> dict[str, Any]:
    """A system's figures; ``error_rate`` is the WER, the CER or, in classification, one minus the accuracy."""
    low, high = (one.interval.low, one.interval.high) if one.interval.known else ("", "")
    against, tested = one.difference, None if one.verdict == "unknown" else one.difference
    return {
        "system": one.system.name,
        **one.system.place,
        "measure": one.runs[0].test.criterion.name.lower(),
        "seeds": len(one.runs),
        "error_rate": _number(one.rate),
        "interval_low": _number(low),
        "interval_high": _number(high),
        "seed_deviation": _number(one.spread),
        "verdict": one.verdict,
        "p_value": _number(one.p_value) if tested else "",
        "p_permutation": _number(one.permutation) if against else "",
        "p_student": _number(tested.p_value) if tested else "",
        "difference": _number(against.difference) if against else "",
        "difference_low": _number(tested.interval.low) if tested else "",
        "difference_high": _number(tested.interval.high) if tested else "",
        "parameters": measured[one.system.name].parameters,
        "flops_a_second": _number(flops.get(one.system.name, "")),
        "steps": one.runs[0].steps,
        "train_minutes": _number(mean([run.minutes for run in one.runs])),
        "cpu_minutes": _number(mean([cpu_minutes(run) for run in one.runs])),
        "peak_memory_bytes": _number(max(peak_bytes(run) for run in one.runs)),
        "real_time_factor": _number(mean([run.real_time_factor for run in one.runs if run.real_time_factor])),
    }


def run_row(run: RunResult, one: RankedSystem) -> dict[str, Any]:
    """A run's figures."""
    return {
        "run": run.run.name,
        "system": one.system.name,
        **one.system.place,
        "seed": run.run.seed,
        "error_rate": _number(run.rate),
        "errors": int(run.errors.sum()),
        run.test.unit: int(run.test.lengths.sum()),
        "steps": run.steps,
        "epochs": len(run.curve),
        "train_minutes": _number(run.minutes),
        "cpu_minutes": _number(cpu_minutes(run)),
        "peak_memory_bytes": _number(peak_bytes(run)),
        "real_time_factor": _number(run.real_time_factor),
    }


def cpu_minutes(run: RunResult) -> float:
    """Processor minutes of the training process, start-up included; 0 where it was not started by us."""
    return float(run.cost.get("fit", {}).get("cpu_seconds", 0.0)) / 60


def peak_bytes(run: RunResult) -> int:
    """Most memory of the training process; 0 where it is not known."""
    return int(run.cost.get("fit", {}).get("peak_bytes", 0))


def mean(values: Sequence[float | int]) -> float | None:
    """Their mean, None of nothing."""
    return sum(values) / len(values) if values else None


def _number(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
