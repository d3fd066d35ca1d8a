"""What a manifest may name: plain files, and with a root only those below it."""

import os
import re
from pathlib import Path

_COMMAND = re.compile(r"\s*\||.*\|\s*$", re.DOTALL)


def require_plain_path(source: str) -> None:
    """Refuse what other programs would run or fetch: here it would merely be a file that is not there.

    Raises:
        ValueError: A pipe or a URL.
    """
    if "|" in source and _COMMAND.match(source):
        raise ValueError(f"{source[:80]!r} is a pipe: commands are not run, write the audio to files first")
    if "://" in source:
        raise ValueError(f"{source[:80]!r} is a URL: nothing is fetched, download it first")


class Confinement:
    """Paths that may be read: those below one folder, with every symbolic link followed.

    Args:
        root: The folder; None confines nothing.
    """

    def __init__(self, root: Path | None) -> None:
        self.root = None if root is None else os.path.realpath(root)
        self.folders: dict[str, str] = {}

    def require(self, path: Path) -> None:
        """Refuse a path that leads elsewhere.

        Raises:
            ValueError: It, or a folder or link on the way, leaves the root.
        """
        if self.root is None:
            return
        folder, name = os.path.split(path)
        if folder not in self.folders:  # a corpus has few folders, and resolving one costs a system call a part
            self.folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(os.path.join(self.folders[folder], name))
        if os.path.commonpath([self.root, real]) != self.root:
            raise ValueError(f"{path}: leads to {real}, outside of the data root {self.root}")
