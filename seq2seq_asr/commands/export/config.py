"""Settings of ``export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seq2seq_asr.training.run_folder import CheckpointChoice


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Make a folder to hand on out of a run: weights or graphs, settings, tokenizer; nothing that can be executed.

    What `tune` found goes along with safetensors, unless it needs a language model; the search of ONNX graphs is the
    caller's.
    """

    run: Path | None = None
    """Run folder; the newest one by default."""
    checkpoints: Path = Path("checkpoints")
    """Where the newest run is looked for."""
    checkpoint: CheckpointChoice = "best"
    """Weights with the lowest validation WER, or the newest."""
    format: Literal["safetensors", "onnx"] = "safetensors"
    """safetensors: weights, which `decode` takes too; onnx: graphs of encoder and decoder step for other runtimes."""
    out: Path | None = None
    """New folder; by default `export` in the run folder."""
