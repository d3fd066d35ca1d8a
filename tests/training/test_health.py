"""Attention health in training: what validation adds up, where it is written, and the warning."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.data.dataset import Batch, Example, collate
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.attention.health import attention_health
from seq2seq_asr.nn.losses import shift_targets
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.training import metrics
from seq2seq_asr.training.alignment import WatchAlignment, is_formed, warning
from seq2seq_asr.training.health import HEALTH_COLUMNS, HEALTH_SUMS, add_health, health_rates
from seq2seq_asr.training.session import Session, train
from seq2seq_asr.training.settings import LoggingConfig
from seq2seq_asr.training.validation import VALIDATION_SUMS
from seq2seq_asr.training.wandb_log import WandbLog

Build = Callable[..., Session]
UNFORMED = {"attention_diagonal": 0.12, "attention_diagonal_uniform": 0.11}
FORMED = {"attention_diagonal": 0.7, "attention_diagonal_uniform": 0.3}


def rows(session: Session) -> list[dict[str, str]]:
    with session.run.metrics.open() as file:
        return list(csv.DictReader(file))


def batch_of(model: Seq2Seq) -> Batch:
    draw = torch.Generator().manual_seed(0)
    lengths, texts = (2000, 3200, 1100), ([5, 6], [6, 5, 7, 5], [7])
    return collate(
        [
            Example(str(place), "", 0.1 * torch.randn(size, generator=draw), torch.tensor(tokens), place != 2)
            for place, (size, tokens) in enumerate(zip(lengths, texts, strict=True))
        ]
    )


def altered(session: Session, **attention: Any) -> Session:
    """The session with another attention."""
    torch.manual_seed(0)
    config = replace(session.model.config, attention=AttentionConfig(**attention))
    return replace(session, model=Seq2Seq(config, len(session.tokenizer)))


@pytest.mark.parametrize("heads", [1, 2])
def test_sums_are_of_the_models_own_alignments(heads: int, toy_session: Build) -> None:
    model = altered(toy_session(), kind="location", size=16, filters=2, width=5, heads=heads).model.eval()
    assert isinstance(model, Seq2Seq)
    batch, sums = batch_of(model), dict.fromkeys(HEALTH_SUMS, 0.0)
    with torch.no_grad():
        losses = model(batch.inputs, batch.lengths, batch.tokens, batch.token_lengths)
        add_health(sums, model, batch, losses.alignments)
        encoded = model.encode(batch.inputs, batch.lengths)
        read, _ = shift_targets(batch.tokens, batch.token_lengths)
        _, alignments = model.decoder(read, model.memory(encoded))
    one_by_one = [
        attention_health(alignments[row : row + 1, : tokens + 1, :frames], torch.tensor([tokens + 1]), frames[None])
        for row, (tokens, frames) in enumerate(zip(batch.token_lengths.tolist(), encoded.lengths, strict=True))
    ]
    assert sums["attended"] == 2  # the third is there to fill a batch, and does not count
    for place, name in enumerate(HEALTH_COLUMNS):
        expected = float(one_by_one[0][place]) + float(one_by_one[1][place])
        assert sums[name] == pytest.approx(expected, rel=1e-5)
        assert health_rates(sums)[name] == pytest.approx(expected / 2, rel=1e-5)


@pytest.mark.parametrize(("seconds", "drawings"), [(0.0, 2), (1000.0, 1)])
def test_a_run_writes_the_columns_and_draws_them(
    toy_session: Build, monkeypatch: pytest.MonkeyPatch, seconds: float, drawings: int
) -> None:
    """After every validation, or, where those follow one another faster, at the end."""
    drawn: list[str] = []
    monkeypatch.setattr(metrics, "SECONDS_A_DRAWING", seconds)
    monkeypatch.setattr(metrics, "save_figure", lambda _, path: drawn.append(path.name))
    train(session := toy_session(epochs=3, validate_every=2))
    written = rows(session)
    assert [bool(row["attention_diagonal"]) for row in written] == [False, True, True]
    assert set(HEALTH_COLUMNS) < set(written[0])
    last = {name: float(written[-1][name]) for name in HEALTH_COLUMNS}
    assert last.pop("attention_entropy") > 0 and all(0 <= value <= 1 for value in last.values())
    assert drawn == ["learning_curves.png", "attention_health.png"] * drawings


def test_without_attention_there_are_no_columns_and_no_warning(
    toy_session: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(metrics, "save_figure", lambda _, path: drawn.append(path.name))
    session = altered(toy_session(epochs=1), kind="none")
    train(replace(session, logging=replace(session.logging, alignment_epochs=1, alignment_floor=1.0)))
    (row,) = rows(session)
    assert not [name for name in row if name.startswith("attention_")] and float(row["val_wer"]) >= 0
    assert drawn == ["learning_curves.png"] and "no alignment" not in capsys.readouterr().err


def test_the_warning_says_what_to_do() -> None:
    assert warning(UNFORMED, 3) == (
        "warning: no alignment after 3 epochs (diagonal mass 0.12, uniform would be 0.11): "
        "raise model.ctc_weight or start with shorter utterances"
    )


@pytest.mark.parametrize(
    ("mass", "uniform", "floor", "formed"),
    [(0.12, 0.11, 0.15, False), (0.7, 0.3, 0.5, True), (0.64, 0.3, 0.5, False), (0.3, 0.3, 0.0, True)],
)
def test_formed_is_a_share_of_the_way_from_uniform_to_all(mass, uniform, floor, formed) -> None:
    assert is_formed({"attention_diagonal": mass, "attention_diagonal_uniform": uniform}, floor) is formed
    assert is_formed({}, floor)


class Validated(pl.LightningModule):
    """A module that has just been validated."""

    validated: dict[str, float]


class Sent(WandbLog):
    """Takes what would go to W&B."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def send(self, step: int, values: Any) -> None:
        self.values.append(values)


