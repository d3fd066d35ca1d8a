"""Whether a run folder can take a checkpoint, found out before hours were trained."""

import contextlib
import errno
import os
from pathlib import Path

from torch import nn

from seq2seq_asr.errors import CheckpointError

STATES = 3
"""Copies of the weights in a training state: themselves and AdamW's two moments."""


def state_bytes(model: nn.Module, *, averaged: bool = False) -> int:
    """About the size of one training state; an average of the weights is a copy more."""
    return (STATES + averaged) * sum(value.numel() * value.element_size() for value in model.state_dict().values())


def check_room(folder: Path, size: int) -> None:
    """Write a file of ``size`` bytes, and remove it again.

    Raises:
        CheckpointError: The folder is not writable, or its disk too full.
    """
    probe = folder / f".room.{os.getpid()}.tmp"
    try:
        with probe.open("wb") as file:
            file.write(b"\0")
            file.flush()
            _reserve(file.fileno(), size)
    except OSError as error:
        wanted = f"; a checkpoint needs about {size / 1e6:.1f} MB" if error.errno != errno.EACCES else ""
        raise CheckpointError(f"{folder}: checkpoints cannot be written ({error.strerror}{wanted})") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _reserve(descriptor: int, size: int) -> None:
    """Take space on the disk, where its file system can say so."""
    try:
        os.posix_fallocate(descriptor, 0, max(1, size))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
