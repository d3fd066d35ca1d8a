"""What ``compare`` does: plan, train and decode what is left, rank what is finished, write the report."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from seq2seq_asr.commands.claiming import claimed
from seq2seq_asr.commands.compare.budget import Corpora, Measured, apply_budget
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run, expand, runs_of
from seq2seq_asr.commands.compare.pool import Failure, Pool, default_jobs
from seq2seq_asr.commands.compare.reporting import report
from seq2seq_asr.commands.compare.stages import check_same_settings, finished, set_aside, task_of
from seq2seq_asr.commands.compare.timing import timed
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.console import say
from seq2seq_asr.errors import UsageError


def compare(config: CompareConfig, source: Path | None = None) -> int:
    """Compare as configured; returns 1 when a run has failed, otherwise 0.

    Args:
        config: The comparison.
        source: The file it came from, for the report to name.

    Raises:
        AsrError: The comparison is impossible, or its folder cannot be used; nothing was trained.
    """
    systems = expand(config)
    folder = config.checkpoints / config.name
    with ProgressLine() as progress:
        corpora = Corpora(progress)
        measured = apply_budget(config, systems, corpora)
        if config.dry_run:
            print(plan(config, measured))
            return 0
        with claimed(folder, ".lock", "comparison", "give another --name"):
            if config.match == "time":
                measured = timed(config, measured, jobs_of(config, measured), corpora, progress)
            runs = runs_of([one.system for one in measured], config.seeds)
            failures = work(config, chosen(config, runs), jobs_of(config, measured), corpora, progress)
            progress.stop()
            reported = report(config, source, measured, runs, corpora, failures)
    if reported:
        print(reported)
    for failure in failures:
        say(f"failed: {failure.task}, {failure.stage} (exit code {failure.code}): {failure.line}")
    return 1 if failures else 0


def plan(config: CompareConfig, measured: Sequence[Measured]) -> str:
    """What would be trained, a system a line."""
    lines = []
    for one in measured:
        epochs = one.system.config.trainer.epochs
        length = (
            f"{config.minutes:g} minutes"
            if config.match == "time"
            else f"{epochs} epochs of {one.steps_an_epoch} updates"
        )
        lines.append(f"{one.system.name}: {one.parameters:,} parameters, {length}, {len(config.seeds)} seeds")
    return "\n".join(lines)


def chosen(config: CompareConfig, runs: Sequence[Run]) -> list[Run]:
    """The runs that ``only`` names, or all.

    Raises:
        UsageError: A pattern names none.
    """
    if not config.only:
        return list(runs)
    for pattern in config.only:
        if not any(fnmatch(run.name, pattern) for run in runs):
            raise UsageError(f"only: no run matches {pattern!r}; there are {', '.join(run.name for run in runs[:4])} …")
    return [run for run in runs if any(fnmatch(run.name, pattern) for pattern in config.only)]


def work(
    config: CompareConfig, runs: Sequence[Run], jobs: int, corpora: Corpora, progress: ProgressLine
) -> list[Failure]:
    """Do what is left of these runs."""
    for run in runs:
        if config.again:
            set_aside(run)
        else:
            check_same_settings(run, config, corpora)
    left = [run for run in runs if not finished(run, config, corpora)]
    say(f"{len(runs)} runs, {len(runs) - len(left)} finished before; {jobs} at a time")
    done = 0

    def told(name: str, failure: Failure | None) -> None:
        nonlocal done
        done += 1
        progress("runs", done, len(left))
        say(f"{done}/{len(left)} {name}" + (f" failed in {failure.stage}: {failure.line}" if failure else ""))

    progress("runs", 0, max(1, len(left)))
    return Pool(jobs, told).run([task_of(run, config, corpora) for run in left])


def jobs_of(config: CompareConfig, measured: Sequence[Measured]) -> int:
    """Runs at the same time."""
    return config.jobs or default_jobs(measured[0].system.config.trainer.accelerator)
