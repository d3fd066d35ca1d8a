"""Processes side by side: order, failures, what they cost, and their surroundings."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from seq2seq_asr.commands.compare.pool import Failure, Pool, Spent, Stage, Task, environment, last_line, peak_memory


def task(folder: Path, name: str, *stages: Stage, done: list[str]) -> Task:
    def walk() -> Iterator[Stage]:
        for stage in stages:
            done.append(f"{name} {stage.name}")
            yield stage

    return Task(name=name, stages=walk, log=folder / f"{name}.log", finished=lambda stage, spent: costs.append(spent))


costs: list[Spent] = []


def test_a_failure_ends_its_task_alone(tmp_path: Path) -> None:
    done: list[str] = []
    told: list[tuple[str, Failure | None]] = []
    costs.clear()
    good, bad = Stage("look", "prepare", ["--help"]), Stage("spoil", "prepare", ["nonsense"])
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(Path(__file__).parents[3])}):
        tasks = [
            task(tmp_path, "first", bad, good, done=done),
            task(tmp_path, "second", good, done=done),
            task(tmp_path, "third", done=done),
        ]
        failures = Pool(2, lambda name, failure: told.append((name, failure))).run(tasks)
    assert [(one.task, one.stage, one.code) for one in failures] == [("first", "spoil", 2)]
    assert failures[0].line == last_line(tmp_path / "first.log") != "(it said nothing)"
    assert set(done) == {"first spoil", "second look"}, "what comes after a failure is not started"
    assert {name: failure is None for name, failure in told} == {"first": False, "second": True, "third": True}
    assert len(costs) == 2 and all(0 < one.cpu_seconds and 0 < one.seconds for one in costs)


def test_cores_are_divided() -> None:
    with mock.patch.dict(os.environ), mock.patch("os.sched_getaffinity", lambda _: set(range(8))):
        os.environ.pop("OMP_NUM_THREADS", None)
        assert [environment(0, jobs)["OMP_NUM_THREADS"] for jobs in (1, 3, 8, 20)] == ["8", "2", "1", "1"]
        os.environ["OMP_NUM_THREADS"] = "3"
        assert environment(0, 8)["OMP_NUM_THREADS"] == "3", "what the user has set stays"


def test_gpus_are_given_in_turn() -> None:
    with mock.patch.dict(os.environ), mock.patch("torch.cuda.device_count", lambda: 2):
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        assert [environment(slot, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "1", "0"]
        os.environ["CUDA_VISIBLE_DEVICES"] = "4,6"
        assert [environment(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["4", "6"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells")
def test_peak_memory_is_that_of_the_process() -> None:
    before = peak_memory(os.getpid())
    block = b"x" * (before // 4 + 2**26)
    assert peak_memory(os.getpid()) >= before > 2**20 and block
    assert peak_memory(2**22 + 1) == 0
