"""The settings that ``tune`` found best for a run, which decoding then starts from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seq2seq_asr.search.beam import BeamConfig

TUNED = "decoding.yaml"
"""File of a run folder that holds its `Tuned`."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """How to search, and what that was chosen by."""

    tokenizer: str
    """Hash of the tokenizer of the recogniser that it belongs to."""
    weights: str
    """SHA-256 of the file of weights that was tuned."""
    dev: str
    """Name of the set it was chosen on."""
    utterances: int
    """Utterances of the set."""
    words: int
    """Words of their references."""
    criterion: Literal["wer", "cer"] = "wer"
    """Which of the two it was chosen by: the lowest of all that were tried, so rather too low."""
    wer: float
    """Word error rate there, as a fraction."""
    cer: float
    """Character error rate there, as a fraction."""
    lm: Path | None = None
    """Language model that joined the search; decoding takes it too unless told otherwise."""
    ngram: Path | None = None
    """n-gram model that joined the search, likewise."""
    hotwords: Path | None = None
    """Hot words that were expected there; decoding is told of them, as others may be said elsewhere."""
    search: BeamConfig = field(default_factory=BeamConfig)
    """How to search."""
