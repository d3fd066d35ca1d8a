"""The Lightning module: teacher-forced training, free-running validation."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from seq2seq_asr.console import say
from seq2seq_asr.data.dataset import Batch
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import TrainingError
from seq2seq_asr.evaluation.wer import character_errors, word_errors
from seq2seq_asr.nn.model import Encoded, Losses, Seq2Seq
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.training.schedule import (
    OptimizerConfig,
    build_optimizer,
    build_scheduler,
    gradient_norm,
    sampling_probability,
)

VALIDATION_SUMS = ("loss", "tokens", "right", "word_errors", "words", "character_errors", "characters")
"""What each rank adds up over its share of the validation utterances."""


class Recognition(pl.LightningModule):
    """Trains a `Seq2Seq`.

    Args:
        model: The recogniser.
        tokenizer: Turns tokens into the text that is scored.
        optimizer: Optimiser and schedules.
        seed: Of the run; each step draws dropout and masks from (seed, step, rank).
        max_skipped: Steps in a row that may have a gradient that is not finite.
    """

    def __init__(
        self, model: Seq2Seq, tokenizer: Tokenizer, optimizer: OptimizerConfig, *, seed: int, max_skipped: int
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.optimizer = model, tokenizer, optimizer
        self.seed, self.max_skipped, self.skipped = seed, max_skipped, 0
        self.sums = dict.fromkeys(VALIDATION_SUMS, 0.0)
        self.ids: tuple[str, ...] = ()

    @property
    def progress(self) -> float:
        """Share of all training steps already taken."""
        return self.global_step / max(1, int(self.trainer.estimated_stepping_batches))

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, moved every step."""
        optimizer = build_optimizer(self.model, self.optimizer)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_scheduler(optimizer, self.optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss a token of the global batch, scaled so that DDP's mean over ranks gives one process's gradient."""
        seed_step(self.seed, self.global_step, self.global_rank)
        self.ids = batch.ids
        sampling = sampling_probability(self.progress, self.optimizer)
        losses = forward(self.model, batch, sampling)
        tokens = (losses.tokens * batch.counted).sum()
        world = self.trainer.world_size
        if world > 1:
            torch.distributed.all_reduce(tokens)
        loss = (losses.total * batch.counted).sum() * world / tokens
        self.log("train_loss", loss.detach(), on_step=True, on_epoch=True, prog_bar=True, batch_size=len(batch.ids))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient; drop it, and name the utterances, when it is not finite.

        Raises:
            TrainingError: After too many such steps in a row.
        """
        norm = gradient_norm(self.model.parameters(), self.optimizer.clip_norm)
        self.log("gradient_norm", norm)
        if norm < float("inf"):
            self.skipped = 0
            return
        optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        say(f"step {self.global_step}: gradient norm is {norm}, step skipped; utterances: {' '.join(self.ids)}")
        if self.skipped > self.max_skipped:
            raise TrainingError(f"{self.skipped} steps in a row had a gradient that is not finite; training stops")

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self.sums = dict.fromkeys(VALIDATION_SUMS, 0.0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Teacher-forced loss, and errors of what the model says on its own (greedy)."""
        losses = forward(self.model, batch)
        hypotheses = transcribe_greedily(self.model, self.tokenizer, batch)
        add_losses(self.sums, losses, batch.counted)
        for reference, hypothesis, counted in zip(batch.texts, hypotheses, batch.counted.tolist(), strict=True):
            if counted:
                add_errors(self.sums, reference, hypothesis)

    def on_validation_epoch_end(self) -> None:
        """Rates over all ranks' utterances."""
        totals = torch.tensor(list(self.sums.values()), dtype=torch.float64, device="cpu")
        if self.trainer.world_size > 1:
            totals = self.all_gather(totals.to(self.device, torch.float32)).sum(dim=0)
        sums = dict(zip(VALIDATION_SUMS, totals.tolist(), strict=True))
        self.log("val_loss", sums["loss"] / sums["tokens"], rank_zero_only=False)
        self.log("val_accuracy", sums["right"] / sums["tokens"])
        self.log("val_wer", sums["word_errors"] / max(1.0, sums["words"]), prog_bar=True)
        self.log("val_cer", sums["character_errors"] / max(1.0, sums["characters"]))


def forward(model: Callable[..., Losses], batch: Batch, sampling: float = 0.0) -> Losses:
    """Teacher-forced losses of a batch."""
    return model(batch.inputs, batch.lengths, batch.tokens, batch.token_lengths, sampling)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make the step's dropout, masks and sampling a function of (seed, step, rank) alone, so that resume is exact."""
    torch.manual_seed((seed * 1_000_003 + step) * 4_099 + rank)


def transcribe_greedily(model: Seq2Seq, tokenizer: Tokenizer, batch: Batch) -> list[str]:
    """Free-running transcripts of a batch."""
    encoded: Encoded = model.encode(batch.inputs, batch.lengths)
    scorer = AttentionScorer(model.decoder, model.memory(encoded))
    hypotheses = greedy_search(scorer, encoded.lengths)
    return [tokenizer.decode(list(hypothesis.tokens)) for hypothesis in hypotheses]


def add_losses(sums: dict[str, float], losses: Losses, counted: Tensor) -> None:
    """Add a batch's teacher-forced sums."""
    sums["loss"] += float((losses.total * counted).sum())
    sums["tokens"] += float((losses.tokens * counted).sum())
    sums["right"] += float((losses.right * counted).sum())


def add_errors(sums: dict[str, float], reference: str, hypothesis: str) -> None:
    """Add one utterance's word and character errors."""
    for name, counts in (("word", word_errors(reference, hypothesis)),
                         ("character", character_errors(reference, hypothesis))):
        sums[f"{name}_errors"] += counts.errors
        sums[f"{name}s"] += counts.reference_length
