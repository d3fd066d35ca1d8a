"""The configuration of a training run: every room's dataclasses in one tree."""

from dataclasses import dataclass, field
from pathlib import Path

from seq2seq_asr.data.loading import DataConfig
from seq2seq_asr.data.tokenizer import TokenizerConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.model import ModelConfig
from seq2seq_asr.training.mwer import MwerConfig
from seq2seq_asr.training.schedule import OptimizerConfig
from seq2seq_asr.training.settings import LoggingConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Train a speech recogniser or classifier; without arguments, a recogniser of the embedded spoken commands."""

    name: str = "spoken"
    """Name of the run, and of its folder; a number is added when the folder exists already."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    resume: bool = False
    """Continue the run of this name from its last.ckpt, bit-exactly."""
    init_from: Path | None = None
    """Run folder whose weights, where names and shapes agree, are the starting point."""
    keep_tokenizer: bool = False
    """With init_from, take its tokenizer too, so that what it has learnt of its pieces is not begun anew."""
    seed: int = 1
    """Seed of weights, batches, augmentation and dropout."""
    data: DataConfig = field(default_factory=DataConfig)
    """Corpora and batches."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Pieces the decoder emits."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Recogniser."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser and schedules."""
    mwer: MwerConfig = field(default_factory=MwerConfig)
    """Minimum word error rate training."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Length, devices, precision."""
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    """Logs."""

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise UsageError(f"name: {self.name!r} cannot be a folder name")
        if not 0 <= self.seed < 2**32:  # a step's seed is some 2**32 times as large, see training.module.seed_step
            raise UsageError(f"seed: must be from 0 to {2**32 - 1}, got {self.seed}")
        if self.keep_tokenizer and self.tokenizer.model is not None:
            raise UsageError("tokenizer.model: keep_tokenizer takes that of init_from: give one of the two")
        if self.model.features.kind == "precomputed" and self.data.noise.probability > 0:
            raise UsageError("data.noise.probability: noise is added to audio, not to precomputed features")
        if self.model.task == "classify":
            self._refuse_what_a_classifier_has_not()

    def _refuse_what_a_classifier_has_not(self) -> None:
        connect = self.data.connect
        wrong = {
            "keep_tokenizer": (self.keep_tokenizer, "a classifier's targets are the training texts"),
            "tokenizer": (self.tokenizer != TokenizerConfig(), "a classifier's targets are the training texts"),
            "mwer.nbest": (self.mwer.nbest > 0, "there is nothing to search"),
            "optimizer.sampling": (self.optimizer.sampling > 0, "no class is followed by another"),
            "trainer.criterion": (self.trainer.criterion != "auto", "the best checkpoint has the highest accuracy"),
            "data.connect": (max(connect.train, connect.dev, connect.test) > 0, "a string of words is no class"),
            "data.train": (not self.data.train, "the embedded corpus has sentences, not classes; give manifests"),
        }
        for name, (found, why) in wrong.items():
            if found:
                raise UsageError(f"{name}: has no meaning with model.task classify: {why}")
