"""A dev set whose encoder has run: kept in memory as far as that goes, then on disk."""

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.sources import read_source
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.model import Encoded
from seq2seq_asr.recognizer import Recognizer

_MEBIBYTE = 2**20


@dataclass
class EncodedSet:
    """Encoded batches of a set, with the time that took."""

    utterances: list[Utterance]
    batches: list[tuple[list[int], Encoded | Path]] = field(default_factory=list)
    """Places of the utterances in the set, and their states or the file that holds them."""
    seconds: float = 0.0
    """Wall time of reading, features and encoder."""

    @property
    def audio(self) -> float:
        """Seconds of audio."""
        return sum(one.duration for one in self.utterances)

    def __iter__(self) -> Iterator[tuple[list[int], Encoded]]:
        for places, kept in self.batches:
            yield places, kept if isinstance(kept, Encoded) else Encoded(*torch.load(kept, weights_only=True))


def encode_set(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    batch_seconds: float,
    memory_mb: float,
    disk_mb: float,
) -> EncodedSet:
    """Run the encoder over a set.

    Args:
        recognizer: The recogniser.
        utterances: The set.
        folder: A temporary folder for what does not fit in memory.
        batch_seconds: Padded seconds of a batch, at most.
        memory_mb: Mebibytes to keep in memory.
        disk_mb: Mebibytes to keep in the folder.

    Raises:
        UsageError: Both are full.
        AudioError: An utterance cannot be read.
    """
    kept = EncodedSet(list(utterances))
    rooms = [memory_mb * _MEBIBYTE, disk_mb * _MEBIBYTE]
    limits = BatchingConfig(batch_seconds=batch_seconds, max_utterances=1000)
    started = time.perf_counter()
    with ProgressLine() as progress:
        plan = plan_in_order(np.array([one.duration for one in utterances]), limits)
        for places, seen in zip(plan, itertools.accumulate(map(len, plan)), strict=True):
            inputs = [read_source(utterances[place], recognizer.reader) for place in places]
            encoded = recognizer.searcher.encode(inputs)
            kept.batches.append((places.tolist(), _keep(encoded, folder / f"{seen}.pt", rooms)))
            progress("encoding", seen, len(utterances))
    kept.seconds = time.perf_counter() - started
    return kept


def _keep(encoded: Encoded, path: Path, rooms: list[float]) -> Encoded | Path:
    size = encoded.states.nbytes + encoded.lengths.nbytes
    for number, room in enumerate(rooms):
        if size <= room:
            rooms[number] -= size
            if number == 0:
                return encoded
            torch.save(tuple(encoded), path)
            return path
    raise UsageError("the encoded set does not fit: raise memory_mb or disk_mb, or tune on fewer utterances")


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for encoded audio, gone with the process."""
    return tempfile.TemporaryDirectory(prefix="seq2seq_asr-tune-")
