"""What happens around training steps: saving, signals, the metrics file, waiting for data."""

import csv
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import Interrupted, Terminated, say
from seq2seq_asr.training.checkpoint import FORMAT
from seq2seq_asr.training.plots import learning_curves_figure, save_figure
from seq2seq_asr.training.run_folder import RunFolder


class SaveCheckpoints(Callback):
    """Keeps ``last.ckpt`` (also within an epoch and before validation) and ``best.ckpt`` (lowest validation WER).

    Args:
        run: Where to write.
        minutes: Longest time between two saves of ``last.ckpt``.
        record: Plain values stored in every checkpoint, enough to rebuild the model.
    """

    def __init__(self, run: RunFolder, minutes: float, record: Mapping[str, Any]) -> None:
        self.run, self.seconds, self.record = run, 60 * minutes, dict(record)
        self.saved_at = time.monotonic()
        self.best_wer = float("inf")
        self.best_epoch = -1

    def state_dict(self) -> dict[str, Any]:
        """The best validation so far."""
        return {"best_wer": self.best_wer, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best validation so far."""
        self.best_wer, self.best_epoch = state_dict["best_wer"], state_dict["best_epoch"]

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Add what a reader needs to know of the model."""
        checkpoint["seq2seq_asr"] = {"format": FORMAT, **self.record}

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write ``last.ckpt`` now."""
        trainer.save_checkpoint(self.run.last)
        self.saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save before validation, which may be interrupted, and when enough time has passed."""
        due = trainer.is_last_batch or time.monotonic() - self.saved_at > self.seconds
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self.save_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after validation; keep the best."""
        wer = trainer.callback_metrics.get("val_wer")
        validated = wer is not None and (trainer.current_epoch + 1) % trainer.check_val_every_n_epoch == 0
        if validated and float(wer) < self.best_wer:
            self.best_wer, self.best_epoch = float(wer), trainer.current_epoch
            trainer.save_checkpoint(self.run.best)
        self.save_last(trainer)


class StopOnSignal(Callback):
    """On SIGINT or SIGTERM: finish the step, save, and end with the signal's exit code.

    Within validation nothing needs saving: ``last.ckpt`` was written just before it.
    """

    def __init__(self, save_last: Callable[[pl.Trainer], None]) -> None:
        self.save_last = save_last
        self.received: signal.Signals | None = None
        self.previous: dict[int, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals from Lightning."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt  # asked twice: stop at once
        self.received = signal.Signals(number)
        say(f"{self.received.name}: saving after this step …")

    def _stop(self, trainer: pl.Trainer, save: bool) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return
        if save:
            self.save_last(trainer)
        say("stopped; continue with --resume")
        raise Interrupted if self.received == signal.SIGINT else Terminated

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop after a complete step."""
        self._stop(trainer, save=True)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop within validation."""
        if not trainer.sanity_checking:
            self._stop(trainer, save=False)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous.clear()


class MetricsFile(Callback):
    """Appends one row an epoch to ``metrics.csv``, whatever other loggers do, and draws the learning curves.

    Args:
        path: The file.
        plots: Folder for ``learning_curves.png``.
    """

    COLUMNS = (
        "epoch", "step", "train_loss", "val_loss", "val_accuracy", "val_wer", "val_cer",
        "lr", "gradient_norm", "skipped_steps", "data_wait", "seconds",
    )  # fmt: skip

    def __init__(self, path: Path, plots: Path) -> None:
        self.path, self.plots = path, plots
        self.started = self.waiting_since = time.monotonic()
        self.waited = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clocks."""
        self.started = self.waiting_since = time.monotonic()
        self.waited = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """A batch has come."""
        self.waited += time.monotonic() - self.waiting_since

    def on_train_batch_end(self, *_: Any) -> None:
        """The next batch is waited for from here."""
        self.waiting_since = time.monotonic()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Training time ends where validation starts."""
        self.trained = time.monotonic() - self.started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's row."""
        now = time.monotonic()
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {name: f"{metrics[name]:.6g}" for name in self.COLUMNS if name in metrics}
        if "train_loss_epoch" in metrics:
            row["train_loss"] = f"{metrics['train_loss_epoch']:.6g}"
        row |= {
            "epoch": str(trainer.current_epoch),
            "step": str(trainer.global_step),
            "lr": f"{trainer.optimizers[0].param_groups[0]['lr']:.4g}",
            "data_wait": f"{self.waited / max(1e-9, now - self.started):.4f}",
            "seconds": f"{now - self.started:.2f}",
        }
        if trainer.is_global_zero:
            append_row(self.path, self.COLUMNS, row)
            plot_learning_curves(self.path, self.plots)


def append_row(path: Path, columns: tuple[str, ...], row: Mapping[str, str]) -> None:
    """Append to a CSV file, with a header when it is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def plot_learning_curves(metrics: Path, folder: Path) -> None:
    """Draw ``learning_curves.png`` from the metrics file."""
    with metrics.open(newline="", encoding="utf-8") as file:
        figure = learning_curves_figure(list(csv.DictReader(file)))
    folder.mkdir(exist_ok=True)
    save_figure(figure, folder / "learning_curves.png")
