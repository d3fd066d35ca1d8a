"""What is told of an epoch, in ``metrics.csv``, on stderr and in the bar."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console

from seq2seq_asr.training import bar, metrics
from seq2seq_asr.training.callbacks import SaveCheckpoints
from seq2seq_asr.training.checkpoint import read_checkpoint, write_atomically
from seq2seq_asr.training.criterion import ACCURACY, CER, WER, Criterion, find_criterion
from seq2seq_asr.training.metrics import COLUMNS, EpochClock, LearningCurves, epoch_line, read_rows, write_rows
from seq2seq_asr.training.session import Session, train
from seq2seq_asr.training.settings import LoggingConfig
from seq2seq_asr.training.wandb_log import WandbLog

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]
FIGURES = {"epoch": 2.0, "train_loss": 0.5, "seconds": 12.3, "data_wait": 0.04, "skipped_steps": 0.0}


def test_the_line_of_an_epoch() -> None:
    assert epoch_line(FIGURES, 9) == "epoch 3/9: train loss 0.500, 12.3 s, data wait 4 %"
    validated = FIGURES | {"val_loss": 0.25, "val_wer": 0.0312, "skipped_steps": 2.0}
    assert epoch_line(validated, 9) == (
        "epoch 3/9: train loss 0.500, val loss 0.250, val WER 3.12 %, 12.3 s, data wait 4 %, 2 steps skipped"
    )


def test_the_line_of_a_classifiers_epoch() -> None:
    validated = FIGURES | {"val_loss": 0.25, "val_accuracy": 0.75}
    assert epoch_line(validated, 9, ACCURACY) == (
        "epoch 3/9: train loss 0.500, val loss 0.250, val accuracy 75.00 %, 12.3 s, data wait 4 %"
    )


WER_TEXTS = [
    ["turn on the light", "call anna"],
    ["seven", "zero"],
    ["北京", "数字", "speech", "忠告"],
    ["北京 上海 数字", "语音 识别 speech"],
    ["而 对 楼市 成交 抑制 作用 最 大 的 限 购", "也 成为 地方 政府 的 眼中 钉", "我 在 清华大学附属中学 学习"],
    ["안녕하세요 여러분 반갑습니다", "donaudampfschifffahrtsgesellschaft"],
    ["ありがとう", "コンピューター", "สวัสดี"],
    ["我认为跑步最重要的就是给我带来了身体健康", "on", "off"],
    [],
]
CER_TEXTS = [
    ["我认为跑步最重要的就是给我带来了身体健康", "而对楼市成交抑制作用最大的限购", "好"],
    ["因此土地储备至关重要 甚至出现了地面沉降"],
    ["木曜日停戦会談は何の進展もないまま終了しました"],
    ["เขาอยากจะไปเที่ยวทะเลกับเพื่อน"],
]


@pytest.mark.parametrize(("criterion", "texts"), [(WER, one) for one in WER_TEXTS] + [(CER, one) for one in CER_TEXTS])
def test_a_sentence_written_without_spaces_is_judged_by_its_characters(criterion: Criterion, texts: list[str]) -> None:
    assert find_criterion("auto", texts) == criterion
    assert find_criterion("wer", texts) == WER and find_criterion("cer", texts) == CER


def test_a_criterion_orders_runs_by_what_they_get_wrong() -> None:
    assert WER.error({"val_wer": 0.2, "val_accuracy": 0.9}) == 0.2
    assert ACCURACY.error({"val_wer": 0.2, "val_accuracy": 0.75}) == 0.25
    assert WER.error({}) == ACCURACY.error({"val_wer": 0.0}) == float("inf")


def test_rows_come_back_and_a_cut_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = [{name: str(number) for name in COLUMNS} for number in range(3)]
    write_rows(path, rows)
    assert read_rows(path) == rows
    path.write_text(path.read_text() + "3,17,0.")
    assert read_rows(path) == rows
    assert [one.name for one in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("first", [SaveCheckpoints, LearningCurves])
def test_every_epoch_has_one_row_wherever_its_end_was_cut_off(
    first: type[Callback], toy_session: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("the power is gone")

    with monkeypatch.context() as cut, pytest.raises(RuntimeError, match="power"):
        cut.setattr(first, "on_train_epoch_end", die)
        train(toy_session())
    train(session := toy_session(), resume=True)
    assert [row["epoch"] for row in read_rows(session.run.metrics)] == ["0", "1"]


def test_the_clock_tells_waiting_from_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 1.0, 4.0, 6.0, 8.0, 18.0])
    monkeypatch.setattr(metrics.time, "monotonic", lambda: next(now))
    clock: Any = EpochClock()  # at 0
    nobody = pl.Trainer(logger=False, accelerator="cpu", barebones=True), pl.LightningModule()
    clock.on_train_epoch_start(*nobody)
    clock.on_train_batch_start()  # 1 s waited
    clock.on_train_batch_end()  # 3 s trained
    clock.on_train_batch_start()  # 2 s waited
    clock.on_train_batch_end()  # 2 s trained
    clock.on_validation_end(*nobody)
    assert clock.data_wait == pytest.approx(3 / 8)
    assert clock.seconds == 18.0


class Interrupt(Callback):
    """Saves and stops after the second step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "last.ckpt")
            raise RuntimeError("the power is gone")


