"""Checkpoint files: written whole or not at all, read without running anything from them."""

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.whole_file import keep_as, replacing

FORMAT = 1
"""Version of what ``checkpoint["seq2seq_asr"]`` holds."""


def write_atomically(checkpoint: Mapping[str, Any], path: Path, keep: Path | None = None) -> None:
    """Write beside, flush to the disk, rename: a crash leaves the old file or the new one.

    Args:
        checkpoint: What to write.
        path: The file.
        keep: Where the file that is replaced goes, in the same folder; nowhere by default.

    Raises:
        CheckpointError: The folder is not writable or the disk is full; the old file still stands.
    """
    try:
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                torch.save(dict(checkpoint), file)
            if keep is not None and path.exists():
                keep_as(path, keep)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_leftovers(folder: Path) -> list[Path]:
    """Remove what interrupted writes left behind, and name it."""
    leftovers = sorted(path for path in folder.glob(".*.tmp") if re.fullmatch(r"\..+\.\d+\.tmp", path.name))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this package, tensors and plain values only (never unpickled code).

    Raises:
        CheckpointError: Missing, damaged, or not ours.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        _check_container(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes lead torch's reader into errors of nearly every kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of seq2seq_asr ({reason[:200]})") from error
    record = checkpoint.get("seq2seq_asr") if isinstance(checkpoint, dict) else None
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(weights, dict):
        raise CheckpointError(f"{path}: not a checkpoint of seq2seq_asr (format {FORMAT})")
    return checkpoint


def _check_container(path: Path) -> None:
    """Refuse what torch.save does not write, members larger than the file, and a bit that has flipped since."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise CheckpointError("it has compressed members")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise CheckpointError("its members claim to be larger than the file")
        if (damaged := archive.testzip()) is not None:  # torch.load itself compares no sums
            raise CheckpointError(f"the CRC-32 of {damaged} is not that of its bytes")


def model_weights(checkpoint: Mapping[str, Any], part: str = "state_dict") -> dict[str, torch.Tensor]:
    """Weights in a part of a checkpoint, under the names of `Seq2Seq`."""
    prefix = "model."
    return {
        name.removeprefix(prefix): value
        for name, value in checkpoint[part].items()
        if name.startswith(prefix) and isinstance(value, torch.Tensor)
    }


def load_weights(model: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a model of the same shape.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    try:
        model.load_state_dict(model_weights(checkpoint))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights do not fit the model of config.yaml ({_first_lines(error)})") from error


def load_matching(model: nn.Module, checkpoint: Mapping[str, Any], skip: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Take over what agrees in name and shape, names that start with one of ``skip`` left out.

    A recurrent layer with zoneout or recurrent dropout agrees with one without: its weights are those of one cell.

    Returns:
        How many tensors were taken, and the model's names that were not.
    """
    own, found = model.state_dict(), named_as_in(model, model_weights(checkpoint))
    agreeing = {
        name: value
        for name, value in found.items()
        if name in own and own[name].shape == value.shape and not (skip and name.startswith(skip))
    }
    model.load_state_dict({**own, **agreeing})
    return len(agreeing), sorted(own.keys() - agreeing.keys())


def named_as_in(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under the names of this model, which may have cells where they have the library's own layers."""
    names = {_of_a_layer(name): name for name in model.state_dict()}
    return {names.get(_of_a_layer(name), name): value for name, value in weights.items()}


def _of_a_layer(name: str) -> str:
    """The name that a cell's weight has in the library's own layer."""
    return re.sub(r"\.cell\.((weight|bias)_(ih|hh))$", r".\1_l0", name)


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3])
