"""What happens around training steps: saving, stopping, the last validation."""

import signal
import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.training.checkpoint import FORMAT
from seq2seq_asr.training.requeue import job_id, requeue
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.signals import SignalWatch, end_of


class SaveCheckpoints(Callback):
    """Keeps ``last.ckpt`` (also within an epoch) and ``best.ckpt`` (least validation error).

    Validation may be long and may be interrupted, so there is a save before it: one step early, because Lightning
    would not validate when it resumes behind the last step of an epoch.

    Args:
        run: Where to write.
        minutes: Longest time between two saves of ``last.ckpt``.
        record: Plain values stored in every checkpoint, enough to rebuild the model.
    """

    def __init__(self, run: RunFolder, minutes: float, record: Mapping[str, Any]) -> None:
        self.run, self.seconds, self.record = run, 60 * minutes, dict(record)
        self.saved_at = time.monotonic()
        self.saved = False
        """Whether there is something to resume from."""
        self.best_error = float("inf")
        """Lowest validation WER (or CER) so far; of a classifier, lowest share of wrong classes."""
        self.best_epoch = -1
        self.measured: str | None = None
        """Column of the criterion that `best_error` is of."""

    def state_dict(self) -> dict[str, Any]:
        """The best validation so far."""
        return {"best_error": self.best_error, "best_epoch": self.best_epoch, "criterion": self.measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best validation so far."""
        self.best_error, self.best_epoch = state_dict["best_error"], state_dict["best_epoch"]
        self.measured = state_dict["criterion"]
        self.saved = True

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Add what a reader needs to know of the model."""
        checkpoint["seq2seq_asr"] = {"format": FORMAT, **self.record}

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write ``last.ckpt`` now."""
        trainer.save_checkpoint(self.run.last)
        self.saved_at, self.saved = time.monotonic(), True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save one step before validation, and when enough time has passed."""
        left = steps_left(trainer)
        due = time.monotonic() - self.saved_at > self.seconds
        if left > 0 and agreed(trainer, due or (left == 1 and validates(trainer))):
            self.save_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Save after validation; keep the best."""
        criterion = pl_module.validation.criterion
        if self.measured not in (None, criterion.column):
            self.best_error = float("inf")  # of another criterion, before a resume
        self.measured = criterion.column
        error = criterion.error(pl_module.validated)
        if error < self.best_error:
            self.best_error, self.best_epoch = error, trainer.current_epoch
            trainer.save_checkpoint(self.run.best)
        self.save_last(trainer)


class StopOnSignal(Callback):
    """After SIGINT, SIGTERM or SIGUSR1: save when the step is done, and end all processes.

    Under SLURM the last of them puts the job back into the queue.

    Within validation and behind an epoch's last step nothing needs saving, see `SaveCheckpoints`.
    """

    def __init__(self, watch: SignalWatch, saving: SaveCheckpoints) -> None:
        self.watch, self.saving = watch, saving

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning, whose handler broadcasts in the middle of a step."""
        self.watch.take_over()
        self.watch.graceful = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The loop is over."""
        self.watch.graceful = False

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop after a complete step; where the epoch ends with it and without a validation, its end is next."""
        if steps_left(trainer) > 0 or validates(trainer):
            self._stop(trainer, save=steps_left(trainer) > 0)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop within validation."""
        self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after a complete epoch."""
        self._stop(trainer)

    def _stop(self, trainer: pl.Trainer, save: bool = False) -> None:
        number = highest(trainer, self.watch.received)
        if number == 0:
            return
        if save or not self.saving.saved:
            self.saving.save_last(trainer)
        if not trainer.is_global_zero:
            raise SystemExit(0)  # any other code makes Lightning kill the main process, whose code counts
        if number == signal.SIGUSR1 and (job := job_id()):
            requeue(job)
        raise end_of(number, f"stopped after step {trainer.global_step}; --resume goes on from there")


class ValidateLastEpoch(Callback):
    """The last epoch is validated even where validations are rarer."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """For a run that is resumed within its last epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate at the end of this epoch when no other comes."""
        if trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


def steps_left(trainer: pl.Trainer) -> int:
    """Steps of the present epoch that are still to do."""
    return int(trainer.num_training_batches) - trainer.fit_loop.epoch_loop.batch_progress.current.ready


def validates(trainer: pl.Trainer) -> bool:
    """Whether the present epoch ends with a validation."""
    return (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0


def highest(trainer: pl.Trainer, number: int) -> int:
    """The largest of all processes' numbers."""
    if trainer.world_size == 1:
        return number
    return int(trainer.strategy.reduce(torch.tensor(number, device=trainer.strategy.root_device), reduce_op="max"))


def agreed(trainer: pl.Trainer, wanted: bool) -> bool:
    """Whether any process wants it."""
    return highest(trainer, int(wanted)) > 0