@pytest.mark.parametrize("older", [False, True])
def test_an_epoch_that_is_resumed_took_both_parts(older: bool, toy_session: Build) -> None:
    """A checkpoint of before there was the clock's state is resumed all the same."""
    session = toy_session(epochs=2)
    with pytest.raises(RuntimeError, match="power"):
        train(session, extra_callbacks=[Interrupt()])
    state = read_checkpoint(session.run.last)
    spent = state["callbacks"].pop("EpochClock")
    assert 0 <= spent["waited"] < spent["seconds"] < 900
    if not older:
        state["callbacks"]["EpochClock"] = spent | {"seconds": 900.0}
    write_atomically(state, session.run.last)
    train(toy_session(epochs=2), resume=True)
    first, second = [float(row["seconds"]) for row in read_rows(session.run.metrics)]
    assert (first > 900) is not older and second < 900


def test_the_learning_rate_that_is_told_is_that_of_the_step_told_of(toy_session: Build) -> None:
    used: list[float] = []
    sent: dict[int, float] = {}

    class Used(Callback):
        def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
            used.append(optimizer.param_groups[0]["lr"])

    class Sent(WandbLog):
        def on_fit_start(self, *_: Any) -> None:
            """Without W&B."""

        def send(self, step: int, values: Any) -> None:
            sent[step] = values.get("train/lr", sent.get(step))

    session = toy_session(epochs=2)
    log = Sent(session.run, LoggingConfig(every=1), {}, EpochClock())
    train(session, extra_callbacks=[Used(), log])
    assert len(set(used)) > 3 and list(sent.values()) == used
    rows = read_rows(session.run.metrics)
    assert [row["lr"] for row in rows] == [f"{used[int(row['step']) - 1]:.6g}" for row in rows]


def test_a_late_batch_is_hinted_at_once(toy_session: Build, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(metrics, "WAIT_TO_MENTION", -1.0)
    train(toy_session(epochs=2))
    err = capsys.readouterr().err
    assert err.count("--data.workers") == 1
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [60, *(pytest.param(wide, marks=pytest.mark.nightly) for wide in (80, 120))])
def test_the_bar_is_one_line(width: int, toy_session: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(bar, "Console", lambda **_: console)
    monkeypatch.setattr(bar, "on_a_terminal", lambda: True)
    monkeypatch.setattr(bar, "REDRAWN", 0.0)
    session = toy_session(epochs=2, validate_every=2)
    shown = with_bar(session)
    assert shown, "no bar was made"
    lines = [line for line in screen.getvalue().replace("\r", "\n").splitlines() if "it/s" in line]
    assert len(lines) > 3
    assert "epoch 1/2" in lines[0] and "loss" in lines[0]
    # One line at a time: the cursor goes up only to erase the bar at the end.
    assert screen.getvalue().count("\x1b[1A") <= 1
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 1


def test_the_bar_of_a_resumed_epoch_shows_the_speed_since_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5000.0]
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    clock: Any = EpochClock()
    clock.load_state_dict({"seconds": 3600.0, "waited": 1.0})
    shown, module = bar.TrainingBar(clock), pl.LightningModule()
    module.step_loss = 1.0  # type: ignore[assignment]
    trainer = pl.Trainer(logger=False, accelerator="cpu", barebones=True, max_epochs=3)
    trainer.fit_loop.max_batches, trainer.fit_loop.epoch_loop.batch_progress.current.ready = 2000, 1000
    shown.on_train_start(trainer, module)
    clock.on_train_start(trainer, module)
    for step in range(1000, 1010):
        now[0] += 0.5
        shown.on_train_batch_end(trainer, module, None, None, step)
    shown.bar.stop()
    assert "  2.0 it/s  " in shown.bar.tasks[0].fields["figures"]


def with_bar(session: Session) -> bool:
    """Train with a bar wanted; whether there was one."""
    made: list[Callback] = []

    class Look(Callback):
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            made.extend(one for one in trainer.callbacks if isinstance(one, bar.TrainingBar))

    train(replace(session, trainer=replace(session.trainer, progress=True)), extra_callbacks=[Look()])
    return bool(made)


def test_a_file_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not bar.on_a_terminal()
    monkeypatch.setattr(sys, "stderr", Screen())
    assert bar.on_a_terminal()


def test_the_best_checkpoint_is_chosen_by_the_criterion_and_anew_under_another(toy_session: Build) -> None:
    def best_of(session: Session) -> float:
        return float(read_checkpoint(session.run.last)["callbacks"]["SaveCheckpoints"]["best_error"])

    train(by_words := toy_session(epochs=1, criterion="wer"))
    (row,) = read_rows(by_words.run.metrics)
    assert best_of(by_words) == pytest.approx(float(row["val_wer"]), rel=1e-5)
    train(by_characters := toy_session(epochs=2, criterion="cer"), resume=True)
    newest = read_rows(by_characters.run.metrics)[-1]
    assert float(newest["val_cer"]) > float(row["val_wer"])  # or the words could still be the best
    assert best_of(by_characters) == pytest.approx(float(newest["val_cer"]), rel=1e-5)
