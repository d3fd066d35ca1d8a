"""An average of the weights over training: it errs less than the last ones where the learning rate stays high."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AverageWeights(WeightAveraging):
    """Validates and saves an exponential moving average of the weights, and leaves it in the model at the end.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging". In a checkpoint ``state_dict`` is
    the average, which all read; training goes on from ``current_model_state``. It comes before what saves.

    Args:
        decay: Share of the average that a step keeps, below 1; see `decay_at`.
    """

    def __init__(self, decay: float) -> None:
        def average(averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor) -> None:
            get_ema_multi_avg_fn(decay_at(int(steps) + 1, decay))(averages, weights, steps)

        super().__init__(use_buffers=False, multi_avg_fn=average)
        self.swapped = False
        """Whether the model has the average now, and the average the model's weights."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep the average on the device of training, to which the weights are moved only later."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        super().on_validation_epoch_start(trainer, pl_module)
        self.swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Examples are still to be transcribed."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the weights."""
        super().on_validation_epoch_end(trainer, pl_module)
        self.swapped = False

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the average; a validation that is interrupted may be saved within."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self.swapped:
            average, weights = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint |= {"state_dict": average, "current_model_state": weights}


def decay_at(step: int, decay: float) -> float:
    """The share that the average keeps at a step, from 1: it rises to ``decay``, so that the start is forgotten."""
    return min(decay, (1 + step) / (10 + step))
