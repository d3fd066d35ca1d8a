"""The average of the weights is what is validated, saved and left behind; training goes on from the weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.averaging import AverageWeights, decay_at
from seq2seq_asr.training.checkpoint import model_weights, read_checkpoint
from seq2seq_asr.training.session import Session, build_parts, train
from seq2seq_asr.training.state import AVERAGED, require_state

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]
Weights = dict[str, torch.Tensor]
DECAY = 0.9


class Stop(Exception):
    """Ends training as abruptly as a crash."""


def averaged(session: Session, decay: float = DECAY) -> Session:
    return replace(session, optimizer=replace(session.optimizer, ema_decay=decay))


def weights(module: torch.nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def largest_difference(one: Weights, other: Weights) -> float:
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


class Follow(Callback):
    """Adds up the average as it is written: a(n) = d(n) a(n-1) + (1 - d(n)) w(n), with a(1) = w(1)."""

    def __init__(self, session: Session, stop_within: int | None = None) -> None:
        self.session, self.stop_within = session, stop_within
        self.weights: list[Weights] = []
        self.averages: list[Weights] = []
        self.validated: list[Weights] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.weights.append(now := weights(pl_module.model))
        decay = decay_at(len(self.weights), DECAY)
        before = self.averages[-1] if self.averages else now
        self.averages.append({name: decay * before[name] + (1 - decay) * value for name, value in now.items()})

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.validated.append(weights(pl_module.model))
        if self.stop_within == len(self.weights):
            trainer.save_checkpoint(self.session.run.last)
            raise Stop


def follow(session: Session, *, resume: bool = False, stop_within: int | None = None) -> Follow:
    train(session, resume=resume, extra_callbacks=[seen := Follow(session, stop_within)])
    return seen


def test_the_average_is_validated_saved_and_left_behind(toy_session: Build) -> None:
    session = averaged(toy_session())
    seen = follow(session)
    last = read_checkpoint(session.run.last)
    assert largest_difference(seen.weights[-1], seen.averages[-1]) > 1e-4
    assert largest_difference(seen.validated[-1], seen.averages[-1]) < 1e-6
    for found in (model_weights(last), weights(session.model)):
        assert largest_difference(seen.averages[-1], found) < 1e-6
    assert largest_difference(seen.weights[-1], model_weights(last, "current_model_state")) == 0


def test_training_itself_is_that_without_an_average(toy_session: Build) -> None:
    follow(plain := toy_session("plain"))
    follow(session := averaged(toy_session("averaged")))
    kept = model_weights(read_checkpoint(session.run.last), "current_model_state")
    assert largest_difference(weights(plain.model), kept) == 0


def test_a_validation_that_is_interrupted_goes_on_with_the_same_bits(toy_session: Build) -> None:
    follow(whole := averaged(toy_session("whole")))
    steps = read_checkpoint(whole.run.last)["global_step"]
    with pytest.raises(Stop):
        follow(averaged(toy_session("stopped")), stop_within=steps // 2)
    follow(resumed := averaged(toy_session("stopped")), resume=True)
    assert largest_difference(weights(whole.model), weights(resumed.model)) == 0


@pytest.mark.parametrize(("before", "after"), [(DECAY, 0.0), (0.0, DECAY)])
def test_a_resumed_run_may_begin_or_end_to_average(toy_session: Build, before: float, after: float) -> None:
    train(toy_session("plain", epochs=1))
    train(plain := toy_session("plain"), resume=True)
    train(averaged(toy_session("changed", epochs=1), before))
    train(changed := averaged(toy_session("changed"), after), resume=True)
    last = read_checkpoint(changed.run.last)
    kept = model_weights(last, "current_model_state" if after else "state_dict")
    assert largest_difference(weights(plain.model), kept) == 0


def test_a_state_without_all_of_its_average_is_refused(toy_session: Build) -> None:
    train(session := averaged(toy_session(epochs=1)))
    checkpoint = read_checkpoint(session.run.last)
    require_state(checkpoint, session.model, session.optimizer, session.run.last)
    for name in AVERAGED:
        with pytest.raises(CheckpointError, match=f"it has no {name}$"):
            rest = {key: value for key, value in checkpoint.items() if key != name}
            require_state(rest, session.model, session.optimizer, session.run.last)
    del checkpoint["current_model_state"]["model.decoder.output.bias"]
    with pytest.raises(CheckpointError, match=r"decoder\.output\.bias is missing"):
        require_state(checkpoint, session.model, session.optimizer, session.run.last)


def test_the_average_lies_where_training_runs(toy_session: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning sets callbacks up before it moves the weights, which are still on the CPU then."""
    module, _ = build_parts(averaged(toy_session()))
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    monkeypatch.setattr(type(trainer.strategy), "root_device", torch.device("meta"))
    (averaging := AverageWeights(DECAY)).setup(trainer, module, "fit")
    assert averaging._average_model is not None
    assert {value.device.type for value in averaging._average_model.parameters()} == {"meta"}
    assert {value.device.type for value in module.parameters()} == {"cpu"}


def test_the_decay_rises_to_what_is_asked_for() -> None:
    decays = [decay_at(step, 0.99) for step in range(1, 2000)]
    assert decays == sorted(decays)
    assert decays[0] == pytest.approx(2 / 11)
    assert decays[-1] == 0.99
