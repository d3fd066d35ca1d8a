"""A dev set whose encoder has run: kept in memory as far as that goes, then on disk."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.long_audio import plan
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.sources import read_source
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.nn.model import Encoded
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.recognizer.hearing import Hearings, speeds_of
from seq2seq_asr.recognizer.long import is_long, open_recording, segment_batches
from seq2seq_asr.recognizer.searcher import Searcher

_MEBIBYTE = 2**20
_Found = TypeVar("_Found")


class Part(NamedTuple):
    """What is searched by itself: an utterance, or a segment of one that `decode` would cut."""

    utterance: int
    """Place in the set."""
    segment: int | None = None


@dataclass
class EncodedSet:
    """Encoded batches of a set, with the time that took."""

    utterances: list[Utterance]
    batches: list[tuple[list[Part], Hearings | Path]] = field(default_factory=list)
    """What is in a batch, all segments or none, and its states or the file that holds them."""
    reading: float = 0.0
    """Wall seconds of reading."""
    encoding: list[float] = field(default_factory=list)
    """Wall seconds of features and encoder at each speed."""

    def seconds(self, speeds: int) -> float:
        """Wall time of all that comes before a search that hears so many speeds."""
        return self.reading + sum(self.encoding[:speeds])

    @property
    def audio(self) -> float:
        """Seconds of audio."""
        return sum(one.duration for one in self.utterances)

    def __iter__(self) -> Iterator[tuple[list[Part], Hearings]]:
        for parts, kept in self.batches:
            yield parts, _load(kept) if isinstance(kept, Path) else kept

    def by_utterance(self, found: Mapping[Part, _Found]) -> list[list[_Found]]:
        """What was found in each utterance, segment after segment; nothing where all of it is quiet."""
        gathered: list[list[_Found]] = [[] for _ in self.utterances]
        for part in sorted(found):
            gathered[part.utterance].append(found[part])
        return gathered


def encode_set(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    batch_seconds: float,
    memory_mb: float,
    disk_mb: float,
    speeds: int = 1,
    segment: SegmentConfig | None = None,
) -> EncodedSet:
    """Run the encoder over a set, cut as `decode` cuts it.

    Args:
        recognizer: The recogniser.
        utterances: The set.
        folder: A temporary folder for what does not fit in memory.
        batch_seconds: Padded seconds of a batch, at most.
        memory_mb: Mebibytes to keep in memory.
        disk_mb: Mebibytes to keep in the folder.
        speeds: Speeds to hear the set at.
        segment: From which length on, and how, utterances are cut; default `SegmentConfig`.

    Raises:
        UsageError: Both are full.
        CheckpointError: The folder cannot be written.
        AudioError: An utterance cannot be read.
    """
    kept = EncodedSet(list(utterances), encoding=[0.0] * speeds)
    rooms = [memory_mb * _MEBIBYTE, disk_mb * _MEBIBYTE]
    limits = BatchingConfig(batch_seconds=batch_seconds, max_utterances=1000)
    with ProgressLine() as progress:
        seen, started = set[int](), time.perf_counter()
        for batch in _batches(recognizer, utterances, limits, segment or SegmentConfig()):
            kept.reading += time.perf_counter() - started
            hearings = _encode(recognizer.searcher, [samples for _, samples in batch], kept.encoding)
            parts, path = [part for part, _ in batch], folder / f"{len(kept.batches) + 1}.pt"
            kept.batches.append((parts, _keep(hearings, path, rooms)))
            seen.update(part.utterance for part in parts)
            progress("encoding", len(seen), len(utterances))
            started = time.perf_counter()
    return kept


def _batches(
    recognizer: Recognizer, utterances: Sequence[Utterance], limits: BatchingConfig, segment: SegmentConfig
) -> Iterator[list[tuple[Part, np.ndarray]]]:
    """What is encoded together, as read; segments of a recording come by themselves, before everything else."""
    reader = recognizer.reader
    long = [place for place, one in enumerate(utterances) if is_long(one, one.duration, reader, segment)]
    for place in long:
        recording = open_recording(utterances[place], reader)
        for batch in segment_batches(recording, plan(recording, segment), reader, limits):
            yield [(Part(place, number), samples) for number, samples in batch]
    rest = [place for place in range(len(utterances)) if place not in set(long)]
    for rows in plan_in_order(np.array([utterances[place].duration for place in rest]), limits):
        yield [(Part(rest[row]), read_source(utterances[rest[row]], reader)) for row in rows.tolist()]


def _encode(searcher: Searcher, inputs: Sequence[np.ndarray], seconds: list[float]) -> Hearings:
    """Hear a batch at as many speeds as there are seconds to count."""
    hearings = list[Encoded]()
    for number, speed in enumerate(speeds_of(len(seconds))):
        started = time.perf_counter()
        hearings += searcher.encode_at(inputs, speed)
        seconds[number] += time.perf_counter() - started
    return tuple(hearings)


def _keep(hearings: Hearings, path: Path, rooms: list[float]) -> Hearings | Path:
    size = sum(encoded.states.nbytes + encoded.lengths.nbytes for encoded in hearings)
    for number, room in enumerate(rooms):
        if size <= room:
            rooms[number] -= size
            if number == 0:
                return hearings
            _save(hearings, path)
            return path
    raise UsageError("the encoded set does not fit: raise memory_mb or disk_mb, or tune on fewer utterances")


def _save(hearings: Hearings, path: Path) -> None:
    try:
        torch.save([tuple(encoded) for encoded in hearings], path)
    except (OSError, RuntimeError) as error:  # the second is what torch makes of a full disk
        raise CheckpointError(
            f"{path}: cannot be written, is the disk full? Set TMPDIR to a folder with room for disk_mb, "
            "raise memory_mb, or tune on fewer utterances"
        ) from error


def _load(path: Path) -> Hearings:
    return tuple(Encoded(*encoded) for encoded in torch.load(path, weights_only=True))


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for encoded audio, gone with the process.

    Raises:
        CheckpointError: It cannot be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="seq2seq_asr-tune-")
    except OSError as error:
        raise CheckpointError(f"no temporary folder can be made ({error.strerror}): set TMPDIR") from error
