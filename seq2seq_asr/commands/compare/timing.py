"""Equal minutes: a few timed epochs of every system tell how many it gets.

Stopping by the clock would cut learning-rate schedules off in the middle and make a resumed run another one; whole
epochs that fit into the minutes do neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from seq2seq_asr.commands.compare.budget import Corpora, Measured, with_epochs
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run
from seq2seq_asr.commands.compare.pool import Pool, Stage, Task
from seq2seq_asr.commands.compare.stages import another_setting, fitting, set_aside, trained
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.console import say
from seq2seq_asr.errors import TrainingError, UsageError
from seq2seq_asr.training.metrics import read_rows
from seq2seq_asr.training.run_folder import RunFolder

EPOCHS: Final = 3
"""Timed: the first, which also reads the corpus, a common one, and one with a validation."""


def timed(
    config: CompareConfig, measured: Sequence[Measured], jobs: int, corpora: Corpora, progress: ProgressLine
) -> list[Measured]:
    """Give every system the epochs that fit into the minutes; what was timed before is not timed again.

    Raises:
        TrainingError: A timed training has failed.
        UsageError: Not even one epoch fits.
    """
    runs = timing_runs(config, measured, jobs, corpora)
    left = [run for run in runs if not trained(run)]
    done = 0

    def told(name: str, failure: object) -> None:
        nonlocal done
        done += 1
        progress("timing", done, len(left))

    failures = Pool(jobs, told).run([_timing_task(run) for run in left])
    if failures:
        raise TrainingError(f"timing of {failures[0].task} failed: {failures[0].line}")
    result = []
    for one, run in zip(measured, runs, strict=True):
        epochs = epochs_within(60 * config.minutes, seconds_of(run), one.system.config.trainer.validate_every)
        if epochs < 1:
            raise UsageError(f"minutes: {config.minutes:g} are less than an epoch of {one.system.name} takes")
        say(f"{one.system.name}: {epochs} epochs fit into {config.minutes:g} minutes")
        result.append(with_epochs(one, epochs))
    return result


def seconds_of(run: Run) -> list[float]:
    """What its timed epochs took."""
    path = RunFolder(run.path).metrics
    return [float(row["seconds"]) for row in read_rows(path)] if path.is_file() else []


def epochs_within(budget: float, seconds: Sequence[float], validate_every: int) -> int:
    """Epochs that fit into a budget of seconds.

    Args:
        budget: Seconds.
        seconds: Of the first epoch, of a common one, and of one with a validation.
        validate_every: Epochs between validations; the last is always validated.
    """
    first, common, validated = seconds
    validation = max(0.0, validated - common)
    epochs = 0
    while True:
        wanted = epochs + 1
        spent = first + (wanted - 1) * common + -(-wanted // validate_every) * validation
        if spent > budget or wanted > 100_000:
            return epochs
        epochs = wanted


def timing_runs(config: CompareConfig, measured: Sequence[Measured], jobs: int, corpora: Corpora) -> list[Run]:
    """A short run of each system; what was timed otherwise, or lost its figures, is moved out of the way.

    They are timed as the runs will be trained, so many at the same time, which slows each.
    """
    runs = [_timing_run(one, jobs) for one in measured]
    for run in runs:
        if config.again or another_setting(run, config, corpora) or (trained(run) and len(seconds_of(run)) != EPOCHS):
            set_aside(run)
    return runs


def _timing_run(measured: Measured, jobs: int) -> Run:
    config = measured.system.config
    trainer = replace(config.trainer, epochs=EPOCHS, validate_every=EPOCHS)
    made = replace(config, trainer=trainer, checkpoints=config.checkpoints / "timing" / f"{jobs}_at_a_time")
    return Run(system=measured.system.name, seed=config.seed, config=made)


def _timing_task(run: Run) -> Task:
    def stages() -> Iterator[Stage]:
        yield fitting(run)

    return Task(name=run.name, stages=stages, log=run.path.parent / "logs" / f"{run.name}.log")
