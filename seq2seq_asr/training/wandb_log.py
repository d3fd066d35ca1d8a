"""Weights & Biases beside ``metrics.csv``: figures, transcripts, attention plots, audio."""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import say
from seq2seq_asr.training.metrics import EpochClock, epoch_figures
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.settings import LoggingConfig

ANONYMOUS: dict[str, Any] = {"x_disable_meta": True, "x_disable_machine_info": True, "host": "unnamed"}
"""Settings of W&B under which it keeps to itself where, how and by whom it was started."""


class WandbLog(Callback):
    """One W&B run for a run folder, its files below ``<run>/wandb``; offline unless asked for otherwise.

    The first error ends the logging, with one line on stderr, and training goes on.

    Args:
        folder: The run.
        settings: Mode, project, steps between two logged losses.
        config: Resolved configuration to store.
        clock: Measures the epoch.
    """

    def __init__(
        self, folder: RunFolder, settings: LoggingConfig, config: Mapping[str, Any], clock: EpochClock
    ) -> None:
        self.folder, self.settings, self.config, self.clock = folder, settings, dict(config), clock
        self.run: Any = None
        self.id = secrets.token_hex(4)

    def state_dict(self) -> dict[str, Any]:
        """A resumed run is the same run in W&B."""
        return {"id": self.id}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on under the same id."""
        self.id = state_dict["id"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start W&B in the main process."""
        if trainer.is_global_zero:
            self._unless_it_fails(self._start)

    def _start(self) -> None:
        import wandb

        place = self.folder.path / "wandb"
        place.mkdir(exist_ok=True)
        if not os.access(place, os.W_OK):  # W&B itself would go to the system's temporary folder, in silence
            raise PermissionError(f"{place} is not writable")
        # W&B's service reads a relative path from where it was started, which an earlier run may have done elsewhere.
        wandb.teardown()
        self.run = wandb.init(
            project=self.settings.project,
            name=self.folder.name,
            id=self.id,
            resume="allow",
            dir=self.folder.path if self.settings.machine else os.path.relpath(self.folder.path),  # it logs where
            mode="offline" if self.settings.wandb == "offline" else "online",
            config=self.config if self.settings.machine else without_places(self.config),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                reinit="create_new",
                **({} if self.settings.machine else ANONYMOUS),
            ),
        )
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def send(self, step: int, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Log values, or what a function makes of them once it is known that W&B runs."""
        if self.run is not None:
            self._unless_it_fails(lambda: self.run.log({"step": step, **(values() if callable(values) else values)}))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Loss, gradient norm and learning rate of every so many steps."""
        if self.settings.every > 0 and trainer.global_step % self.settings.every == 0:
            norm = pl_module.step_norm
            clipped = float(norm > pl_module.optimizer.clip_norm)
            figures = {"train/loss": pl_module.step_loss, "train/gradient_norm": norm, "train/clipped": clipped}
            self.send(trainer.global_step, figures | {"train/lr": pl_module.step_rate})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The figures of ``metrics.csv``."""
        self.send(trainer.global_step, epoch_figures(trainer, pl_module, self.clock))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the files."""
        self._finish(0)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the files of a run that stops early."""
        self._finish(1)

    def _finish(self, code: int) -> None:
        if self.run is not None:
            self._unless_it_fails(lambda: self.run.finish(exit_code=code))
        self.run = None

    def _unless_it_fails(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever goes wrong in there, a training is worth more than its log
            self.run = None
            reason = str(error).splitlines()[0] if str(error) else ""
            say(f"warning: W&B logging has stopped ({type(error).__name__}: {reason}); metrics.csv goes on")


def without_places(value: Any) -> Any:
    """A plain value in which absolute paths are cut down to their last name: they tell of users and machines."""
    if isinstance(value, Mapping):
        return {name: without_places(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(inner) for inner in value]
    return f"…/{Path(value).name}" if isinstance(value, str) and value.startswith(("/", "~")) else value
