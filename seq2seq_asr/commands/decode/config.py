"""Settings of ``decode``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.utterance import Split
from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.run_folder import CheckpointChoice

Format = Literal["ctm", "srt", "vtt", "tsv", "txt"]
"""How transcripts can be written besides hyp.jsonl and hyp.trn."""


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """Transcribe with a trained recogniser; without arguments, score the newest run on its own test set."""

    audio: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Audio files to transcribe, one line each on stdout (path, tab, text); none decodes a manifest."""
    run: Path | None = None
    """Run folder, or one that `export` made; none takes the newest below `checkpoints`."""
    ensemble: tuple[Path, ...] = ()
    """Runs of the same tokenizer whose models decode with that of `run`, each with an equal say."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    checkpoint: CheckpointChoice = "best"
    """Which weights of the run; a run without best has its last taken."""
    manifest: Path | None = None
    """Manifest or Kaldi folder to decode; what has a text is scored."""
    split: Split = "test"
    """Split of the run's own corpus, when no manifest is given."""
    out: Path | None = None
    """Folder for the results; none makes `decode_<set>_beam<K>` in the run folder, and for audio files writes none."""
    search: Annotated[BeamConfig, tyro.conf.arg(name="")] = field(default_factory=BeamConfig)
    """How to search."""
    tuned: bool = True
    """Start from the settings that `tune` found best for the run, where it has any; flags and files override them."""
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    """Cutting of long recordings, so that time and memory grow no faster than their length."""
    lm: Path | None = None
    """Language model that `fit_lm` made with this run's tokenizer; it joins the search with `lm_weight`."""
    ngram: Path | None = None
    """n-gram model of words, an ARPA file (`.gz` too) such as `fit_ngram` writes; joins with `ngram_weight`."""
    hotwords: Path | None = None
    """File of words and phrases to expect, one a line; see `hotword_boost`."""
    formats: tuple[Format, ...] = ()
    """Written besides: ctm, txt (a file for all), srt, vtt, tsv (subtitles, a file an utterance)."""
    batch_seconds: float = 100.0
    """Padded seconds of audio decoded together, at most."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    max_seconds: float = float("inf")
    """Longer recordings are skipped unread and named."""
    data_root: Path | None = None
    """Folder that all audio must lie in, symbolic links followed; without, a run's own splits keep its `data.root`."""
    resume: bool = False
    """Go on with an interrupted decoding of the same utterances into the same folder."""
    allow_skips: bool = False
    """Exit with 0 even if some utterances could not be decoded."""
    seed: int = 0
    """Seed of the bootstrap interval."""

    def __post_init__(self) -> None:
        if self.audio and self.manifest is not None:
            raise UsageError("give audio files or --manifest, not both")
        if self.resume and self.audio and self.out is None:
            raise UsageError("resume: of audio files nothing is kept without --out")
        if self.formats and self.audio and self.out is None:
            raise UsageError("formats: of audio files nothing is written without --out")
        if not self.max_seconds > 0:
            raise UsageError("max_seconds: must be above 0")
        if not 0 < self.batch_seconds < float("inf"):
            raise UsageError("batch_seconds: must be above 0 and finite")
        if self.seed < 0:
            raise UsageError("seed: must be 0 or more")
