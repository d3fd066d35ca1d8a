"""Settings of ``compare``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.run_folder import CheckpointChoice


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Train a grid of systems under an equal budget, decode the same test set with each, say what is significant."""

    name: str = "comparison"
    """Name of the comparison; its runs and results stand in this folder below `checkpoints`."""
    checkpoints: Path = Path("checkpoints")
    """Folder of all runs."""
    configs: tuple[Path, ...] = ()
    """Settings of `fit` to start from; several are compared with each other, besides what the axes vary."""
    axes: tuple[str, ...] = ()
    """What varies: "setting = value, value …", each; "setting + setting = …" gives several settings the same value."""
    settings: tuple[str, ...] = ()
    """Settings of `fit` that all runs share: "setting = value", each; on the command line they replace the file's."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Each system is trained once with each of these seeds."""
    match: Literal["steps", "parameters", "time"] = "steps"
    """Equal: updates; or updates and, by the hidden sizes, parameters within 2 %; or minutes of training, by epochs."""
    steps: int = 0
    """Updates of each run, within 2 %, as epochs are whole; 0 takes the epochs of the first config."""
    parameters: int = 0
    """Parameters of each model with `match parameters`; 0 takes those of the first system."""
    minutes: float = 0.0
    """Minutes of training with `match time`; the epochs follow from a timed epoch of every system."""
    split: Literal["dev", "test"] = "test"
    """Split of the runs' corpus that is decoded and compared on."""
    search: BeamConfig = field(default_factory=lambda: BeamConfig(beam=1, ctc_weight=0.0, guards="off"))
    """How to search; by default greedily with the attention alone, so that it is what is compared."""
    checkpoint: CheckpointChoice = "last"
    """Weights to decode with; the last are chosen by no look at the errors."""
    probe: Literal["none", "gradients"] = "none"
    """Measure the gradient flow of every trained run as well."""
    only: tuple[str, ...] = ()
    """Names of the runs to do now, such as "lstm_*_seed1"; the report is over all that are finished."""
    again: bool = False
    """Train anew even what is finished, as it would be for another version of the code; old runs go to `replaced/`."""
    jobs: int = 0
    """Runs at the same time; 0 is one a GPU, or one on the CPU. Cores are divided between them."""
    dry_run: bool = False
    """Show the runs that would be done, their parameters and epochs, and end."""

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise UsageError(f"name: {self.name!r} cannot be a folder name")
        if not self.configs:
            raise UsageError("configs: is required, such as configs: [configs/spoken.yaml]")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UsageError("seeds: one or more different numbers, 0 or more")
        if self.jobs < 0 or self.steps < 0 or self.parameters < 0:
            raise UsageError("jobs, steps and parameters: must be 0 or more")
        if (self.match == "time") != (self.minutes > 0):
            raise UsageError("minutes: to be given with --match time, and only there; above 0")
        if self.parameters and self.match != "parameters":
            raise UsageError("parameters: only with --match parameters")
        if self.steps and self.match == "time":
            raise UsageError("steps: not with --match time")
        if self.search.nbest != 1:
            raise UsageError("search.nbest: must be 1")
