"""kill -9 while saving: before every system call, and within every write; what is left loads, and is the old or new."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import FORMAT, read_checkpoint, sweep_leftovers
from seq2seq_asr.training.plugins import SafeCheckpointIO
from seq2seq_asr.training.recovery import newest_complete
from seq2seq_asr.training.run_folder import RunFolder

CALLS = ("open", "fsync", "close", "link", "rename", "replace", "unlink")


def state(step: int, size: int = 64) -> dict:
    return {
        "seq2seq_asr": {"format": FORMAT},
        "state_dict": {"model.a": torch.full((size,), float(step))},
        "global_step": step,
    }


def complete(path: Path) -> int:
    """The step of a state whose weights are all those of that step."""
    found = read_checkpoint(path)
    assert bool((found["state_dict"]["model.a"] == found["global_step"]).all())
    return found["global_step"]


def die(number: int, counter: list[int]) -> bool:
    """Count a call; whether it is the one to die at."""
    counter[0] += 1
    return counter[0] == number


def arm(number: int) -> list[int]:
    """In this process, die before that system call; a write is cut in half."""
    counter, save = [0], torch.save

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if die(number, counter):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    class Cut:
        """A file, a write to which is cut in half."""

        def __init__(self, file: BinaryIO) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            if die(number, counter):
                self.file.write(bytes(data)[: len(data) // 2])
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    torch.save = lambda content, file: save(content, Cut(file))  # type: ignore[assignment, arg-type, misc]
    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))
    for name in ("open", "unlink"):
        setattr(Path, name, dying(getattr(Path, name)))
    return counter


def save_and_die(run: RunFolder, step: int, number: int) -> bool:
    """Save in a process of its own that dies at a call; False when it had fewer calls than that."""
    child = os.fork()
    if child == 0:
        try:
            arm(number)
            SafeCheckpointIO().save_checkpoint(state(step), run.last)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("links", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_killed_at_every_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: os.stat("/no/links/here"))
    monkeypatch.setenv("TMPDIR", "/nowhere")
    run = RunFolder(tmp_path)
    for step in (1, 2):
        SafeCheckpointIO().save_checkpoint(state(step), run.last)
    number = step = 2
    kept = []
    for number in range(1, 200):
        if not save_and_die(run, step + 1, number):
            break
        sweep_leftovers(run.path)
        names = {path.name for path in run.path.iterdir()}
        assert names <= {"last.ckpt", "previous.ckpt"}
        path, _ = newest_complete(run)
        assert path == run.last or not links, f"call {number} left no last.ckpt"
        assert complete(path) in (step, step + 1)
        assert complete(run.previous) in (step - 1, step)
        kept.append(complete(path))
        SafeCheckpointIO().save_checkpoint(state(step := step + 2), run.last)
        SafeCheckpointIO().save_checkpoint(state(step := step + 1), run.last)
    assert number > 15 and len(kept) == number - 1
    assert complete(run.last) == step + 1, "the one that was not killed"


def test_the_oracle_sees_a_save_that_is_not_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(content: Any, path: Path, keep: object = None) -> None:
        with path.open("wb") as file:
            torch.save(content, file)

    run = RunFolder(tmp_path)
    SafeCheckpointIO().save_checkpoint(state(1), run.last)
    monkeypatch.setattr("seq2seq_asr.training.plugins.write_atomically", careless)
    assert save_and_die(run, 2, 3)
    with pytest.raises(CheckpointError):
        complete(run.last)


MANY = 25_000_000
"""Weights of a state of 100 MB."""


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_twenty_kills_while_100_mb_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At times spread over two saves; TMPDIR is on another file system where there is one."""
    if (other := Path("/dev/shm")).is_dir():
        monkeypatch.setenv("TMPDIR", str(other))
    run, started = RunFolder(tmp_path), time.monotonic()
    for step in (1, 2):
        SafeCheckpointIO().save_checkpoint(state(step, MANY), run.last)
    seconds, done, swept, finished = (time.monotonic() - started) / 2, 2, 0, 0
    for kill in range(20):
        begun = save_until_killed(run, done, 2 * seconds * kill / 19)
        swept += len(sweep_leftovers(run.path)) > 0
        path, _ = newest_complete(run)
        found = complete(path)
        assert path == run.last and found in (begun - 1, begun), f"kill {kill}: {found}, in the middle of {begun}"
        assert complete(run.previous) in (found - 1, found)
        finished += found - done
        done = found
    print(f"20 kills of saves of {seconds:.2f} s: {swept} left something to sweep, {finished} saves were complete")
    assert swept > 5, "hardly a kill fell into a save"


def save_until_killed(run: RunFolder, step: int, seconds: float) -> int:
    """Save one state after another in a process that is killed after a while; the last one that was begun."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            while True:
                step += 1
                contents = state(step, MANY)
                os.write(writing, f"{step}\n".encode())
                SafeCheckpointIO().save_checkpoint(contents, run.last)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        first = told.readline()
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        return int((first + told.read()).splitlines()[-1])
