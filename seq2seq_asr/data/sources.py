"""What a user may hand over to be transcribed: audio files, samples or utterances, read or told why not."""

from pathlib import Path

import numpy as np

from seq2seq_asr.data.audio import audio_duration, check_length, read_audio
from seq2seq_asr.data.dataset import FULL_SCALE, InputReader, quantise
from seq2seq_asr.data.signal_checks import SignalChecks
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError

Source = str | Path | np.ndarray | Utterance
"""An audio file, samples ``(N,)`` at the model's rate (or feature frames ``(T, F)``), or a manifest's utterance."""


def source_id(source: Source, place: int) -> str:
    """The utterance's id, the file's path, or for samples their place in the list."""
    if isinstance(source, Utterance):
        return source.id
    # A path may hold bytes that are not UTF-8; an id is always text that can be written.
    return str(place) if isinstance(source, np.ndarray) else str(source).encode(errors="backslashreplace").decode()


def source_seconds(source: Source, reader: InputReader) -> float:
    """Length in seconds, for planning batches; of features only relative to each other.

    Raises:
        AudioError: The file is missing, not audio or does not tell its length, or there are no samples.
    """
    if isinstance(source, Utterance):
        return source.duration
    if isinstance(source, np.ndarray):
        check_length(source, reader.smallest, Path("samples"))
        return read_seconds(source, reader)
    return audio_duration(Path(source))


def read_seconds(array: np.ndarray, reader: InputReader) -> float:
    """Length in seconds of what `read_source` gives; features are taken to be 10 ms apart."""
    return len(array) / (100.0 if reads_features(reader) else reader.rate)


def read_source(source: Source, reader: InputReader) -> np.ndarray:
    """Float32 samples ``(N,)`` in [-1, 1], or features ``(T, F)`` for a model that reads those.

    What goes beyond full scale is made softer as a whole.

    Raises:
        AudioError: It cannot be read, is damaged, silent or too short, or is not what the model reads.
    """
    if isinstance(source, np.ndarray):
        return _checked(source, reader)
    if isinstance(source, Utterance):
        return reader(source)
    reader.require_kind(source_id(source, 0), features=False)
    # Without a duration, so that a file shorter than its header promises is noticed.
    samples = read_audio(Path(source), rate=reader.rate)
    check_length(samples, reader.smallest, Path(source))
    return as_stored(samples)


def reads_features(reader: InputReader) -> bool:
    """Whether the model reads precomputed features instead of audio."""
    return reader.feature_size is not None


def _checked(array: np.ndarray, reader: InputReader) -> np.ndarray:
    """Samples or features given as an array, as if they had come from a file."""
    check_samples(array, reader)
    return array.astype(np.float32) if reads_features(reader) else as_stored(array.astype(np.float32))


def check_samples(array: np.ndarray, reader: InputReader) -> None:
    """Refuse an array that the model cannot read.

    Raises:
        AudioError: It is of another type, shape or scale, not finite, or silent.
    """
    shape = (len(array), reader.feature_size) if reads_features(reader) else (len(array),)
    if array.dtype.kind != "f" or array.shape != shape:
        wanted = f"(frames, {reader.feature_size})" if reads_features(reader) else "(samples,), full scale [-1, 1]"
        raise AudioError(f"samples: expected floating-point {wanted}, found {array.dtype} of {array.shape}")
    if not np.isfinite(array).all():
        raise AudioError("samples: hold NaN or infinite values")
    if not reads_features(reader):
        checks = SignalChecks(Path("samples"))
        with np.errstate(over="ignore"):
            checks.add(array.astype(np.float32)[:, None])
        checks.require_sound()


def as_stored(samples: np.ndarray) -> np.ndarray:
    """Samples on the grid of 16 bits, as the model was trained on: alike from a file, a manifest or memory."""
    return quantise(samples).astype(np.float32) / FULL_SCALE
