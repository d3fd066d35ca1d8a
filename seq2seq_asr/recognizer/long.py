"""Recordings too long for one search: read in segments, decoded in batches, stitched.

Each segment's features are normalised by its own frames where the model normalises by utterance, as it did with the
utterances it learnt from; what went before in the recording plays no part. Statistics of the training data (``global``)
are the same for all segments.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from seq2seq_asr.console import Progress
from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.dataset import InputReader
from seq2seq_asr.data.long_audio import ArrayRecording, FileRecording, Plan, Recording, plan, read_segments
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.sources import Source, as_stored, check_samples, reads_features, source_id
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError
from seq2seq_asr.recognizer.stitching import QUIET, stitch
from seq2seq_asr.recognizer.transcript import Transcript

Decode = Callable[[Sequence[tuple[str, np.ndarray]]], list[Transcript | AsrError]]
"""Decodes what fits into one batch."""

AHEAD = 4
"""Batches of segments read ahead, so that segments of like length share a batch."""


def is_long(source: Source, seconds: float, reader: InputReader, config: SegmentConfig) -> bool:
    """Whether a recording is cut; precomputed features never are: they tell no energy."""
    return seconds > config.above and not reads_features(reader)


def transcribe_long(
    source: Source,
    place: int,
    reader: InputReader,
    decode: Decode,
    config: SegmentConfig,
    batching: BatchingConfig,
    progress: Progress,
) -> Transcript:
    """Transcribe a recording of any length in bounded memory.

    Args:
        source: Audio.
        place: Where it stands in the list.
        reader: The model's.
        decode: Searches in segments that are read.
        config: How to cut.
        batching: Limits of a batch.
        progress: Called after each batch.

    Returns:
        The transcript in the recording's own time.

    Raises:
        AsrError: The recording, or a segment of it, cannot be decoded.
    """
    id, recording = source_id(source, place), open_recording(source, reader)
    cut = plan(recording, config)
    spans = [(one.start / cut.rate, one.end / cut.rate) for one in cut.segments]
    found: dict[int, Transcript] = {}
    progress(id, 0, round(spans[-1][1]))
    for batch in segment_batches(recording, cut, reader, batching):
        results = decode([(f"{id} from {spans[number][0]:.3f} s", samples) for number, samples in batch])
        for (number, _), result in zip(batch, results, strict=True):
            if isinstance(result, AsrError):
                raise result
            found[number] = result
        progress(id, round(spans[max(found)][1]), round(spans[-1][1]))
    return stitch(id, [found.get(number, QUIET) for number in range(len(spans))], spans)


def open_recording(source: Source, reader: InputReader) -> Recording:
    """A source as something to be read in blocks.

    Raises:
        AudioError: It cannot be read.
    """
    if isinstance(source, np.ndarray):
        check_samples(source, reader)
        return ArrayRecording(source, reader.rate)
    if isinstance(source, Utterance):
        assert source.audio is not None
        return FileRecording(source.audio, source.offset, source.duration)
    return FileRecording(Path(source))


def segment_batches(
    recording: Recording, cut: Plan, reader: InputReader, batching: BatchingConfig
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Batches of the segments that are searched, each with its number and its samples as the model reads them."""
    for chunk in _chunks(recording, cut, reader, AHEAD * batching.batch_seconds):
        for batch in plan_in_order(np.array([len(samples) / reader.rate for _, samples in chunk]), batching):
            yield [chunk[row] for row in batch.tolist()]


def _chunks(
    recording: Recording, cut: Plan, reader: InputReader, seconds: float
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Segments to search, some batches at a time, by number; what is quiet, all alike or tiny is left out."""
    chunk: list[tuple[int, np.ndarray]] = []
    held = 0.0
    for number, samples in enumerate(read_segments(recording, cut.segments, reader.rate)):
        if cut.segments[number].quiet or len(samples) < reader.smallest or samples.min() == samples.max():
            continue
        chunk.append((number, as_stored(samples)))
        held += len(samples) / reader.rate
        if held >= seconds:
            yield chunk
            chunk, held = [], 0.0
    if chunk:
        yield chunk
