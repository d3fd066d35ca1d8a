"""The trainer around a model: which devices, which callbacks, what an error is called in the end."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import Interrupted
from seq2seq_asr.errors import AudioError, TrainingError, UsageError
from seq2seq_asr.training.faults import clearer_error, stop_children
from seq2seq_asr.training.session import (
    Session,
    build_trainer,
    train,
)
from seq2seq_asr.training.signals import SignalWatch

Build = Callable[..., Session]


@pytest.mark.parametrize(("devices", "world"), [(0, 1), (1, 1), (2, 2)])
def test_devices_of_one_machine(toy_session: Build, devices: int, world: int) -> None:
    session = toy_session()
    session = replace(session, trainer=replace(session.trainer, devices=devices))
    assert build_trainer(session, SignalWatch()).world_size == world


def test_torchrun_tells_the_number_of_processes(toy_session: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}
    for name, value in {**names, "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    session = toy_session()
    trainer = build_trainer(replace(session, trainer=replace(session.trainer, devices=0)), SignalWatch())
    assert (trainer.world_size, trainer.num_nodes, trainer.num_devices) == (4, 2, 2)
    with pytest.raises(UsageError, match="has started 4, but 1 are to train"):
        build_trainer(session, SignalWatch())


def test_one_task_of_slurm_cannot_train_on_two_devices(toy_session: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would start no other process under SLURM, and say nothing."""
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train.sh", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    session = toy_session()
    two = replace(session, trainer=replace(session.trainer, devices=2))
    with pytest.raises(UsageError, match="trainer.devices: srun or torchrun has started 1, but 2 are to train"):
        build_trainer(two, SignalWatch())


def test_an_error_of_the_loop_leaves_as_it_is(toy_session: Build) -> None:
    class Fail(Callback):
        def on_train_batch_end(self, *_: object) -> None:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        train(toy_session(), extra_callbacks=[Fail()])


def test_errors_are_unwrapped() -> None:
    wrapped = AudioError(
        "Caught AudioError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 1\nseq2seq_asr.errors.AudioError: a: b.wav: truncated\n'
    )
    clear = clearer_error(wrapped, 0)
    assert isinstance(clear, AudioError) and str(clear) == "a: b.wav: truncated"
    for error in (AudioError("plain"), RuntimeError("mine"), SystemExit(1)):
        assert clearer_error(error, 0) is error
    assert isinstance(clearer_error(RuntimeError("connection closed by peer"), 1), TrainingError)
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)
    except SystemExit as error:
        assert isinstance(clearer_error(error, 0), Interrupted)


def test_children_that_hang_are_ended_and_those_that_failed_counted() -> None:
    codes = ("raise SystemExit(3)", "pass", "import time; time.sleep(60)")
    children = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
    trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=children)))
    assert stop_children(trainer) == 1
    assert [child.wait(timeout=5) for child in children] == [3, 0, -9]
    assert stop_children(SimpleNamespace(strategy=SimpleNamespace(launcher=None))) == 0
