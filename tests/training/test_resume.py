"""A run stopped after any step and resumed ends with the weights of a run that was never stopped."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.training.session import Session, train

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]


class Stop(Exception):
    """Ends training as abruptly as a crash."""


class Watch(Callback):
    """Notes the utterances of every step, and stops after one of them once it is saved."""

    def __init__(self, session: Session, stop_after: int | None = None) -> None:
        self.session, self.stop_after = session, stop_after
        self.batches: list[tuple[str, ...]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch.ids)
        if len(self.batches) == self.stop_after:
            trainer.save_checkpoint(self.session.run.last)
            raise Stop


def run(session: Session, *, resume: bool = False, stop_after: int | None = None) -> Watch:
    watch = Watch(session, stop_after)
    train(session, resume=resume, extra_callbacks=[watch])
    return watch


def weights(session: Session) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in session.model.state_dict().items()}


@pytest.mark.parametrize(
    ("workers", "every"), [(0, True), (2, False), pytest.param(2, True, marks=pytest.mark.nightly)]
)
def test_resume_after_any_step_is_bit_exact(toy_session: Build, workers: int, every: bool) -> None:
    whole = toy_session("whole", workers=workers)
    batches = run(whole).batches
    expected = weights(whole)
    steps = range(1, len(batches)) if every else (2, len(batches) - 1)
    for stop in steps:
        first = toy_session(f"stop{stop}", workers=workers)
        with pytest.raises(Stop):
            run(first, stop_after=stop)
        second = toy_session(f"stop{stop}", workers=workers)
        rest = run(second, resume=True).batches
        assert batches[stop:] == rest, f"batches after stopping at step {stop}"
        for name, value in weights(second).items():
            assert torch.equal(value, expected[name]), f"{name} after stopping at step {stop}"


def test_resume_from_the_end_of_an_epoch(toy_session: Build) -> None:
    whole = toy_session("whole", epochs=3)
    batches = run(whole).batches
    short = toy_session("short", epochs=1)

    class StopAtEpochEnd(Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, module: Any) -> None:
            if trainer.current_epoch == 1:
                raise Stop

    long = toy_session("short", epochs=3)
    with pytest.raises(Stop):
        train(long, extra_callbacks=[StopAtEpochEnd()])
    resumed = toy_session("short", epochs=3)
    rest = run(resumed, resume=True).batches
    assert rest == batches[len(batches) // 3 :]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())
    del short


def test_a_toy_is_learnt_to_word_error_rate_zero(toy_session: Build) -> None:
    session = toy_session("learnt", epochs=25, lr=2e-2, speed=0.0, validate_every=25)
    trainer = train(session)
    assert float(trainer.callback_metrics["val_wer"]) == 0.0


class Rates(Callback):
    """Notes the learning rate and weight decay of every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float, float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        matrices, others = trainer.optimizers[0].param_groups
        self.seen.append((matrices["lr"], matrices["weight_decay"], others["weight_decay"]))


def test_a_resumed_run_goes_on_at_the_rates_asked_for(toy_session: Build) -> None:
    """A twentieth of the learning rate is that at every step, from the first one on."""
    whole, first = toy_session("whole", lr=2e-3), toy_session("rates", lr=2e-3)
    expected, found = Rates(), Rates()
    train(whole, extra_callbacks=[expected])
    with pytest.raises(Stop):
        run(first, stop_after=3)
    second = toy_session("rates", lr=1e-4)
    second = replace(second, optimizer=replace(second.optimizer, weight_decay=0.5))
    train(second, resume=True, extra_callbacks=[found])
    assert [rate for rate, _, _ in found.seen] == pytest.approx([rate / 20 for rate, _, _ in expected.seen[3:]])
    assert {one[1:] for one in found.seen} == {(0.5, 0.0)}
