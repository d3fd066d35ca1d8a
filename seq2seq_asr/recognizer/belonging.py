"""Settings in a run folder that mean nothing to any other recogniser."""

from pathlib import Path
from typing import TypeVar

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.recognizer.confidence import Calibration
from seq2seq_asr.recognizer.tuned import Tuned
from seq2seq_asr.strict_yaml import load_yaml

Settings = TypeVar("Settings", Tuned, Calibration)


def load_belonging(path: Path, kind: type[Settings], tokenizer: str) -> Settings | None:
    """Settings that ``tune`` wrote for a run, or None where it wrote none.

    Args:
        path: The YAML file.
        kind: What it holds.
        tokenizer: Hash of the run's tokenizer.

    Raises:
        UsageError: The file is damaged or has an unknown key.
        CheckpointError: It belongs to another tokenizer.
    """
    if not path.is_file():
        return None
    settings = load_yaml(path, kind)
    if settings.tokenizer != tokenizer:
        raise CheckpointError(f"{path}: made for another tokenizer: remove it, or run tune again")
    return settings
