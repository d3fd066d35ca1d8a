"""What corpora that we make ourselves share: they appear whole under their name or not at all."""

import glob
import io
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

_ABANDONED = 3600.0
"""Seconds without a new file after which nobody can be writing into an unfinished folder any more."""


@contextmanager
def partial_folder(final: Path) -> Iterator[Path]:
    """A new folder beside `final`, gone at the end unless renamed; those that killed processes left go as well."""
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob(f".{glob.escape(final.name)}.*.partial"):
        if time.time() - _last_written(left) > _ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
    partial = final.with_name(f".{final.name}.{secrets.token_hex(6)}.partial")
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _last_written(folder: Path) -> float:
    """When a file was last made in it or in a folder below, whose time the folder itself does not show."""
    try:
        return max(os.stat(path).st_mtime for path, _, _ in os.walk(folder))
    except (FileNotFoundError, ValueError):  # its maker has given it its name meanwhile
        return time.time()


def write_flac(path: Path, samples: Float32[np.ndarray, " N"] | Int16[np.ndarray, " N"], rate: int) -> None:
    """Write 16-bit FLAC, by way of memory: libsndfile says nothing when the disk is full."""
    flac = io.BytesIO()
    soundfile.write(flac, samples, rate, format="FLAC", subtype="PCM_16")
    path.write_bytes(flac.getvalue())
