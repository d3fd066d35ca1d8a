"""Settings in a run folder that mean nothing to any other recogniser."""

from pathlib import Path
from typing import TypeVar

from seq2seq_asr.console import say
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.recognizer.confidence import Calibration
from seq2seq_asr.recognizer.restoring import weights_file
from seq2seq_asr.recognizer.tuned import Tuned
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.run_folder import CheckpointChoice
from seq2seq_asr.whole_file import digest_of

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


def warning_of_other_weights(path: Path, settings: Tuned | Calibration, checkpoint: CheckpointChoice) -> str | None:
    """A warning where settings were found with other weights than those of their folder.

    Args:
        path: Their YAML file.
        settings: What it holds.
        checkpoint: Which weights of the folder are to be used.

    Raises:
        CheckpointError: The folder has no weights.
    """
    weights = weights_file(path.parent, checkpoint)
    if settings.weights == digest_of(weights):
        return None
    return f"warning: {path}: tuned with other weights than those of {weights.name}"


def load_tuned(path: Path, tokenizer: str, checkpoint: CheckpointChoice) -> Tuned | None:
    """The settings that were tuned; of other weights, with a warning.

    Raises:
        UsageError: As `load_belonging`.
        CheckpointError: Likewise.
    """
    found = load_belonging(path, Tuned, tokenizer)
    if found is not None and (warning := warning_of_other_weights(path, found, checkpoint)):
        say(f"{warning}: tune again")
    return found


def load_calibration(path: Path, tokenizer: str, checkpoint: CheckpointChoice) -> Calibration | None:
    """The calibration of these weights; of others, a warning and None.

    Raises:
        UsageError: As `load_belonging`.
        CheckpointError: Likewise.
    """
    found = load_belonging(path, Calibration, tokenizer)
    if found is None or (warning := warning_of_other_weights(path, found, checkpoint)) is None:
        return found
    say(f"{warning}: word confidences stay raw")
    return None
