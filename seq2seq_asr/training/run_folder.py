"""A run on disk: ``checkpoints/<name>/`` with its config, tokenizer, checkpoints and metrics."""

import contextlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seq2seq_asr.errors import CheckpointError

CheckpointChoice = Literal["best", "last"]
"""Weights of a run: those with the lowest validation WER, or the newest."""


@dataclass(frozen=True)
class RunFolder:
    """Where the files of one run stand."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def config(self) -> Path:
        """Resolved configuration, YAML."""
        return self.path / "config.yaml"

    @property
    def tokenizer(self) -> Path:
        """Tokenizer and normaliser."""
        return self.path / "tokenizer.model"

    @property
    def labels(self) -> Path:
        """Classes of a classifier; a recogniser has none."""
        return self.path / "labels.json"

    @property
    def targets(self) -> Path:
        """What the model's outputs mean: labels where there are any, else a tokenizer."""
        return self.labels if self.labels.is_file() else self.tokenizer

    @property
    def last(self) -> Path:
        """Newest complete training state."""
        return self.path / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The training state before the newest, for when that is damaged."""
        return self.path / "previous.ckpt"

    @property
    def best(self) -> Path:
        """Training state with the lowest validation WER or CER, or the highest accuracy."""
        return self.path / "best.ckpt"

    @property
    def saved(self) -> bool:
        """Whether there is a state to go on from."""
        return any(state.is_file() for state in (self.last, self.previous, self.best))

    @property
    def job(self) -> Path:
        """Mark of the SLURM job that has begun the run; there is none outside of SLURM."""
        return self.path / "slurm_job.txt"

    @property
    def metrics(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def plots(self) -> Path:
        """Learning curves and attention plots of the newest validation."""
        return self.path / "plots"


def create_run(checkpoints: Path, name: str) -> RunFolder:
    """A new folder ``name``, or ``name-2``, ``name-3`` … where that exists: no run is ever overwritten.

    Raises:
        CheckpointError: The folder cannot be made.
    """
    path = checkpoints / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
            path = checkpoints / f"{name}-{number}"
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be created ({error.strerror})") from error
    return RunFolder(path)


def numbered_runs(checkpoints: Path, name: str) -> list[RunFolder]:
    """What `create_run` has made under a name so far, the newest first."""
    pattern = re.compile(re.escape(name) + r"(?:-(\d+))?")
    found = [(match, path) for path in checkpoints.glob("*") if (match := pattern.fullmatch(path.name))]
    return [RunFolder(path) for match, path in sorted(found, key=lambda one: -int(one[0][1] or 1))]


def open_run(path: Path) -> RunFolder:
    """The run at ``path``.

    Raises:
        CheckpointError: There is no folder, or no checkpoint in it.
    """
    run = RunFolder(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run folder")
    for needed in (run.config, run.targets):
        if not needed.is_file():
            raise CheckpointError(f"{path}: not a run folder, {needed.name} is missing")
    if not run.last.is_file() and not run.best.is_file():
        raise CheckpointError(
            f"{path}: no checkpoint (neither best.ckpt nor last.ckpt): its training runs its first epoch, or ended "
            "before the first save; then delete the folder and train again"
        )
    return run


def chosen_run(run: Path | None, checkpoints: Path) -> RunFolder:
    """The run that was named, else the newest.

    Raises:
        CheckpointError: As `open_run` and `newest_run`.
    """
    return newest_run(checkpoints) if run is None else open_run(run)


def newest_run(checkpoints: Path) -> RunFolder:
    """The run whose checkpoint was written last.

    Raises:
        CheckpointError: No run below ``checkpoints`` has a checkpoint.
    """
    saved = [*checkpoints.glob("*/last.ckpt"), *checkpoints.glob("*/best.ckpt")]
    if not saved:
        raise CheckpointError(f"{checkpoints}: no run with a checkpoint yet; train one with python -m seq2seq_asr.fit")
    return open_run(max(saved, key=lambda path: path.stat().st_mtime_ns).parent)
