"""Settings of ``tune``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.utterance import Split
from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.criterion import Choice
from seq2seq_asr.training.run_folder import CheckpointChoice


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Find the best search settings of a run on its dev set, and calibrate its word confidences.

    The encoder runs once (a speed). First the weights are swept at one beam, then the beam with the best weights. What
    has the lowest error rate of all (or the smallest beam within `slack` of it) goes into the run folder as
    decoding.yaml, which `decode` then starts from. Do not tune on the set that you report.
    """

    run: Path | None = None
    """Run folder; none takes the newest below `checkpoints`."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    name: str | None = None
    """Name of a run below `checkpoints`, in place of `run`."""
    checkpoint: CheckpointChoice = "best"
    """Which weights of the run."""
    manifest: Path | None = None
    """Manifest or Kaldi folder to tune on, with texts; none takes the run's own split."""
    split: Split = "dev"
    """Split of the run's own corpus, when no manifest is given."""
    utterances: int | None = None
    """Tune on the first so many only; none takes all."""
    search: Annotated[BeamConfig, tyro.conf.arg(name="")] = field(default_factory=BeamConfig)
    """Where to start from; `beam` is the one that weights are swept at."""
    beams: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Beams to try with the best weights."""
    sweep: tuple[str, ...] = ()
    """Settings to try, as name=value,value; none tries every weight that changes a score, and length_bonus."""
    method: Literal["coordinate", "grid"] = "coordinate"
    """coordinate: one setting after the other, each at its best before the next; grid: all combinations."""
    criterion: Choice = "auto"
    """Error rate to go by; auto takes words, or characters where no spaces part the words."""
    slack: float = 0.0
    """Absolute error rate that a smaller, faster beam may cost: 0.001 takes it where it is 0.1 points worse."""
    rounds: int = 1
    """Times that coordinate goes through all settings, at most."""
    lm: Path | None = None
    """Language model that `fit_lm` made with this run's tokenizer; it joins the search."""
    ngram: Path | None = None
    """n-gram model of words, an ARPA file such as `fit_ngram` writes; it joins the search."""
    hotwords: Path | None = None
    """File of words and phrases to expect, one a line."""
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    """How long recordings are cut, as `decode` cuts them."""
    batch_seconds: float = 100.0
    """Padded seconds of audio searched together, at most."""
    memory_mb: float = 1024.0
    """Mebibytes of encoded audio kept in memory; what is more goes to a temporary folder."""
    disk_mb: float = 16384.0
    """Mebibytes of encoded audio kept in the temporary folder, at most."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    data_root: Path | None = None
    """Folder that all audio must lie in, symbolic links followed."""
    seed: int = 0
    """Seed of the bootstrap intervals."""

    def __post_init__(self) -> None:
        if self.run is not None and self.name is not None:
            raise UsageError("give run or name, not both")
        if not self.beams or min(self.beams) < 1:
            raise UsageError("beams: give at least one, each 1 or more")
        if not 0 <= self.slack <= 1:
            raise UsageError("slack: must lie in [0, 1]")
        if self.rounds < 1:
            raise UsageError("rounds: must be 1 or more")
        if self.utterances is not None and self.utterances < 1:
            raise UsageError("utterances: must be 1 or more")
        if not 0 < self.batch_seconds < float("inf"):
            raise UsageError("batch_seconds: must be above 0 and finite")
        if self.memory_mb < 0 or self.disk_mb < 0:
            raise UsageError("memory_mb and disk_mb: must be 0 or more")
        if self.seed < 0:
            raise UsageError("seed: must be 0 or more")
