"""An utterance of a corpus, as every reader and writer of manifests knows it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "dev", "test"]
"""Which part of a corpus."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One utterance of a corpus; exactly one of `audio` and `features` is given."""

    id: str
    """Unique within its manifest."""
    text: str
    """Transcript as written in the corpus; the tokenizer normalises it."""
    duration: float
    """Length in seconds."""
    audio: Path | None = None
    """Recording that holds the utterance."""
    features: Path | None = None
    """Precomputed features (.npy, frames × bins) instead of a recording."""
    offset: float = 0.0
    """Where the utterance begins in its recording, in seconds."""
    speaker: str | None = None
    """Name of the speaker, if known."""
    lang: str | None = None
    """Language code, if known."""


def corpus_digest(utterances: Iterable[Utterance]) -> str:
    """SHA-256 over ids, durations and texts in their order, wherever the files lie: what an epoch is planned from."""
    digest = hashlib.sha256()
    for one in utterances:
        digest.update(ascii((one.id, one.duration, one.text)).encode())
    return digest.hexdigest()
