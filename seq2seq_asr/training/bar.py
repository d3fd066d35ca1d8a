"""The progress bar of training: one line on stderr, drawn between steps without a thread of its own."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from seq2seq_asr.training.metrics import EpochClock

REDRAWN = 0.2
"""Seconds between two drawings."""


class TrainingBar(Callback):
    """Epoch, steps, loss, the newest WER or accuracy, steps a second, the share of time spent waiting for data."""

    def __init__(self, clock: EpochClock) -> None:
        self.clock = clock
        # Drawn by hand: a thread that redraws would hold its lock when data workers fork.
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self.task = self.bar.add_task("", figures="")
        self.drawn = 0.0
        self.first, self.started = 0, 0.0
        self.newest = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        if trainer.is_global_zero:
            self.bar.start()
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin again."""
        self._begin(trainer)

    def _begin(self, trainer: pl.Trainer) -> None:
        self.first = trainer.fit_loop.epoch_loop.batch_progress.current.ready % int(trainer.num_training_batches)
        self.started = time.monotonic()  # not the clock's, which counts what the epoch took before it was resumed
        self._name(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", int(trainer.num_training_batches))

    def _name(self, description: str, total: int) -> None:
        self.bar.update(self.task, description=description, total=total, completed=0, figures="")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step more."""
        rate = (batch_idx + 1 - self.first) / max(1e-9, time.monotonic() - self.started)
        wait = f"wait {100 * self.clock.data_wait:.0f} %"
        figures = f"loss {pl_module.step_loss:.3f}{self.newest}  {rate:.1f} it/s  {wait}"
        self._draw(batch_idx + 1, figures)

    def _draw(self, completed: int, figures: str) -> None:
        if time.monotonic() - self.drawn < REDRAWN:
            return
        self.bar.update(self.task, completed=completed, figures=figures, refresh=True)
        self.drawn = time.monotonic()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The bar is validation's."""
        self._name("validating", int(sum(trainer.num_val_batches)))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A validation batch more."""
        self._draw(batch_idx + 1, "")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Keep the word error rate, or a classifier's accuracy, in sight."""
        criterion = pl_module.validation.criterion
        if criterion.column in pl_module.validated:
            self.newest = f"  {criterion.name} {100 * pl_module.validated[criterion.column]:.2f} %"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away."""
        self.bar.stop()


def on_a_terminal() -> bool:
    """Whether somebody watches; a file gets lines only."""
    return sys.stderr.isatty()
