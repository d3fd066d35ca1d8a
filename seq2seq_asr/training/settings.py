"""Settings of a training run that belong to no single class: devices, length, logging."""

import math
from dataclasses import dataclass
from typing import Literal

from seq2seq_asr.errors import UsageError
from seq2seq_asr.training.criterion import Choice


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, where and how precisely to train."""

    epochs: int = 20
    """Passes over the training data."""
    devices: int = 0
    """Devices a node; 0 takes every GPU, or one CPU process, or as many as srun or torchrun has started."""
    num_nodes: int = 1
    """Machines; each runs the same command under torchrun or SLURM."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto takes GPUs when there are any."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """Arithmetic: 32 bit, or bfloat16 where it is safe; auto takes bfloat16 where the processor computes in it."""
    validate_every: int = 2
    """Epochs between validations; the last epoch is always validated."""
    criterion: Choice = "auto"
    """Error rate on dev that best.ckpt has least of; auto takes words, or characters where no spaces part the words."""
    validation_utterances: int = 200
    """Utterances of dev that are decoded at each validation, a fixed subset; 0 takes all."""
    save_minutes: float = 10.0
    """Minutes between two saves of last.ckpt within an epoch; it is saved after every epoch as well."""
    max_skipped: int = 10
    """Steps in a row that may be skipped for a gradient that is not finite, before training stops."""
    read_timeout: float = 300.0
    """Seconds to wait for the next batch of the data workers before training stops and names the utterance."""
    deterministic: bool = False
    """Refuse operations whose result varies from run to run (slower on a GPU)."""
    progress: bool = True
    """Progress bar on stderr."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.validate_every < 1 or self.num_nodes < 1:
            raise UsageError("trainer.epochs, validate_every and num_nodes: must be 1 or more")
        if not 0 < self.read_timeout < math.inf or self.save_minutes < 0:
            raise UsageError("trainer.read_timeout: must be above 0 and finite, and trainer.save_minutes 0 or more")
        if min(self.devices, self.validation_utterances, self.max_skipped) < 0:
            raise UsageError("trainer.devices, trainer.validation_utterances, trainer.max_skipped: must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """What is written beside metrics.csv."""

    wandb: Literal["offline", "online", "off"] = "offline"
    """Weights & Biases: offline needs no account (`wandb leet` browses it, `wandb sync` uploads it)."""
    project: str = "seq2seq_asr"
    """W&B project."""
    examples: int = 4
    """Validation utterances whose audio, transcript and attention are logged."""
    every: int = 10
    """Steps between two logged training losses; 0 is never."""
    alignment_epochs: int = 3
    """Epochs after which a validation that finds no alignment of tokens with frames warns, once; 0 is never."""
    alignment_floor: float = 0.15
    """Attention within the diagonal band that makes an alignment: 0 is what uniform weights have, 1 is all of it."""
    machine: bool = False
    """Tell W&B the host name, the command line, hardware and absolute paths as well."""

    def __post_init__(self) -> None:
        if min(self.examples, self.every, self.alignment_epochs) < 0:
            raise UsageError("logging.examples, logging.every, logging.alignment_epochs: must be 0 or more")
        if not 0 <= self.alignment_floor <= 1:
            raise UsageError("logging.alignment_floor: must lie in [0, 1]")
