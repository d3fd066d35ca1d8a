"""SIGINT, SIGTERM and SIGUSR1 while training: finish the step, save, and end with the signal's exit code."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from seq2seq_asr.console import Interrupted, Terminated, say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What ends a training in order; SIGUSR1 is what a SLURM job asks for before its time is up."""
SAME = 1.0
"""Seconds within which a signal that comes again is the same one: a terminal and torchrun both send it."""


class SignalWatch:
    """Takes over these signals while it is open.

    Outside the training loop a signal ends the program at once. Within it (`graceful`) the first one is noted, for the
    loop to stop after its step, and the second one ends the program at once.
    """

    def __init__(self) -> None:
        self.graceful = False
        self.received = 0
        """Number of the signal, 0 for none."""
        self.at = 0.0
        self.process = os.getpid()
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalWatch":
        self.take_over()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def take_over(self) -> None:
        """Become their handler; Lightning puts its own in between."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may handle signals
        for number in SIGNALS:
            before = signal.signal(number, self._note)
            self.previous.setdefault(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            return  # a data worker inherits the handler: the training process decides
        again = self.received != 0
        if again and time.monotonic() - self.at < SAME:
            return
        self.received, self.at = number, time.monotonic()
        if again or not self.graceful:
            raise end_of(number)
        say(f"{signal.Signals(number).name}: finishing the step, then saving; once more stops at once")


def end_of(number: int, message: str = "") -> BaseException:
    """What ends the program with the exit code of a signal; SIGUSR1 counts as SIGTERM."""
    kind = Interrupted if number == signal.SIGINT else Terminated
    return kind(message) if message else kind()
