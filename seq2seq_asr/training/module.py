"""The Lightning module: teacher-forced training, free-running validation; of a classifier too."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from seq2seq_asr.console import say
from seq2seq_asr.data.dataset import Batch
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.errors import TrainingError
from seq2seq_asr.nn.classifier import ClassLosses, Model
from seq2seq_asr.nn.model import Losses, Seq2Seq
from seq2seq_asr.training.criterion import Criterion
from seq2seq_asr.training.dump import dump_batch
from seq2seq_asr.training.health import HEALTH_SUMS
from seq2seq_asr.training.mwer import MwerConfig, mwer_losses
from seq2seq_asr.training.schedule import (
    OptimizerConfig,
    adopt_rates,
    build_optimizer,
    build_scheduler,
    sampling_probability,
)
from seq2seq_asr.training.validation import VALIDATION_SUMS, validation_of

EPOCH_SUMS = ("loss", "tokens", "norm", "steps", "skipped", "clipped")
"""What is added up over an epoch's steps, whatever their loss and gradient were worth; equal on all ranks."""


class Step(NamedTuple):
    """The training step under way."""

    batch: Batch
    losses: Tensor
    """Of this rank's utterances."""
    totals: Tensor
    """Loss and tokens of the global batch."""


class Recognition(pl.LightningModule):
    """Trains a `Seq2Seq`, or a `Classifier`, which recognises whole utterances.

    Args:
        model: The recogniser or classifier.
        tokenizer: Turns its targets into text: a tokenizer, or a classifier's labels.
        optimizer: Optimiser and schedules.
        seed: Of the run; each step draws dropout and masks from (seed, step, rank).
        max_skipped: Steps in a row that may have a gradient that is not finite.
        mwer: Minimum word error rate training.
        criterion: The error rate that a recogniser is judged by.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Targets,
        optimizer: OptimizerConfig,
        *,
        seed: int,
        max_skipped: int,
        mwer: MwerConfig,
        criterion: Criterion,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.optimizer = model, tokenizer, optimizer
        self.validation = validation_of(model, tokenizer, criterion)
        self.seed, self.max_skipped, self.mwer, self.skipped = seed, max_skipped, mwer, 0
        self.sums = dict.fromkeys(VALIDATION_SUMS + HEALTH_SUMS, 0.0)
        self.epoch_sums = dict.fromkeys(EPOCH_SUMS, 0.0)
        self.step: Step | None = None
        self.batch_ids: tuple[str, ...] = ()
        """Utterances in hand, for an error to name."""
        self.step_loss = self.step_norm = self.step_rate = float("nan")
        """Of the last step: loss a token, norm of the gradient, learning rate."""
        self.validated: dict[str, float] = {}
        """Validation figures of the present epoch; empty before its validation, or when it has none."""

    @property
    def progress(self) -> float:
        """Share of all training steps already taken."""
        return self.global_step / max(1, int(self.trainer.estimated_stepping_batches))

    @property
    def train_loss(self) -> float:
        """Mean loss a token over the epoch's steps so far, skipped ones left out."""
        return self.epoch_sums["loss"] / self.epoch_sums["tokens"] if self.epoch_sums["tokens"] else float("nan")

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, moved every step."""
        optimizer = build_optimizer(self.model, self.optimizer)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_scheduler(optimizer, self.optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """An epoch that is resumed goes on adding up."""
        checkpoint["epoch_sums"] = dict(self.epoch_sums)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on adding up, at the rates that are asked for now."""
        adopt_rates(checkpoint, self.optimizer)
        if self.optimizer.ema_decay == 0 and "current_model_state" in checkpoint:
            checkpoint["state_dict"] = checkpoint["current_model_state"]  # the weights themselves, not their average
        self.epoch_sums = self.epoch_sums | checkpoint.get("epoch_sums", {})

    def on_train_epoch_start(self) -> None:
        """Start adding up anew."""
        self.epoch_sums = dict.fromkeys(EPOCH_SUMS, 0.0)
        self.validated = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss a token of the global batch, scaled so that DDP's mean over ranks gives one process's gradient."""
        self.batch_ids = batch.ids
        seed_step(self.seed, self.global_step, self.global_rank)
        losses = self.losses(batch, sampling_probability(self.progress, self.optimizer))
        loss = (losses.total * batch.counted).sum()
        totals = torch.stack([loss.detach(), (losses.tokens * batch.counted).sum()])
        world = self.trainer.world_size
        if world > 1:
            torch.distributed.all_reduce(totals)
        self.step = Step(batch, losses.total.detach(), totals)
        return loss * world / totals[1]

    def losses(self, batch: Batch, sampling: float = 0.0) -> Losses | ClassLosses:
        """What training lowers, of each utterance."""
        if self.mwer.nbest > 0:
            assert isinstance(self.model, Seq2Seq)
            return mwer_losses(self.model, self.tokenizer, batch, self.mwer, self.validation.criterion, sampling)
        return self.model(batch.inputs, batch.lengths, batch.tokens, batch.token_lengths, sampling)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient; drop it, and name the utterances, when it is not finite.

        Raises:
            TrainingError: After too many such steps in a row.
        """
        assert self.step is not None
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.optimizer.clip_norm))
        loss, tokens = self.step.totals.tolist()
        self.step_loss, self.step_norm, self.step_rate = loss / tokens, norm, optimizer.param_groups[0]["lr"]
        if math.isfinite(loss) and math.isfinite(norm):
            self.skipped = 0
            clipped = float(norm > self.optimizer.clip_norm)
            for name, value in zip(EPOCH_SUMS, (loss, tokens, norm, 1, 0, clipped), strict=True):
                self.epoch_sums[name] += value
            return
        optimizer.zero_grad(set_to_none=True)  # the optimiser passes over parameters without a gradient
        self.skipped += 1
        self.epoch_sums["skipped"] += 1
        if ids := suspects(self.step):
            folder = Path(self.trainer.default_root_dir) / "skipped"
            dump_batch(folder, self.step.batch, self.global_step, self.global_rank, ids)
            worth = f"loss {self.step_loss:.4g}, gradient norm {norm:.4g}"
            say(f"step {self.global_step} skipped: {worth}; utterances: {' '.join(ids)}")
        if self.skipped > self.max_skipped:
            raise TrainingError(f"{self.skipped} steps in a row had a loss or gradient that is not finite")

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self.sums = dict.fromkeys(VALIDATION_SUMS + HEALTH_SUMS, 0.0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Teacher-forced loss, and what the model says on its own."""
        self.batch_ids = batch.ids
        self.validation.add(self.sums, batch)

    def on_validation_epoch_end(self) -> None:
        """Rates over all ranks' utterances."""
        totals = torch.tensor(list(self.sums.values()), dtype=torch.float64)
        if self.trainer.world_size > 1:
            totals = totals.to(self.device)
            torch.distributed.all_reduce(totals)
        sums = dict(zip(self.sums, totals.tolist(), strict=True))
        self.validated = self.validation.rates(sums)
        self.log_dict(self.validated, sync_dist=True)  # equal on all ranks: synchronised only to please Lightning


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make the step's dropout, masks and sampling a function of (seed, step, rank) alone, so that resume is exact."""
    torch.manual_seed((seed * 1_000_003 + step) * 4_099 + rank)


def suspects(step: Step) -> tuple[str, ...]:
    """Utterances of this rank to blame for a step that is not finite: those whose loss is not, or else all."""
    guilty = tuple(id for id, finite in zip(step.batch.ids, step.losses.isfinite().tolist(), strict=True) if not finite)
    elsewhere = not guilty and not bool(step.totals.isfinite().all())
    return () if elsewhere else guilty or step.batch.ids
