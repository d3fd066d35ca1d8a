"""Memory that runs out, workers that die or hang, folders that take no checkpoint: one line that says what to do."""

import os
import resource
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import Terminated
from seq2seq_asr.data import dataset
from seq2seq_asr.errors import AudioError, CheckpointError, TrainingError
from seq2seq_asr.nn.specaugment import SpecAugmentConfig
from seq2seq_asr.training import probing, requeue
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.metrics import read_rows
from seq2seq_asr.training.probing import ProbeMemory
from seq2seq_asr.training.room import check_room, state_bytes
from seq2seq_asr.training.session import Session, build_parts, train
from seq2seq_asr.whole_file import temporary_of

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]


def run_out_of_memory(*_: Any) -> None:
    torch.empty(2**58)


class Note(Callback):
    """Counts steps; runs out of memory in one of them."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.steps = at, 0
        self.ids: tuple[str, ...] = ()

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        self.steps += 1
        if self.steps == self.at:
            self.ids = module.batch_ids
            run_out_of_memory()


def test_memory_that_runs_out_while_training_names_the_batch_and_the_setting(toy_session: Build) -> None:
    note = Note(at=2)
    with pytest.raises(TrainingError, match=r"lower data\.batching\.batch_seconds \(now 1\.2\)") as caught:
        train(toy_session(), extra_callbacks=[note])
    assert len(note.ids) > 1 and f"batch: {' '.join(note.ids)};" in str(caught.value)


def test_the_longest_batch_is_probed_before_the_first_step(toy_session: Build) -> None:
    session, note = toy_session(), Note()
    longest = max(session.train, key=lambda utterance: utterance.duration)

    def too_long(module: Any, inputs: Any) -> None:
        if inputs[0].shape[1] >= longest.duration * 8000 / 0.9:
            run_out_of_memory()

    session.model.register_forward_pre_hook(too_long)
    with pytest.raises(TrainingError, match="out of memory; batch: .*lower data.batching") as caught:
        train(session, extra_callbacks=[ProbeMemory(everywhere=True), note])
    assert note.steps == 0
    named = str(caught.value).partition("batch: ")[2].partition(";")[0].split()
    assert {one.duration for one in session.train if one.id in named} == {longest.duration}
    assert not session.run.last.exists()


def test_a_probe_changes_nothing(toy_session: Build) -> None:
    weights = []
    for name, callbacks in (("plain", []), ("probed", [ProbeMemory(everywhere=True)])):
        train(session := toy_session(name, epochs=1), extra_callbacks=callbacks)
        weights.append([value.clone() for value in session.model.state_dict().values()])
    assert all(map(torch.equal, *weights))


def test_the_probed_batch_is_as_long_as_the_slowest_speed_makes_it(toy_session: Build) -> None:
    _, feeding = build_parts(toy_session(speed=1.0))
    batch = probing.largest_batch(feeding, 0, 1)
    seconds = max(utterance.duration for utterance in feeding.train)
    assert batch.inputs.shape[1] == int(batch.lengths.max()) >= int(seconds * 8000 / 0.9)
    _, feeding = build_parts(toy_session("even", speed=0.0))
    assert probing.largest_batch(feeding, 0, 1).inputs.shape[1] == round(seconds * 8000)
    one, *others = probing.largest_batch(feeding, 0, 1, tempo=0.25).inputs.chunk(4, dim=1)
    assert one.shape[1] == round(seconds * 8000) and all(torch.equal(one, other) for other in others)


def test_tempo_is_probed_at_its_slowest_and_not_by_chance(toy_session: Build) -> None:
    session, frames = toy_session(speed=0.0), []
    config = replace(session.model.config, specaugment=SpecAugmentConfig(slowest=0.5, fastest=2.0))
    session = replace(session, model=type(session.model)(config, len(session.tokenizer)))
    session.model.encoder.register_forward_pre_hook(lambda _, given: frames.append(given[0].shape[1]))
    note = Note(at=1)
    with pytest.raises(TrainingError, match="out of memory"):
        train(session, extra_callbacks=[ProbeMemory(everywhere=True), note])
    longest = max(utterance.duration for utterance in session.train)
    assert frames[0] == pytest.approx(2 * longest * 100, abs=3) and session.model.specaugment.training


def spoil(monkeypatch: pytest.MonkeyPatch, path: Path | None, action: Callable[[], None]) -> None:
    """Reading a file does that first."""
    read = dataset.read_audio

    def reading(given: Path, **keywords: Any) -> np.ndarray:
        if given == path:
            action()
        return read(given, **keywords)

    monkeypatch.setattr(dataset, "read_audio", reading)


@pytest.mark.parametrize("fault", ["dies", pytest.param("hangs", marks=pytest.mark.nightly)])
def test_a_worker_that_dies_or_hangs_ends_the_training_and_names_the_utterance(
    toy_session: Build, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    session = toy_session(workers=2, read_timeout=2.0)
    victim = session.train[5]
    action = (lambda: os.kill(os.getpid(), signal.SIGKILL)) if fault == "dies" else (lambda: time.sleep(600))
    spoil(monkeypatch, victim.audio, action)
    started = time.monotonic()
    with pytest.raises(AudioError, match=f"^{victim.id}: being read when a data worker failed .*DataLoader"):
        train(session)
    assert time.monotonic() - started < 40  # torch waits five seconds for each worker


def test_usr1_saves_and_requeues_the_slurm_job(
    toy_session: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")

    class Warn(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 1:
                os.kill(os.getpid(), signal.SIGUSR1)

    session = toy_session()
    with pytest.raises(Terminated, match="stopped after step 2"):
        train(session, extra_callbacks=[Warn()])
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert "job 77 is requeued" in capsys.readouterr().err
    assert read_checkpoint(session.run.last)["global_step"] == 2


def test_a_job_that_cannot_be_requeued_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue.requeue(str(requeue.job_id()))
    assert capsys.readouterr().err.startswith("warning: job 5_3 cannot be requeued")


def test_a_full_disk_is_found_before_the_first_step(toy_session: Build) -> None:
    session, note = toy_session(), Note()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (state_bytes(session.model) // 2, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=f"^{session.run.path}: checkpoints cannot be written .*about 0.. MB"):
            train(session, extra_callbacks=[note])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert note.steps == 0 and list(session.run.path.iterdir()) == []


def test_the_room_asked_for_is_that_of_a_checkpoint(toy_session: Build) -> None:
    train(session := toy_session(epochs=1))
    assert state_bytes(session.model) == pytest.approx(session.run.last.stat().st_size, rel=0.4)


def test_a_folder_that_others_own_is_found_before_the_first_step(tmp_path: Path) -> None:
    """In a process without the rights of root."""
    tmp_path.chmod(0o555)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)
            check_room(tmp_path, 10)
        except CheckpointError as error:
            os._exit(7 if f"{tmp_path}: checkpoints cannot be written (Permission denied" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    tmp_path.chmod(0o755)


def test_a_disk_that_fills_up_while_training_keeps_the_checkpoint(
    toy_session: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fill(Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    session = toy_session()
    try:
        with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be written"):
            train(session, extra_callbacks=[Fill()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_checkpoint(session.run.last)["Feeding"] == {"epoch": 1, "consumed": 0}
    again = toy_session()
    train(replace(again, resume_from=again.run.last), resume=True)


def test_figures_that_cannot_be_written_cost_no_epoch_and_are_written_later(
    toy_session: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    session = toy_session(epochs=3)
    in_the_way = temporary_of(session.run.metrics)

    class Fill(Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 1:
                in_the_way.mkdir()

        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 2:
                assert read_checkpoint(session.run.last)["Feeding"] == {"epoch": 2, "consumed": 0}
                assert len(read_rows(session.run.metrics)) == 1
                in_the_way.rmdir()

    train(session, extra_callbacks=[Fill()])
    told = [line for line in capsys.readouterr().err.splitlines() if "cannot be written" in line]
    why = "cannot be written (Is a directory); tried again after the next epoch"
    assert told == [f"warning: {session.run.metrics}: {why}"]
    assert [row["epoch"] for row in read_rows(session.run.metrics)] == ["0", "1", "2"]


def test_a_run_goes_on_from_an_older_state_and_sets_the_damaged_one_aside(
    toy_session: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    train(whole := toy_session("whole", epochs=2))
    train(session := toy_session("hurt", epochs=2))
    session.run.last.write_bytes(session.run.last.read_bytes()[:-9])
    (session.run.path / ".last.ckpt.123.tmp").touch()
    again = toy_session("hurt", epochs=2)
    train(replace(again, resume_from=again.run.previous), resume=True)
    told = capsys.readouterr().err
    assert ".last.ckpt.123.tmp, left by an interrupted save" in told and "renamed" in told
    assert (session.run.path / "last.ckpt.damaged").exists()
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.model.state_dict().items())
