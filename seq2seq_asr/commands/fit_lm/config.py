"""Settings of ``fit_lm``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.lm import LanguageModelConfig


@dataclass(frozen=True, kw_only=True)
class FitLmConfig:
    """Train an LSTM language model on text, with the tokenizer of a run; `decode --lm FILE` then uses it."""

    text: tuple[Path, ...]
    """Text files, a sentence a line."""
    dev: Path | None = None
    """Text to measure the perplexity on; none holds out every 20th line of the text."""
    run: Path | None = None
    """Run folder whose tokenizer is used; none takes the newest below `checkpoints`."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    out: Path | None = None
    """File for the language model; none makes `lm.ckpt` in the run folder."""
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The language model."""
    epochs: int = 10
    """Passes over the text, at most; the epoch of the lowest perplexity is kept."""
    sentences: int = 64
    """Sentences of a step."""
    lr: float = 2e-3
    """Highest learning rate of AdamW; it rises for a tenth of the steps and falls to zero."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    seed: int = 0
    """Seed of weights and order."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.sentences) < 1:
            raise UsageError("epochs and sentences: must be 1 or more")
        if not 0 < self.lr < float("inf"):
            raise UsageError("lr: must be above 0 and finite")
        if self.seed < 0:
            raise UsageError("seed: must be 0 or more")
