"""Which folder a training writes to, agreed between its processes before they can talk to each other."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.processes import is_launched_by_us, is_main_process, processes_started_outside
from seq2seq_asr.training.run_folder import RunFolder, create_run

RUN_VARIABLE = "SEQ2SEQ_ASR_RUN"
"""Tells processes that Lightning starts which folder the first one made."""


@contextlib.contextmanager
def claimed_run(checkpoints: Path, name: str) -> Iterator[RunFolder]:
    """The folder of a new run, to be filled by the main process; it is removed again when that fails.

    Raises:
        CheckpointError: The folder cannot be made, or the main process did not prepare it.
    """
    if not is_main_process():
        own = Path(os.environ[RUN_VARIABLE]) if is_launched_by_us() else checkpoints / name
        yield wait_for(RunFolder(own))
        return
    outside = processes_started_outside() > 1
    run = claim_shared_run(checkpoints / name) if outside else create_run(checkpoints, name)
    os.environ[RUN_VARIABLE] = str(run.path)
    try:
        yield run
    except BaseException:
        if not outside:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def claim_shared_run(path: Path) -> RunFolder:
    """Under torchrun or SLURM all processes start at once, so the name must be known: no number can be added."""
    run = RunFolder(path)
    if run.config.exists():
        raise CheckpointError(f"{path}: exists already; use --resume, or another --name")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be created ({error.strerror})") from error
    return run


def wait_for(run: RunFolder, seconds: float = 600.0) -> RunFolder:
    """Wait until the main process has prepared the run; its config.yaml is written last."""
    for _ in range(int(seconds * 10)):
        if run.config.is_file():
            return run
        time.sleep(0.1)
    raise CheckpointError(f"{run.path}: the first process did not prepare the run within {seconds:.0f} s")


def write_config(run: RunFolder, yaml: str) -> None:
    """Write config.yaml, whole or not at all: other processes may be reading it.

    Raises:
        CheckpointError: The folder is not writable.
    """
    temporary = run.config.with_name(f".{run.config.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(yaml, encoding="utf-8")
        temporary.replace(run.config)
    except OSError as error:
        raise CheckpointError(f"{run.path}: cannot be written ({error.strerror})") from error
