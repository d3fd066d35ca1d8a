"""Figures of every epoch: ``metrics.csv``, learning curves, one line on stderr."""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import say
from seq2seq_asr.training.criterion import WER, Criterion
from seq2seq_asr.training.health import HEALTH_COLUMNS
from seq2seq_asr.training.plots import health_figure, learning_curves_figure, save_figure
from seq2seq_asr.whole_file import write_csv

COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "val_loss",
    "val_accuracy",
    "val_wer",
    "val_cer",
    "lr",
    "gradient_norm",
    "clipped_share",
    "skipped_steps",
    "data_wait",
    "seconds",
)
SECONDS_A_DRAWING = 10.0
"""Validations that follow one another faster share a drawing, which takes longer than a toy's epoch."""
WAIT_TO_MENTION = 0.2
"""Share of the training time spent waiting for data from which a hint is due."""


class EpochClock(Callback):
    """Measures an epoch and how much of its training goes into waiting for data; stands last among the callbacks.

    Its state is what was spent on the epoch so far, which a resumed run adds to the rest.
    """

    def __init__(self) -> None:
        self.behind = {"seconds": 0.0, "waited": 0.0}
        self._start()

    def _start(self, seconds: float = 0.0, waited: float = 0.0) -> None:
        self.trained = self.ended = time.monotonic()
        self.started, self.waited = self.trained - seconds, waited

    def state_dict(self) -> dict[str, Any]:
        """Seconds of the epoch so far, and those of them in which data were waited for."""
        return {"seconds": time.monotonic() - self.started, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was spent before."""
        self.behind = dict(state_dict)

    @property
    def seconds(self) -> float:
        """Of the epoch, validation included."""
        return self.ended - self.started

    @property
    def data_wait(self) -> float:
        """Share of the training time, from 0 to 1."""
        return self.waited / max(1e-9, self.trained - self.started)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An epoch that is resumed does not start, for Lightning: it goes on."""
        self._start(**self.behind)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self._start()

    def on_train_batch_start(self, *_: Any) -> None:
        """A batch has come."""
        self.waited += time.monotonic() - self.trained

    def on_train_batch_end(self, *_: Any) -> None:
        """The next batch is waited for from here."""
        self.trained = self.ended = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing of the epoch is left but its figures."""
        self.ended = time.monotonic()


class MetricsFile(Callback):
    """Appends one row an epoch to ``metrics.csv``, whatever other loggers do; one without room waits for the next.

    Stands before what saves the epoch: one that is not saved is repeated, and its row with it.

    Args:
        path: The file.
        clock: Measures the epoch.
    """

    def __init__(self, path: Path, clock: EpochClock) -> None:
        self.path, self.clock = path, clock
        self.rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget epochs that a resumed run repeats."""
        if trainer.is_global_zero and self.path.exists():
            self.rows = [row for row in read_rows(self.path) if int(row["epoch"]) < trainer.current_epoch]
            self._write()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the epoch's row."""
        if not trainer.is_global_zero:
            return
        figures = epoch_figures(trainer, pl_module, self.clock)
        self.rows.append({name: f"{value:.{9 if name == 'step' else 6}g}" for name, value in figures.items()})
        self._write()

    def _write(self) -> None:
        try:
            write_rows(self.path, self.rows)
        except OSError as error:
            say(f"warning: {self.path}: cannot be written ({error.strerror}); tried again after the next epoch")


class LearningCurves(Callback):
    """Draws ``metrics.csv`` when there are new figures of a validation; a drawing that fails ends no training.

    Args:
        metrics: The file.
        plots: Folder for ``learning_curves.png`` and ``attention_health.png``.
    """

    def __init__(self, metrics: Path, plots: Path) -> None:
        self.metrics, self.plots = metrics, plots
        self.drawn, self.due = time.monotonic(), False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draw the curves if they are due."""
        self.due = self.due or bool(pl_module.validated)
        if time.monotonic() - self.drawn >= SECONDS_A_DRAWING:
            self._draw(trainer, pl_module.validation.criterion)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draw the last curves."""
        self._draw(trainer, pl_module.validation.criterion)

    def _draw(self, trainer: pl.Trainer, criterion: Criterion) -> None:
        if not (self.due and trainer.is_global_zero):
            return
        try:
            self.plots.mkdir(exist_ok=True)
            rows = read_rows(self.metrics)
            save_figure(learning_curves_figure(rows, criterion), self.plots / "learning_curves.png")
            if any(row.get(HEALTH_COLUMNS[0]) for row in rows):
                save_figure(health_figure(rows), self.plots / "attention_health.png")
        except OSError as error:
            say(f"warning: learning curves are not drawn ({error})")
        self.drawn, self.due = time.monotonic(), False


class EpochLine(Callback):
    """One line an epoch on stderr."""

    def __init__(self, clock: EpochClock) -> None:
        self.clock, self.hinted = clock, False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Say what the epoch brought; the first time that data is late, say what to do."""
        if not trainer.is_global_zero:
            return
        figures = epoch_figures(trainer, pl_module, self.clock)
        say(epoch_line(figures, trainer.max_epochs or 0, pl_module.validation.criterion))
        if figures["data_wait"] > WAIT_TO_MENTION and not self.hinted:
            say("hint: the model waits for its data; --data.workers sets how many processes read it")
            self.hinted = True


def epoch_figures(trainer: pl.Trainer, module: Any, clock: EpochClock) -> dict[str, float]:
    """The figures of the epoch that ends, by column of ``metrics.csv``; validation's only where there was one."""
    sums = module.epoch_sums
    figures = {
        "epoch": float(trainer.current_epoch),
        "step": float(trainer.global_step),
        "train_loss": module.train_loss,
        "lr": module.step_rate,
        "gradient_norm": sums["norm"] / sums["steps"] if sums["steps"] else float("nan"),
        "clipped_share": sums["clipped"] / sums["steps"] if sums["steps"] else float("nan"),
        "skipped_steps": sums["skipped"],
        "data_wait": clock.data_wait,
        "seconds": clock.seconds,
    }
    return figures | module.validated


def epoch_line(figures: Mapping[str, float], epochs: int, criterion: Criterion = WER) -> str:
    """What one reads of an epoch."""
    parts = [f"train loss {figures['train_loss']:.3f}"]
    if criterion.column in figures:
        rate = f"val {criterion.name} {100 * figures[criterion.column]:.2f} %"
        parts += [f"val loss {figures['val_loss']:.3f}", rate]
    parts += [f"{figures['seconds']:.1f} s", f"data wait {100 * figures['data_wait']:.0f} %"]
    if figures["skipped_steps"]:
        parts.append(f"{figures['skipped_steps']:.0f} steps skipped")
    return f"epoch {figures['epoch'] + 1:.0f}/{epochs}: {', '.join(parts)}"


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv``; one that a crash has cut short, or that is otherwise damaged, is left out."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row.get("epoch") or "").isdecimal() and None not in row.values()]


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write ``metrics.csv`` anew; a crash leaves the old file or the new one.

    The columns of attention health are there where there is attention.
    """
    columns = (*COLUMNS, *(name for name in HEALTH_COLUMNS if any(row.get(name) for row in rows)))
    write_csv(path, rows, columns)
