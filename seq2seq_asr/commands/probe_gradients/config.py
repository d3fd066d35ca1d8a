"""Settings of ``probe_gradients``."""

from dataclasses import dataclass
from pathlib import Path

from seq2seq_asr.errors import UsageError
from seq2seq_asr.training.run_folder import CheckpointChoice


@dataclass(frozen=True, kw_only=True)
class ProbeGradientsConfig:
    """Show how far back in time the gradient of a run reaches on real utterances, before and after training.

    Writes gradients_init.json, gradients_trained.json, gradients.csv and gradients.png, and prints what they say.
    """

    run: Path | None = None
    """Run folder; none takes the newest below `checkpoints`."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    checkpoint: CheckpointChoice = "best"
    """Which weights of the run are the trained ones; a run without best has its last taken."""
    manifest: Path | None = None
    """Manifest or Kaldi folder to take utterances from; none takes the run's own dev."""
    utterances: int = 8
    """Utterances to probe, spread evenly over the manifest."""
    probes: int = 8
    """Random vectors an utterance and recurrence, each from another end in the utterance's second half."""
    seed: int = 0
    """Of the random vectors."""
    out: Path | None = None
    """Folder for the results; none takes `gradients` in the run folder."""

    def __post_init__(self) -> None:
        if self.utterances < 1 or self.probes < 1:
            raise UsageError("utterances and probes: must be 1 or more")
        if self.seed < 0:
            raise UsageError("seed: must be 0 or more")
