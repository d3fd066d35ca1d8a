"""Settings of ``decode``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.beam import BeamConfig


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """Transcribe with a trained recogniser; without arguments, score the newest run on its own test set."""

    audio: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Audio files to transcribe, one line each on stdout (path, tab, text); none decodes a manifest."""
    run: Path | None = None
    """Run folder; none takes the newest below `checkpoints`."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    checkpoint: Literal["best", "last"] = "best"
    """Which weights of the run; a run without best has its last taken."""
    manifest: Path | None = None
    """Manifest or Kaldi folder to decode; what has a text is scored."""
    split: Literal["train", "dev", "test"] = "test"
    """Split of the run's own corpus, when no manifest is given."""
    out: Path | None = None
    """Folder for the results; none makes `decode_<set>_beam<K>` in the run folder, and for audio files writes none."""
    search: Annotated[BeamConfig, tyro.conf.arg(name="")] = field(default_factory=BeamConfig)
    """How to search."""
    batch_seconds: float = 100.0
    """Padded seconds of audio decoded together, at most."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    allow_skips: bool = False
    """Exit with 0 even if some utterances could not be decoded."""
    seed: int = 0
    """Seed of the bootstrap interval."""

    def __post_init__(self) -> None:
        if self.audio and self.manifest is not None:
            raise UsageError("give audio files or --manifest, not both")
        if not 0 < self.batch_seconds < float("inf"):
            raise UsageError("batch_seconds: must be above 0 and finite")
        if self.seed < 0:
            raise UsageError("seed: must be 0 or more")
