"""The configuration of a training run: every room's dataclasses in one tree."""

from dataclasses import dataclass, field
from pathlib import Path

from seq2seq_asr.data.loading import DataConfig
from seq2seq_asr.data.tokenizer import TokenizerConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.model import ModelConfig
from seq2seq_asr.training.schedule import OptimizerConfig
from seq2seq_asr.training.settings import LoggingConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Train an attention Seq2Seq speech recogniser; without arguments, on the embedded spoken-command corpus."""

    name: str = "spoken"
    """Name of the run, and of its folder; a number is added when the folder exists already."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    resume: bool = False
    """Continue the run of this name from its last.ckpt, bit-exactly."""
    init_from: Path | None = None
    """Run folder whose weights, where names and shapes agree, are the starting point."""
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
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Length, devices, precision."""
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    """Logs."""

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise UsageError(f"name: {self.name!r} cannot be a folder name")
