"""Text files of a corpus, line by line, with errors that name the line."""

from collections.abc import Iterator
from pathlib import Path

from seq2seq_asr.errors import ManifestError


def fault(path: Path, number: int, why: str) -> ManifestError:
    """The error for one line of a file."""
    return ManifestError(f"{path}:{number}: {why}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file without their ends; a byte-order mark and blank lines are dropped.

    Raises:
        ManifestError: The file cannot be read, or a line is not UTF-8 or holds a NUL.
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(content.split(b"\n"), start=1):
        if b"\0" in line:
            raise fault(path, number, "NUL byte")
        try:
            text = line.decode().rstrip("\r")
        except UnicodeDecodeError as error:
            raise fault(path, number, "not UTF-8 text") from error
        if text and not text.isspace():
            yield number, text


def read_pairs(path: Path, *, allow_alone: bool = False) -> dict[str, tuple[int, str]]:
    """A table of ``<key> <rest of the line>``: the line number and the rest by key.

    Args:
        path: The file.
        allow_alone: Accept a key without anything behind it, as of an utterance without words.

    Raises:
        ManifestError: A line has no second column, or a key comes twice.
    """
    pairs: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        if not rest and not allow_alone:
            raise fault(path, number, f"expected two columns, found only {key!r}")
        if key in pairs:
            raise fault(path, number, f"{key!r} is already on line {pairs[key][0]}")
        pairs[key] = number, "".join(rest).rstrip()
    return pairs
