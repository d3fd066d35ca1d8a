"""Settings of ``doctor``."""

from dataclasses import dataclass
from pathlib import Path

from seq2seq_asr.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Examine a corpus before training on it; exit with 1 when something in it is wrong."""

    manifest: tuple[Path, ...] = ()
    """Training manifests or Kaldi folders, examined as one set."""
    against: tuple[Path, ...] = ()
    """Test manifests or Kaldi folders, each a set that must not share audio with training."""
    run: Path | None = None
    """Run folder whose tokenizer and model the corpus must fit."""
    experiment: Path | None = None
    """YAML file of the training to come; without it and a run, the defaults of `fit`."""
    tokenizer: Path | None = None
    """Tokenizer file; none takes the run's, or learns one from the training texts as `fit` would."""
    data_root: Path | None = None
    """Folder that all audio must lie in, symbolic links followed; none takes the run's or experiment's `data.root`."""
    report: Path = Path("doctor.json")
    """Where the JSON report goes, with every utterance that was found."""
    threads: int = 4
    """Files read at the same time."""

    def __post_init__(self) -> None:
        if not self.manifest:
            raise UsageError("manifest: is required, such as --manifest train.jsonl")
        if self.run is not None and self.experiment is not None:
            raise UsageError("give --run or --experiment, not both")
        if not 1 <= self.threads <= 256:
            raise UsageError("threads: must be from 1 to 256")
