"""One bad step is passed over and named; many end the training; figures count what was trained on, and only that."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.data.dataset import Example, collate
from seq2seq_asr.errors import TrainingError
from seq2seq_asr.training import dump
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.module import Step, suspects
from seq2seq_asr.training.session import Session, train
from seq2seq_asr.training.validation import VALIDATION_SUMS, validation_rates

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]


class Spoil(Callback):
    """Puts NaN into one utterance of some steps; notes weights, losses and ids of every step."""

    def __init__(self, steps: Callable[[int], bool]) -> None:
        self.steps, self.step = steps, 0
        self.weights: list[torch.Tensor] = []
        self.losses: list[tuple[float, float]] = []
        self.named: list[str] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if self.steps(self.step):
            batch.inputs[-1, 0] = float("nan")
            self.named.append(batch.ids[-1])

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Any) -> None:
        self.losses.append(tuple(module.step.totals.tolist()))

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        self.step += 1
        self.weights.append(torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))


def rows(session: Session) -> list[dict[str, str]]:
    with session.run.metrics.open() as file:
        return list(csv.DictReader(file))


def test_a_step_that_is_not_finite_changes_nothing_and_names_its_utterance(
    toy_session: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, session = Spoil(lambda step: step == 2), toy_session(epochs=1)
    train(session, extra_callbacks=[spoil])
    moved = [not torch.equal(a, b) for a, b in zip(spoil.weights, spoil.weights[1:], strict=False)]
    assert moved[:3] == [True, False, True]
    assert all(weights.isfinite().all() for weights in spoil.weights)
    lines = [line for line in capsys.readouterr().err.splitlines() if "skipped:" in line]
    assert len(lines) == 1
    assert lines[0].startswith("step 2 skipped: loss nan")
    assert lines[0].endswith(f"utterances: {spoil.named[0]}")
    (dumped,) = (session.run.path / "skipped").iterdir()
    kept = torch.load(dumped, weights_only=True)
    assert dumped.name == "step-2-rank-0.pt" and kept["step"] == 2 and kept["suspects"] == (spoil.named[0],)
    assert kept["ids"][-1] == spoil.named[0]
    assert kept["inputs"].isnan().nonzero().tolist() == [[len(kept["ids"]) - 1, 0]]


def test_the_mean_loss_is_that_of_the_steps_that_counted(toy_session: Build) -> None:
    spoil, session = Spoil(lambda step: step in (1, 2)), toy_session(epochs=1)
    train(session, extra_callbacks=[spoil])
    finite = [(loss, tokens) for loss, tokens in spoil.losses if loss == loss]
    assert len(finite) == len(spoil.losses) - 2
    (row,) = rows(session)
    assert row["skipped_steps"] == "2"
    expected = sum(loss for loss, _ in finite) / sum(tokens for _, tokens in finite)
    assert float(row["train_loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(row["gradient_norm"]) > 0


def test_too_many_in_a_row_end_the_training_and_leave_a_sound_checkpoint(toy_session: Build) -> None:
    session = toy_session(epochs=3, max_skipped=2, save_minutes=0.0)
    spoil = Spoil(lambda step: step >= 2)
    with pytest.raises(TrainingError, match="3 steps in a row"):
        train(session, extra_callbacks=[spoil])
    assert spoil.step == 4
    checkpoint = read_checkpoint(session.run.last)
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    train(toy_session(epochs=3), resume=True)


def test_a_good_step_in_between_starts_the_count_again(toy_session: Build) -> None:
    session = toy_session(epochs=1, max_skipped=1)
    train(session, extra_callbacks=[Spoil(lambda step: step % 2 == 0)])
    assert int(rows(session)[0]["skipped_steps"]) >= 2


def test_a_resumed_epoch_has_the_mean_of_all_its_steps(toy_session: Build) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(stopped.run.last)
                raise RuntimeError("stop")

    spoiled = Spoil(lambda step: step == 0)
    train(whole := toy_session("whole", epochs=1), extra_callbacks=[spoiled])
    stopped = toy_session("stopped", epochs=1)
    with pytest.raises(RuntimeError, match="stop"):
        train(stopped, extra_callbacks=[Spoil(lambda step: step == 0), Stop()])
    train(again := toy_session("stopped", epochs=1), resume=True)
    for name in ("train_loss", "gradient_norm", "skipped_steps", "val_wer"):
        assert rows(again)[0][name] == rows(whole)[0][name]


def test_validation_is_missing_where_there_was_none_and_comes_with_the_last_epoch(toy_session: Build) -> None:
    session = toy_session(epochs=5, validate_every=2)
    train(session)
    assert [bool(row["val_wer"]) for row in rows(session)] == [False, True, False, True, True]


@pytest.mark.parametrize(
    ("losses", "total", "named"),
    [
        ([1.0, float("nan")], float("nan"), ("b",)),
        ([float("inf"), float("nan")], float("nan"), ("a", "b")),
        ([1.0, 2.0], 3.0, ("a", "b")),  # the gradient overflowed: any of them
        ([1.0, 2.0], float("nan"), ()),  # another rank's
    ],
)
def test_who_is_to_blame(losses: list[float], total: float, named: tuple[str, ...]) -> None:
    batch = collate([Example(id, "", torch.ones(1), torch.ones(1), True) for id in "ab"])
    assert suspects(Step(batch, torch.tensor(losses), torch.tensor([total, 5.0]))) == named


def test_no_more_batches_are_dumped_than_the_disk_should_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "MOST", 2)
    batch = collate([Example("a", "", torch.ones(1), torch.ones(1), True)])
    found = [dump.dump_batch(tmp_path / "skipped", batch, step, 0, ("a",)) for step in range(3)]
    assert found[2] is None and sorted((tmp_path / "skipped").iterdir()) == found[:2]
    (tmp_path / "file").touch()
    assert dump.dump_batch(tmp_path / "file", batch, 0, 0, ("a",)) is None


def test_validation_rates_are_shares_of_their_own_totals() -> None:
    sums = dict(zip(VALIDATION_SUMS, (6.0, 12.0, 9.0, 1.0, 4.0, 2.0, 10.0), strict=True))
    rates = validation_rates(sums)
    assert rates == {"val_loss": 0.5, "val_accuracy": 0.75, "val_wer": 0.25, "val_cer": 0.2}
    assert all(rate == 0 for rate in validation_rates(dict.fromkeys(VALIDATION_SUMS, 0.0)).values())
