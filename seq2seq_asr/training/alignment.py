"""A warning when attention has not formed."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import say
from seq2seq_asr.training.settings import LoggingConfig
from seq2seq_asr.training.wandb_log import WandbLog


class WatchAlignment(Callback):
    """Says, once in a run, that attention has not formed.

    Training beside CTC makes an alignment form sooner (Kim et al. 2017), and so do short utterances.

    Args:
        settings: After how many epochs, below which diagonal mass.
        wandb: W&B, if it is wanted.
    """

    def __init__(self, settings: LoggingConfig, wandb: WandbLog | None) -> None:
        self.settings, self.wandb, self.said = settings, wandb, False

    def state_dict(self) -> dict[str, Any]:
        """A resumed run does not say it again."""
        return {"said": self.said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as before."""
        self.said = bool(state_dict["said"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look at the epoch's validation; all processes see the same."""
        after, epochs = self.settings.alignment_epochs, trainer.current_epoch + 1
        if self.said or after == 0 or epochs < after or is_formed(pl_module.validated, self.settings.alignment_floor):
            return
        self.said = True
        text = warning(pl_module.validated, epochs)
        if trainer.is_global_zero:
            say(text)
        if self.wandb is not None:
            self.wandb.send(trainer.global_step, {"attention_warning": text})


def is_formed(figures: Mapping[str, float], floor: float) -> bool:
    """Whether attention goes along the diagonal so far; also where that was not measured.

    Args:
        figures: Of a validation.
        floor: Share of the way from uniform weights to all weight within the band.
    """
    if "attention_diagonal" not in figures:
        return True
    uniform = figures["attention_diagonal_uniform"]
    return figures["attention_diagonal"] - uniform >= floor * (1 - uniform)


def warning(figures: Mapping[str, float], epochs: int) -> str:
    """What is said where attention has not formed after so many epochs."""
    mass, uniform = figures["attention_diagonal"], figures["attention_diagonal_uniform"]
    found = f"no alignment after {epochs} epochs (diagonal mass {mass:.2f}, uniform would be {uniform:.2f})"
    return f"warning: {found}: raise model.ctc_weight or start with shorter utterances"
