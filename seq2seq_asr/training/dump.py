"""Batches whose loss or gradient was not finite, kept in the run folder to be looked at."""

import os
from pathlib import Path

import torch

from seq2seq_asr.console import say
from seq2seq_asr.data.dataset import Batch

MOST = 20
"""Batches kept of a run: days of training must not fill the disk."""


def dump_batch(folder: Path, batch: Batch, step: int, rank: int, suspects: tuple[str, ...]) -> Path | None:
    """Write ``step-<n>-rank-<r>.pt``: tensors and plain values, for ``torch.load(..., weights_only=True)``.

    Args:
        folder: Where to; made when it does not exist.
        batch: This rank's utterances.
        step: Optimiser steps done before.
        rank: This process.
        suspects: Ids of those to blame.

    Returns:
        The file; None when there are enough, or the disk does not take it.
    """
    path = folder / f"step-{step}-rank-{rank}.pt"
    try:
        folder.mkdir(exist_ok=True)
        if len(os.listdir(folder)) >= MOST:
            return None
        contents = {name: value.cpu() if torch.is_tensor(value) else value for name, value in batch._asdict().items()}
        torch.save({**contents, "step": step, "suspects": suspects}, path)
    except (OSError, RuntimeError) as error:
        say(f"warning: {path} cannot be written ({error})")
        return None
    return path
