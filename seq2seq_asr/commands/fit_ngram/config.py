"""Settings of ``fit_ngram``."""

from dataclasses import dataclass
from pathlib import Path

from seq2seq_asr.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class FitNgramConfig:
    """Make an n-gram model of words out of text (modified Kneser-Ney); `decode --ngram FILE` then uses it."""

    text: tuple[Path, ...]
    """Text files, a sentence a line."""
    dev: Path | None = None
    """Text to measure the perplexity on; none holds out every 20th line of the text."""
    run: Path | None = None
    """Run folder whose tokenizer normalises the text; none takes the newest below `checkpoints`."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    order: int = 3
    """Words of the longest n-grams."""
    out: Path | None = None
    """ARPA file to write, compressed where its name ends in `.gz`; none makes `ngram.arpa` in the run folder."""

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 9:
            raise UsageError(f"order: must be from 1 to 9, not {self.order}")
