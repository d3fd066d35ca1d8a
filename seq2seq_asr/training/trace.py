"""Which utterance each data worker is reading, known to the training process when a worker dies or hangs."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from seq2seq_asr.data.dataset import InputReader
from seq2seq_asr.data.utterance import Utterance

LONGEST_ID = 256
"""Bytes kept of an utterance id."""


class Trace(NamedTuple):
    """Shared memory, a row for each worker."""

    pids: Tensor
    since: Tensor
    """Monotonic time at which the present utterance was begun; 0 between utterances."""
    ids: Tensor
    """Its id in UTF-8, filled up with zeros."""

    @contextlib.contextmanager
    def reading(self, id: str) -> Iterator[None]:
        """Note an utterance while it is read; nothing is noted outside of a worker."""
        info = get_worker_info()
        if info is None:
            yield
            return
        name = np.frombuffer(id.encode()[:LONGEST_ID].ljust(LONGEST_ID, b"\0"), dtype=np.uint8)
        self.ids[info.id] = torch.from_numpy(name.copy())
        self.pids[info.id], self.since[info.id] = os.getpid(), time.monotonic()
        yield  # an error ends the training in its own words
        self.since[info.id] = 0.0

    def suspect(self, message: str) -> str | None:
        """The utterance to blame for a loader's error: that of a worker it names, or else the one begun first."""
        busy = [row for row in range(len(self.pids)) if self.since[row] > 0]
        named = set(re.findall(r"\d+", message.partition("pid")[2]))
        guilty = [row for row in busy if str(int(self.pids[row])) in named]
        if not (guilty or busy):
            return None
        row = min(guilty or busy, key=lambda row: float(self.since[row]))
        return bytes(self.ids[row].numpy()).rstrip(b"\0").decode(errors="replace")

    def kill(self) -> None:
        """End the workers: those that hang ignore everything else, and would keep the program from ending."""
        for pid in self.pids.tolist():
            if pid > 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def shared_trace(workers: int) -> Trace:
    """Room for so many workers."""
    shapes = (((workers,), torch.int64), ((workers,), torch.float64), ((workers, LONGEST_ID), torch.uint8))
    return Trace(*(torch.zeros(shape, dtype=kind).share_memory_() for shape, kind in shapes))


class TracedReader(InputReader):
    """Reads as another reader does, and leaves a trace."""

    def __init__(self, reader: InputReader, trace: Trace) -> None:
        self.__dict__.update(reader.__dict__)
        self.trace = trace

    def __call__(self, utterance: Utterance) -> np.ndarray:
        """What the other reader reads."""
        with self.trace.reading(utterance.id):
            return super().__call__(utterance)
