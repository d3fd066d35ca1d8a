"""``<file>.sha256`` beside a file, as ``sha256sum --check`` reads it: a bit that has flipped since is noticed."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.whole_file import replacing


class HashingFile:
    """A file that can only be written from front to back, and the SHA-256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        """Write on."""
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Hand over to the operating system."""
        self.file.flush()


def sums_path(path: Path) -> Path:
    """Where the sums of a file stand."""
    return path.with_name(f"{path.name}.sha256")


def read_sums(path: Path) -> list[str]:
    """The sums that a file may have: none where none were written, two while it is being replaced.

    Raises:
        CheckpointError: The sums are there but cannot be read.
    """
    place = sums_path(path)
    try:
        text = place.read_bytes().decode("ascii", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{place}: cannot be read ({error.strerror})") from error
    sums = re.findall(r"^([0-9a-f]{64})  ", text, re.MULTILINE)
    if not sums:
        raise CheckpointError(f"{place}: damaged, it holds no SHA-256; delete it to read {path.name} unchecked")
    return sums


def known_sums(path: Path) -> list[str]:
    """The sums that a file may have; those that cannot be read are removed, for they would outlive it."""
    try:
        return read_sums(path)
    except CheckpointError:
        sums_path(path).unlink(missing_ok=True)
        return []


def write_sums(path: Path, sums: Sequence[str]) -> None:
    """Write the sums that a file may have; without any, remove them."""
    place = sums_path(path)
    if not sums:
        place.unlink(missing_ok=True)
        return
    with replacing(place) as temporary:
        temporary.write_text("".join(f"{digest}  {path.name}\n" for digest in sums), encoding="utf-8")


def put_in_place(temporary: Path, path: Path, sums: Sequence[str]) -> None:
    """Rename a file into place; until that is done, the old file's sums stand beside the new one's.

    Args:
        temporary: The new file, in the same folder.
        path: Where it goes; a file that stands there is replaced.
        sums: What the new file may have; none if that is not known.
    """
    old = known_sums(path)
    if sums and (old or not path.exists()):
        write_sums(path, [*sums, *old])
    elif not sums:
        write_sums(path, [])
    os.replace(temporary, path)
    write_sums(path, sums)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file: the sum beside it, or that of its bytes where there is none, or two.

    Raises:
        CheckpointError: The file, or its sums, cannot be read.
    """
    sums = read_sums(path)
    try:
        return sums[0] if len(sums) == 1 else _digest(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sums(path: Path) -> None:
    """Compare a file with the sums beside it, if there are any.

    Raises:
        CheckpointError: They differ.
    """
    sums = read_sums(path)
    if not sums:
        return
    if _digest(path) not in sums:
        place = sums_path(path)
        raise CheckpointError(
            f"{path}: damaged, its SHA-256 is not that of {place.name} (if it was changed on purpose, delete that file)"
        )
