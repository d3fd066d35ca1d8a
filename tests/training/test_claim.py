"""Two trainings never write into one run, and a lock never outlives its holder."""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training import claim
from seq2seq_asr.training.claim import LOCK, claimed_run, held, run_of_this_job
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.session import Session, train


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "PATIENCE", 0.2)


def test_a_second_training_is_refused_and_the_first_leaves_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with held(run):
        with pytest.raises(CheckpointError, match=f"^{tmp_path}: another training writes there$"), held(run):
            raise AssertionError
        with pytest.raises(CheckpointError, match="another training"), held(run):
            raise AssertionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), held(run):
        raise KeyboardInterrupt
    with held(run):
        pass


def test_a_run_is_held_while_it_is_prepared(tmp_path: Path) -> None:
    with claimed_run(tmp_path, "new") as run:
        with pytest.raises(CheckpointError, match="another training writes there"), held(run):
            raise AssertionError
    with held(run):
        pass


def test_training_holds_its_run(toy_session: Callable[..., Session]) -> None:
    session = toy_session(epochs=1)
    with held(session.run), pytest.raises(CheckpointError, match="another training writes there"):
        train(session)
    assert list(session.run.path.iterdir()) == []
    train(session)
    assert not (session.run.path / LOCK).exists()


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with held(run):
            os.write(writing, b"held\n")
            signal.pause()
    assert os.read(reading, 5) == b"held\n"
    with pytest.raises(CheckpointError), held(run):
        raise AssertionError
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists()
    with held(run):
        pass


def test_a_worker_that_inherits_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with held(run):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        assert not (tmp_path / LOCK).exists()
        with held(run):
            assert (tmp_path / LOCK).exists()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_who_waits_gets_a_lock_that_others_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "PATIENCE", 20.0)
    run, seen = RunFolder(tmp_path), []

    def wait() -> None:
        with held(run):
            seen.append((tmp_path / LOCK).exists())

    with held(run):
        threading.Thread(target=wait, name="waits").start()
    for thread in threading.enumerate():
        if thread.name == "waits":
            thread.join()
    assert seen == [True] and list(tmp_path.iterdir()) == []


def test_the_lock_of_a_file_that_has_gone_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, late = fcntl.flock, [tmp_path / LOCK]

    def too_late(file: object, how: int) -> None:
        if late:
            late.pop().unlink()
        lock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", too_late)
    with held(RunFolder(tmp_path)):
        assert not late and (tmp_path / LOCK).exists()


def test_a_folder_that_takes_no_lock_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match=r"none/training\.lock: cannot be written"),
        held(RunFolder(tmp_path / "none")),
    ):
        raise AssertionError


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Within a job of SLURM whose script starts the training without srun."""
    for name in ("SLURM_NTASKS", "SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train.sh", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(claim.RUN_VARIABLE, "")  # to be as before when the test ends
    return monkeypatch


def test_a_requeued_job_finds_its_own_run(tmp_path: Path, job: pytest.MonkeyPatch) -> None:
    """Under srun a name is never given a number; what was begun without a save is begun anew by the same job alone."""
    job.setenv("SLURM_NTASKS", "1")
    with claimed_run(tmp_path, "mine") as run:
        assert run.path == tmp_path / "mine"
        run.config.write_text("begun: true\n")
    with pytest.raises(CheckpointError, match="exists already; use --resume"), claimed_run(tmp_path, "mine"):
        raise AssertionError
    job.setenv("SLURM_RESTART_COUNT", "1")
    with claimed_run(tmp_path, "mine") as run:
        assert run.path == tmp_path / "mine"
        run.last.write_bytes(b"")
    with pytest.raises(CheckpointError, match="exists already"), claimed_run(tmp_path, "mine"):
        raise AssertionError
    job.setenv("SLURM_JOB_ID", "78")
    run.last.unlink()
    with pytest.raises(CheckpointError, match="exists already"), claimed_run(tmp_path, "mine"):
        raise AssertionError
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_a_requeued_job_finds_its_own_run_whatever_its_number(tmp_path: Path, job: pytest.MonkeyPatch) -> None:
    for other in ("mine", "mine-10", "mine-x", "mined"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "last.ckpt").write_bytes(b"")
    with claimed_run(tmp_path, "mine") as run:
        assert run.path == tmp_path / "mine-2" and run_of_this_job(tmp_path, "mine") is None, "not restarted yet"
    job.setenv("SLURM_RESTART_COUNT", "1")
    assert run_of_this_job(tmp_path, "mine") == run
    with held(run), pytest.raises(CheckpointError, match="another training writes"), claimed_run(tmp_path, "mine"):
        raise AssertionError
    assert run.job.is_file(), "the job of before has not ended yet"
    with claimed_run(tmp_path, "mine") as again:
        assert again == run, "nothing was saved"
    job.setattr(sys, "argv", [*sys.argv, "--seed", "2"])  # another command of the same job
    assert run_of_this_job(tmp_path, "mine") is None
    with claimed_run(tmp_path, "mine") as second:
        assert second.path == tmp_path / "mine-3"
    assert run_of_this_job(tmp_path, "mine") == second
    job.setenv("SLURM_JOB_ID", "78")
    assert run_of_this_job(tmp_path, "mine") is None
