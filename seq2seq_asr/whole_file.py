"""Files that are replaced whole or not at all, whatever happens meanwhile, and what tells one from another."""

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path
from typing import Any, Literal

from seq2seq_asr.errors import AsrError, CheckpointError


def temporary_of(path: Path) -> Path:
    """Where this process writes what is to become `path`: beside it, hidden."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write a file in; when the block ends without an error, it is put in the place of `path`.

    It is flushed to the disk before, so that even when the power fails there is the old file or the new one.

    Raises:
        OSError: The folder is missing or cannot be written, or the disk is full; it names `path`.
    """
    temporary = temporary_of(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, kind: type[AsrError] = CheckpointError) -> Iterator[None]:
    """What cannot be written in here is told as an error of this kind, which names the file or else `path`."""
    try:
        yield
    except OSError as error:
        raise kind(f"{error.filename or path}: cannot be written ({error.strerror})") from error


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write a table whole or not at all.

    Args:
        path: The file.
        rows: What stands below the heads, by column.
        columns: In this order, and no others that rows may have; by default those of the first row, as of all.

    Raises:
        OSError: It cannot be written.
    """
    others: Literal["raise", "ignore"] = "raise" if columns is None else "ignore"
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.DictWriter(file, columns or list(rows[0]), extrasaction=others, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_whole(
    path: Path, content: str | bytes, kind: type[AsrError] = CheckpointError, *, keep: Path | None = None
) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file.
        content: What is to stand in it.
        kind: Of the error.
        keep: Where the file that is replaced goes, in the same folder; nowhere by default.

    Raises:
        AsrError: Of this kind, when it cannot be written.
    """
    with writing(path, kind), replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if keep is not None and path.exists():
            keep_as(path, keep)


def keep_as(path: Path, keep: Path) -> None:
    """Give a file a second name; where the file system knows no links, the first one is lost.

    Raises:
        OSError: It cannot have that name.
    """
    try:
        with replacing(keep) as link:
            os.link(path, link)
    except OSError:
        os.replace(path, keep)


def probe(path: Path) -> None:
    """Find out before long work whether a file could be written at its end; what stands there stays.

    Raises:
        OSError: It could not.
    """
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    temporary = temporary_of(path)
    try:
        temporary.open("wb").close()
        temporary.unlink()
    except OSError as error:
        error.filename = str(path)
        raise


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
