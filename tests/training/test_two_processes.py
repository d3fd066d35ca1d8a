"""Two processes, forked and joined by gloo: resume is exact on any number of them, and all end alike."""

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import exit_code_of
from seq2seq_asr.errors import TrainingError
from seq2seq_asr.training.probing import ProbeMemory
from seq2seq_asr.training.processes import end_with_parent
from seq2seq_asr.training.session import Session, train

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]
EPOCHS = 2


class Stop(TrainingError):
    """Ends training as abruptly as a crash, on all ranks."""


class Watch(Callback):
    """Notes the utterances that counted in every step; stops after one of them, which is saved."""

    def __init__(self, stop_after: int = 0) -> None:
        self.stop_after = stop_after
        self.batches: list[list[str]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append([id for id, counted in zip(batch.ids, batch.counted.tolist(), strict=True) if counted])
        place = Path(trainer.default_root_dir) / f"seen-{trainer.world_size}-{trainer.global_rank}.json"
        place.write_text(json.dumps(self.batches))
        if trainer.global_step == self.stop_after:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "last.ckpt")
            raise Stop("stopped")


def forked(world: int, action: Callable[[int], object]) -> list[int]:
    """Run an action in so many processes, as torchrun starts them; their pids. Tests import torch once only."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [_fork(rank, world, port, action) for rank in range(world)]


def _fork(rank: int, world: int, port: int, action: Callable[[int], object]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    code = 70
    try:
        code = exit_code_of(lambda _: int(bool(action(rank))), [])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(pids: list[int], seconds: float = 60.0) -> list[int]:
    """Exit codes; processes that do not end in time are killed and count as -9."""
    codes: dict[int, int] = {}
    until = time.monotonic() + seconds
    while len(codes) < len(pids):
        for pid in set(pids) - codes.keys():
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return [codes[pid] for pid in pids]


def run(build: Build, name: str, world: int, *, resume: bool = False, stop_after: int = 0, workers: int = 0) -> Path:
    """Train in so many processes; the folder, with ``weights.pt`` in it."""

    def action(rank: int) -> None:
        session = build(name, epochs=EPOCHS, workers=workers, devices=world, precision="32-true")
        train(session, resume=resume, extra_callbacks=[Watch(stop_after)])
        if rank == 0:
            torch.save(session.model.state_dict(), session.run.path / "weights.pt")

    codes = ended(forked(world, action), 300.0)
    assert codes == [1 if stop_after else 0] * world
    return build(name).run.path


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path / "weights.pt", weights_only=True)


def batches(path: Path, world: int) -> list[list[str]]:
    """Utterances of every global step, whichever rank had them."""
    ranks = [json.loads((path / f"seen-{world}-{rank}.json").read_text()) for rank in range(world)]
    assert len({len(steps) for steps in ranks}) == 1
    return [sorted(id for ids in steps for id in ids) for steps in zip(*ranks, strict=True)]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.nightly)])
def test_two_processes_resume_bit_exactly(toy_session: Build, workers: int) -> None:
    """With speed perturbation, masks and dropout; from every step where there is time."""
    whole = run(toy_session, "whole", 2, workers=workers)
    steps = len(batches(whole, 2))
    for stop in (steps // 2 + 1,) if workers == 0 else range(1, steps):
        half = run(toy_session, f"half{stop}", 2, stop_after=stop, workers=workers)
        begun = batches(half, 2)
        run(toy_session, f"half{stop}", 2, resume=True, workers=workers)
        assert begun + batches(half, 2) == batches(whole, 2)
        assert all(torch.equal(value, weights(half)[name]) for name, value in weights(whole).items())


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_processes_sees_every_utterance_of_the_epoch_once(
    toy_session: Build, before: int, after: int
) -> None:
    path = run(toy_session, "changed", before, stop_after=2)
    begun = batches(path, before)
    run(toy_session, "changed", after, resume=True)
    seen = begun + batches(path, after)
    assert len(seen) % EPOCHS == 0
    for epoch in range(EPOCHS):
        part = seen[epoch * len(seen) // EPOCHS :][: len(seen) // EPOCHS]
        assert sorted(id for ids in part for id in ids) == sorted(str(number) for number in range(12))


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_rank_is_killed_the_other_ends_within_a_minute(
    toy_session: Build, tmp_path: Path, killed: int
) -> None:
    class Die(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 2 and trainer.global_rank == killed:
                os.kill(os.getpid(), signal.SIGKILL)

    def action(rank: int) -> None:
        session = toy_session("killed", epochs=500, devices=2, precision="32-true")
        try:
            train(session, extra_callbacks=[Die()])
        except RuntimeError as error:  # gloo's
            raise TrainingError(str(error).splitlines()[0]) from error

    codes = ended(forked(2, action))
    assert codes[killed] == -signal.SIGKILL and codes[1 - killed] == 1


def test_a_process_that_we_launched_ends_with_the_one_that_launched_it() -> None:
    """Under NCCL it would wait for ten minutes."""
    reading, writing = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        if os.fork() == 0:
            end_with_parent(os.getppid(), seconds=0.05)
            os.write(writing, b"begun\n")
            time.sleep(60)
        time.sleep(60)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.readline() == "begun\n"
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
        started = time.monotonic()
        assert told.read() == ""  # at the end of the last process that could write
    assert time.monotonic() - started < 20


def test_what_one_rank_meets_all_decide_on(toy_session: Build) -> None:
    """A step that is not finite on one rank is skipped on both; memory that one lacks ends both."""

    class Spoil(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_rank == 1:
                batch.inputs[0, 0] = float("nan")

    def skip(rank: int) -> None:
        train(toy_session("nan", devices=2, max_skipped=2, precision="32-true"), extra_callbacks=[Spoil()])

    def lack(rank: int) -> None:
        session = toy_session("memory", devices=2, precision="32-true")
        if rank == 1:
            session.model.register_forward_pre_hook(lambda *_: (torch.empty(2**58), None)[1])
        train(session, extra_callbacks=[ProbeMemory(everywhere=True)])

    assert ended(forked(2, skip)) == [1, 1]
    dumps = sorted(path.name for path in (toy_session("nan").run.path / "skipped").iterdir())
    assert dumps == [f"step-{step}-rank-1.pt" for step in range(3)]
    assert ended(forked(2, lack)) == [1, 1]
