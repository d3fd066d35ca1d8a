"""Several processes at a time, each a row of commands; what fails is told and the others go on."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import torch

from seq2seq_asr.errors import AsrError

_POLL: Final = 0.1
"""Seconds between two looks at the processes."""


@dataclass(frozen=True)
class Stage:
    """One command of a task: an entry point of ours and its flags."""

    name: str
    module: str
    flags: Sequence[str]


@dataclass(frozen=True)
class Task:
    """Commands to run one after the other; each is asked for when those before it are done."""

    name: str
    stages: Callable[[], Iterator[Stage]]
    log: Path
    """Where the commands' stderr goes."""
    finished: Callable[[Stage, "Spent"], None] = lambda *_: None
    """Told what a command took, also when it failed."""


@dataclass(frozen=True)
class Spent:
    """What a process took."""

    seconds: float
    cpu_seconds: float
    """Of all its threads and children."""
    peak_bytes: int
    """Most memory it had in use, without its children; 0 where the system does not tell."""


@dataclass(frozen=True)
class Failure:
    """What ended with an error."""

    task: str
    stage: str
    """Name of the command; ``preparation`` before one, ``results`` where they are damaged."""
    code: int
    line: str
    """The last that it said."""


@dataclass
class _Running:
    task: Task
    stages: Iterator[Stage]
    slot: int
    stage: Stage | None = None
    process: subprocess.Popen | None = None
    log: IO[bytes] | None = None
    started: float = 0.0
    peak: int = 0


@dataclass
class Pool:
    """Runs tasks on ``jobs`` slots.

    Args:
        jobs: Processes at the same time.
        told: Called after every task with its name and its failure, if any.
    """

    jobs: int
    told: Callable[[str, Failure | None], None] = lambda *_: None
    failures: list[Failure] = field(default_factory=list)

    def run(self, tasks: Sequence[Task]) -> list[Failure]:
        """Run all tasks; an interruption is passed on to the processes, which save, before it goes on."""
        waiting, running = list(tasks), list[_Running]()
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    slot = min(set(range(self.jobs)) - {one.slot for one in running})
                    task = waiting.pop(0)
                    running.append(_Running(task, task.stages(), slot))
                running = [one for one in running if not self._step(one)]
                if running:
                    time.sleep(_POLL)
        except BaseException:
            _stop(running)
            raise
        return self.failures

    def _step(self, running: _Running) -> bool:
        """Look at a task, and start its next command where one has ended; whether the task is done."""
        if running.process is not None:
            running.peak = max(running.peak, peak_memory(running.process.pid))
            code, usage = _poll(running.process)
            if code is None:
                return False
            assert running.stage is not None and running.log is not None
            running.log.close()
            seconds = time.monotonic() - running.started
            running.task.finished(running.stage, Spent(seconds, usage, running.peak))
            if code != 0:
                return self._fail(running, running.stage.name, code, last_line(running.task.log))
            running.process = None
        try:
            running.stage = next(running.stages, None)
        except AsrError as error:
            return self._fail(running, "preparation", error.exit_code, str(error))
        if running.stage is None:
            self.told(running.task.name, None)
            return True
        self._start(running, running.stage)
        return False

    def _fail(self, running: _Running, stage: str, code: int, line: str) -> bool:
        """Note a failure; the task is done with it."""
        failure = Failure(running.task.name, stage, code, line)
        self.failures.append(failure)
        self.told(running.task.name, failure)
        return True

    def _start(self, running: _Running, stage: Stage) -> None:
        running.task.log.parent.mkdir(parents=True, exist_ok=True)
        running.log = running.task.log.open("ab")
        running.started, running.peak = time.monotonic(), 0
        running.process = subprocess.Popen(
            [sys.executable, "-m", f"seq2seq_asr.{stage.module}", *stage.flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=running.log,
            env=environment(running.slot, self.jobs),
            start_new_session=True,  # Ctrl-C reaches us alone: twice would stop it without a save
        )


def environment(slot: int, jobs: int) -> dict[str, str]:
    """Surroundings of a process: its share of the cores and, where there are GPUs, one of them."""
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    made = {"OMP_NUM_THREADS": str(threads), **os.environ}
    if count := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        devices: Sequence[str | int] = visible if len(visible) == count and all(visible) else range(count)
        made["CUDA_VISIBLE_DEVICES"] = str(devices[slot % count])
    return made


def default_jobs(accelerator: str) -> int:
    """One a GPU, or one on the CPU."""
    return 1 if accelerator == "cpu" else max(1, torch.cuda.device_count())


def peak_memory(pid: int) -> int:
    """Most bytes that a living process has had in memory (Linux), 0 where that is not told."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    found: Mapping[str, str] = dict(line.split(":", 1) for line in lines if ":" in line)
    return 1024 * int(found.get("VmHWM", "0 kB").split()[0])


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "(it said nothing)"


def _poll(process: subprocess.Popen) -> tuple[int | None, float]:
    """Exit code, None while it runs, and processor seconds."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None, 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def _stop(running: Sequence[_Running]) -> None:
    alive = [one for one in running if one.process is not None and one.process.returncode is None]
    for one in alive:
        assert one.process is not None
        one.process.terminate()  # saves like Ctrl-C, which a background process may have been told to ignore
    for one in alive:
        assert one.process is not None and one.stage is not None and one.log is not None
        one.log.close()
        pid, status, usage = os.wait4(one.process.pid, 0)
        one.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - one.started
        one.task.finished(one.stage, Spent(seconds, usage.ru_utime + usage.ru_stime, one.peak))