def epochs(watch: WatchAlignment, found: list[dict[str, float]], first: int = 0) -> list[int]:
    """The epochs, from 1, at which the watch speaks."""
    trainer = pl.Trainer(logger=False, accelerator="cpu", barebones=True)
    module, spoken = Validated(), []
    for epoch, figures in enumerate(found, start=first):
        trainer.fit_loop.epoch_progress.current.completed = epoch
        module.validated, before = figures, watch.said
        watch.on_train_epoch_end(trainer, module)
        spoken += [epoch + 1] * (watch.said and not before)
    return spoken


@pytest.mark.parametrize(
    ("after", "found", "spoken"),
    [
        (3, [UNFORMED] * 6, [3]),
        (3, [{}, UNFORMED, {}, UNFORMED, {}, UNFORMED], [4]),  # the first validation from then on
        (3, [UNFORMED, UNFORMED, FORMED, FORMED], []),
        (3, [FORMED, FORMED, FORMED, UNFORMED], [4]),  # it was lost again
        (1, [UNFORMED] * 2, [1]),
        (0, [UNFORMED] * 9, []),
        (3, [{}] * 9, []),
    ],
)
def test_it_is_said_once_when_it_is_due(after, found, spoken, capsys: pytest.CaptureFixture[str]) -> None:
    sent = Sent()
    watch = WatchAlignment(LoggingConfig(alignment_epochs=after), sent)
    assert epochs(watch, found) == spoken
    said = [line for line in capsys.readouterr().err.splitlines() if "no alignment" in line]
    assert len(said) == len(sent.values) == len(spoken)
    if spoken:
        assert said == [sent.values[0]["attention_warning"]] and f"after {spoken[0]} epochs" in said[0]


def test_a_resumed_run_says_it_no_second_time(
    toy_session: Build, capsys: pytest.CaptureFixture[str], draw_no_curves: None
) -> None:
    def run(epochs: int, resume: bool) -> int:
        session = toy_session(epochs=epochs)
        strict = replace(session.logging, alignment_epochs=1, alignment_floor=1.0)
        train(replace(session, logging=strict), resume=resume)
        return capsys.readouterr().err.count("warning: no alignment after 1 epochs")

    assert run(1, resume=False) == 1
    assert run(2, resume=True) == 0


@pytest.mark.parametrize("wrong", [{"alignment_epochs": -1}, {"alignment_floor": 1.5}, {"alignment_floor": -0.1}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"logging.{next(iter(wrong))}"):
        LoggingConfig(**wrong)


def test_clipped_steps_are_counted(toy_session: Build, draw_no_curves: None) -> None:
    class Look(Callback):
        def __init__(self) -> None:
            self.norms: list[float] = []

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            self.norms.append(module.step_norm)

    session = toy_session(epochs=2)
    session = replace(session, optimizer=replace(session.optimizer, clip_norm=4.0))
    train(session, extra_callbacks=[look := Look()])
    above = [norm > 4.0 for norm in look.norms]
    assert 0 < sum(above) < len(above), look.norms
    shares = [float(row["clipped_share"]) for row in rows(session)]
    assert sum(shares) / 2 == pytest.approx(sum(above) / len(above), rel=1e-5)


def test_a_checkpoint_from_before_there_were_clipped_steps_goes_on(toy_session: Build, tmp_path: Path) -> None:
    from seq2seq_asr.training.session import build_parts

    module, _ = build_parts(toy_session())
    module.on_load_checkpoint({"epoch_sums": {"loss": 1.0, "tokens": 2.0, "norm": 3.0, "steps": 4, "skipped": 0}})
    assert module.epoch_sums["clipped"] == 0.0 and module.train_loss == 0.5


def test_every_sum_of_validation_has_a_name_of_its_own() -> None:
    assert len({*VALIDATION_SUMS, *HEALTH_SUMS}) == len(VALIDATION_SUMS) + len(HEALTH_SUMS)
