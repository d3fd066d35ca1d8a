"""SIGINT and SIGTERM lose at most the step under way, wherever they come, and resume ends as if nothing had been."""

import csv
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import Interrupted, Terminated
from seq2seq_asr.training import signals
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.session import Session, train

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]
EPOCHS = 2


class Send(Callback):
    """Sends this process a signal at the nth call of a hook, and counts the steps."""

    def __init__(self, hook: str, nth: int, number: int = signal.SIGINT, action: Callable[[], None] | None = None):
        self.left, self.steps = nth, 0
        self.action = action or (lambda: os.kill(os.getpid(), number))
        setattr(self, hook, self._called)

    def _called(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()

    def on_after_backward(self, *_: Any) -> None:
        self.steps += 1


def weights(session: Session) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in session.model.state_dict().items()}


def figures(session: Session) -> list[dict[str, str]]:
    """Rows of metrics.csv without what depends on the clock."""
    with session.run.metrics.open() as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "data_wait")} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(
    sessions_in: Callable[[Path], Build], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, torch.Tensor], list[dict[str, str]], int]:
    """A run that nothing stops: its weights, its figures, its steps an epoch."""
    session, count = sessions_in(tmp_path_factory.mktemp("whole"))(epochs=EPOCHS), Send("none", 0)
    train(session, extra_callbacks=[count])
    return weights(session), figures(session), count.steps // EPOCHS


# Every other step: test_a_session_for_every_single_step.
PLACES = {
    "last step but one": ("on_train_batch_start", lambda steps: steps - 1),
    "last step": ("on_train_batch_start", lambda steps: steps),
    "validation": ("on_validation_batch_start", lambda steps: 1),
    "end of the epoch": ("on_train_epoch_end", lambda steps: 1),
    "last step of all": ("on_train_batch_start", lambda steps: 2 * steps),
    "last validation": ("on_validation_batch_start", lambda steps: 3),
    "end of the last epoch": ("on_train_epoch_end", lambda steps: 2),
}


def test_a_signal_anywhere_costs_nothing(toy_session: Build, whole: Any) -> None:
    expected, rows, steps = whole
    for number, (place, (hook, nth)) in enumerate(PLACES.items()):
        kind, error = ((signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated))[number % 2]
        first = toy_session(f"stop{number}", epochs=EPOCHS)
        with pytest.raises(error, match="stopped after step .*--resume"):
            train(first, extra_callbacks=[Send(hook, nth(steps), kind)])
        second = toy_session(f"stop{number}", epochs=EPOCHS)
        train(second, resume=True)
        assert figures(second) == rows, place
        assert all(torch.equal(value, expected[name]) for name, value in weights(second).items()), place


def test_the_step_under_way_is_finished_and_no_other_begun(toy_session: Build) -> None:
    send = Send("on_train_batch_start", 3)
    with pytest.raises(Interrupted, match="after step 3;"):
        train(toy_session(), extra_callbacks=[send])
    assert send.steps == 3


def test_an_epoch_without_validation_is_saved_when_it_is_done(toy_session: Build, whole: Any) -> None:
    *_, steps = whole
    session = toy_session(epochs=EPOCHS, validate_every=EPOCHS)
    with pytest.raises(Interrupted, match=f"after step {steps};"):
        train(session, extra_callbacks=[Send("on_train_batch_start", steps)])
    assert read_checkpoint(session.run.last)["global_step"] == steps


def test_a_session_for_every_single_step(toy_session: Build, whole: Any) -> None:
    expected, rows, steps = whole
    for done in range(EPOCHS * steps):
        session = toy_session("chain", epochs=EPOCHS)
        send = Send("on_train_batch_start", 1 if done % steps < steps - 1 else 2)
        try:
            train(session, resume=done > 0, extra_callbacks=[send])
        except Interrupted:
            continue
        break
    session = toy_session("chain", epochs=EPOCHS)
    train(session, resume=True)
    assert figures(session) == rows
    assert all(torch.equal(value, expected[name]) for name, value in weights(session).items())


def test_a_second_signal_stops_at_once(toy_session: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "SAME", 0.01)

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    send = Send("on_train_batch_start", 2, action=twice)
    session = toy_session()
    with pytest.raises(Interrupted):
        train(session, extra_callbacks=[send])
    assert send.steps == 1
    assert not session.run.last.exists()


def test_one_signal_that_comes_twice_is_one(toy_session: Build) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    session = toy_session()
    with pytest.raises(Interrupted, match="after step 2;"):
        train(session, extra_callbacks=[Send("on_train_batch_start", 2, action=twice)])
    assert session.run.last.exists()


def test_data_workers_leave_signals_to_the_training_process(toy_session: Build) -> None:
    def to_workers() -> None:
        for worker in multiprocessing.active_children():
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(worker.pid or 0, number)

    send = Send("on_train_batch_start", 3, action=to_workers)  # both have read a batch by then
    train(toy_session(epochs=2, workers=2), extra_callbacks=[send])
    assert send.left < 0


def test_a_signal_before_the_first_step_ends_the_program(toy_session: Build) -> None:
    with pytest.raises(Interrupted):
        train(toy_session(), extra_callbacks=[Send("on_fit_start", 1)])


def test_a_keyboard_interrupt_of_a_library_is_no_failure(toy_session: Build) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        train(toy_session(), extra_callbacks=[Send("on_train_batch_start", 2, action=interrupt)])


def test_the_signals_are_given_back(toy_session: Build) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(toy_session(epochs=1))
    with pytest.raises(Interrupted):
        train(toy_session("other"), extra_callbacks=[Send("on_train_batch_start", 2)])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
