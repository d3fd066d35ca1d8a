"""A recogniser to hand on: weights as safetensors, settings as JSON, the tokenizer; nothing in it can be executed."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from seq2seq_asr.data.targets import Targets
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import FORMAT
from seq2seq_asr.whole_file import temporary_of, writing

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MOST_BYTES = 2**20
"""Of config.json: more is none of ours."""


def is_portable(folder: Path) -> bool:
    """Whether the folder holds an exported recogniser rather than a run."""
    return (folder / WEIGHTS).is_file()


def write_portable(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    model: Mapping[str, Any],
    tokenizer: Targets,
    beside: Callable[[str], Mapping[str, str]] = lambda digest: {},
) -> None:
    """Write a new folder, whole or not at all.

    Args:
        folder: Must not exist, or be empty.
        weights: Under the names of `Seq2Seq`.
        model: The model's settings, plain values.
        tokenizer: The tokenizer, or the labels, it was trained with.
        beside: Texts of other files by name, given the SHA-256 of the file of weights.

    Raises:
        CheckpointError: There is something in the folder, or it cannot be written.
    """
    from safetensors.torch import save

    content = save({name: value.contiguous() for name, value in weights.items()}, {"format": "pt"})
    digest = hashlib.sha256(content).hexdigest()
    settings = {"seq2seq_asr": FORMAT, "sha256": digest, "tokenizer": tokenizer.hash, "model": model}
    with new_folder(folder) as made:
        (made / WEIGHTS).write_bytes(content)
        tokenizer.save(made / tokenizer.file)
        (made / CONFIG).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        for name, text in beside(digest).items():
            (made / name).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when all is in it.

    Raises:
        CheckpointError: There is something under that name, or it cannot be written.
    """
    folder = folder.resolve()
    _require_free(folder)
    temporary = temporary_of(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(folder)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_free(folder: Path) -> None:
    with writing(folder):
        if folder.exists() and any(folder.iterdir()):
            raise CheckpointError(f"{folder}: exists already and is not empty")
        if folder.exists() and folder.samefile(Path.cwd()):  # the shell would be left in a folder that is gone
            raise CheckpointError(f"{folder}: is the folder that you are in: give the name of a new one")


def read_portable(folder: Path) -> dict[str, Any]:
    """What `read_checkpoint` gives of a run, of an exported folder.

    Raises:
        CheckpointError: A file is missing, damaged or not ours.
    """
    from safetensors.torch import load

    settings = _read_settings(folder / CONFIG)
    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != settings.get("sha256"):
            raise CheckpointError(f"{path}: damaged, its SHA-256 is not that of {CONFIG}")
        weights = load(content)
    except CheckpointError:
        raise
    except Exception as error:  # the reader's errors are its own, and not documented
        raise CheckpointError(f"{path}: damaged, or no safetensors ({str(error)[:200]})") from error
    return {
        "seq2seq_asr": {"config": {"model": settings.get("model")}, "tokenizer": settings.get("tokenizer")},
        "state_dict": {f"model.{name}": value for name, value in weights.items()},
    }


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        settings = json.loads(content) if len(content) <= MOST_BYTES else None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no JSON ({str(error)[:200]})") from error
    if not isinstance(settings, dict) or settings.get("seq2seq_asr") != FORMAT:
        raise CheckpointError(f"{path}: not of an exported recogniser (format {FORMAT})")
    return settings
