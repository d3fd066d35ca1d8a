"""One process at a time in a folder of results."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from seq2seq_asr.console import say
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.whole_file import writing


@contextlib.contextmanager
def claimed(folder: Path, file: str, work: str, way_out: str) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets go of it however this process ends.

    Args:
        folder: The folder; it is made where it is missing.
        file: Name of the file in it that is locked; it is made too, and stays.
        work: What is done there, for the error: ``decoding``.
        way_out: What whoever comes second can do besides waiting.

    Raises:
        CheckpointError: Another process works there, or the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / file).open("a")
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(f"{folder}: another {work} writes there: wait until it ends, or {way_out}") from error
        except OSError as error:
            say(f"warning: {folder}: not protected from a second {work}: no locks there ({error.strerror})")
        yield
