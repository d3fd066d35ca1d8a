"""Which folder a training writes to, agreed between its processes before they can talk to each other."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from seq2seq_asr.console import say
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.processes import devices_started_outside, is_launched_by_us, is_main_process
from seq2seq_asr.training.requeue import restarted, this_job
from seq2seq_asr.training.run_folder import RunFolder, create_run, numbered_runs
from seq2seq_asr.whole_file import write_whole, writing

LOCK = "training.lock"
"""File of a run that its training holds; it is there while it is prepared and trains."""
PATIENCE = 8.0
"""Seconds that a lock is waited for: the data workers of a training that was killed hold it until they notice."""
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
    outside = devices_started_outside() is not None
    begun = run_of_this_job(checkpoints, name)
    if begun is not None and not begun.saved:
        run = begun  # what a job left before its first save is begun anew
    else:
        run = claim_shared_run(checkpoints / name) if outside else create_run(checkpoints, name)
    os.environ[RUN_VARIABLE] = str(run.path)
    with held(run):  # while it is prepared; training takes it again
        try:
            if mark := this_job():
                write_whole(run.job, mark)
            yield run
        except BaseException:
            if not outside:
                shutil.rmtree(run.path, ignore_errors=True)
            raise


def run_of_this_job(checkpoints: Path, name: str) -> RunFolder | None:
    """What this command has begun before SLURM restarted its job, whatever number its name got; None elsewhere."""
    mark = this_job() if restarted() else None
    return next((run for run in numbered_runs(checkpoints, name) if mark and _mark_of(run) == mark), None)


def _mark_of(run: RunFolder) -> str | None:
    try:
        return run.job.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def claim_shared_run(path: Path) -> RunFolder:
    """Under torchrun or SLURM no number is added: all processes start at once.

    Raises:
        CheckpointError: There is such a run, or it cannot be made.
    """
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


@contextlib.contextmanager
def held(run: RunFolder) -> Iterator[None]:
    """Keep every other training out of a run; the system lets go of it however this process ends.

    Raises:
        CheckpointError: Another training writes there, or the folder is not writable.
    """
    if not is_main_process():
        yield
        return
    path = run.path / LOCK
    with writing(run.path):
        file = _lock(path)
    try:
        yield
    finally:
        # Who comes next makes a file of his own; the data workers' share in the lock of this one keeps nobody out.
        path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> BinaryIO:
    until = time.monotonic() + PATIENCE
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError as error:
            if time.monotonic() > until:
                file.close()
                raise CheckpointError(f"{path.parent}: another training writes there") from error
        except OSError as error:
            say(f"warning: {path.parent}: not protected from a second training: no locks there ({error.strerror})")
            return file
        file.close()
        time.sleep(0.1)
