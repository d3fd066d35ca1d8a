"""Entry points called as from a shell, without the seconds that a process of its own takes to start."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import pytest

from seq2seq_asr.console import exit_code_of


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that says why it failed, as every failure must have."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in self.err and self.out == "", self
        return lines[0]


@pytest.fixture
def call(capfd: pytest.CaptureFixture) -> Callable[..., Result]:
    """Calls ``main`` with arguments; what it sets in the environment is forgotten."""

    def run(main: Callable[[list[str]], int], *argv: object) -> Result:
        capfd.readouterr()
        with mock.patch.dict(os.environ):
            try:
                code = exit_code_of(main, [str(argument) for argument in argv])
            except SystemExit as stop:  # tyro's way to end: 2 for wrong flags, 0 after --help
                code = int(stop.code or 0)
        return Result(code, *capfd.readouterr())

    return run
