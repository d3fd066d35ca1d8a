"""Reading audio and precomputed features: what `read_audio` returns is mono, finite, complete and at one rate."""

import math
import os
import stat
import tokenize
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from seq2seq_asr.data.completeness import LONGEST_HEADER, cut_short, require_no_holes, require_whole_file, told_length
from seq2seq_asr.data.signal_checks import SignalChecks
from seq2seq_asr.errors import AudioError

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Samples a second: beyond these a header is damaged, and resampling would take all memory."""
TOLERANCE = 0.025
"""Seconds by which a file may be shorter than asked for: rounded durations and the padding of lossy codecs."""

_MP3_BEFORE = 1.0
"""Seconds of an mp3 on which a frame may hang: 255 bytes of earlier frames are 0.56 s at 8 kbit/s."""


def read_audio(
    path: Path, *, rate: int = 16000, offset: float = 0.0, duration: float | None = None
) -> Float32[np.ndarray, " N"]:
    """Read a recording, or a part of it, as mono samples at one rate.

    Channels are averaged. Everything that could quietly spoil training is an error here.

    Args:
        path: A regular file that libsndfile reads: wav, flac, ogg (Vorbis, Opus), mp3, NIST sphere …
        rate: Sampling rate of the result in Hz.
        offset: Where the part begins, in seconds.
        duration: Length of the part in seconds; None reads to the end.

    Returns:
        Samples, full scale is [-1, 1].

    Raises:
        AudioError: The file is missing, not a regular file, not audio, cut short, empty, silent, not finite, of
            another scale, or its channels cancel out.
    """
    samples, from_rate = read_channels(path, offset=offset, duration=duration)
    checks = SignalChecks(path)
    mono = checks.add(samples)
    checks.require_sound()
    return resample(mono, from_rate, rate)


def read_channels(
    path: Path, *, offset: float = 0.0, duration: float | None = None
) -> tuple[Float32[np.ndarray, "N C"], int]:
    """Read a recording, or a part of it, as it is in the file: all channels at its own rate, whatever they hold.

    Args:
        path: As `read_audio`, like the other arguments.
        offset: Where the part begins, in seconds.
        duration: Length of the part in seconds; None reads to the end.

    Returns:
        Samples, full scale is [-1, 1], and their rate in Hz.

    Raises:
        AudioError: The file is missing, not a regular file, not audio, cut short or empty.
    """
    with open_audio(path) as file:
        rate, total = file.samplerate, file.frames
        start = round(offset * rate)
        if duration is None:
            total = require_whole_file(file, path)
            wanted = total - start
        else:
            wanted = round(duration * rate)
        if wanted <= 0:
            raise AudioError(f"{path}: no audio: {total / rate:.3f} s long, asked for it from {offset:.3f} s on")
        samples = read_span(file, path, start, min(wanted, max(total - start, 0)))
        if duration is None and start == 0:
            require_no_holes(file, path)
        if len(samples) < wanted - (TOLERANCE * rate if duration is not None else 0):
            raise cut_short(file, path, start, wanted, len(samples))
    return samples, rate


def audio_duration(path: Path) -> float:
    """Length of a recording in seconds, as its header tells it; the frames of an mp3 are counted.

    Raises:
        AudioError: The file is missing, not audio, empty, or its header does not tell the length.
    """
    with open_audio(path) as file:
        if not 0 < file.frames < LONGEST_HEADER:
            raise AudioError(f"{path}: empty, or its header does not tell its length")
        return told_length(file, path) / file.samplerate


def audio_channels(path: Path) -> int:
    """Number of channels of a recording.

    Raises:
        AudioError: The file is missing or not audio.
    """
    with open_audio(path) as file:
        return int(file.channels)


def read_features(path: Path, *, dim: int | None = None) -> Float32[np.ndarray, "T F"]:
    """Read precomputed features from a ``.npy`` file.

    Args:
        path: Array of frames × bins of a floating-point type.
        dim: Number of bins that the model wants; None takes any.

    Raises:
        AudioError: The file is missing, is no such array, is empty, holds NaN or Inf, or has another number of bins.
    """
    _require_regular_file(path)
    try:
        with open(path, "rb") as file:
            features = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise AudioError(f"{path}: not a .npy array: {_one_line(error)}") from error
    if features.ndim != 2 or features.dtype.kind != "f":
        raise AudioError(f"{path}: expected floating-point frames × bins, found {features.dtype} of {features.shape}")
    if features.size == 0:
        raise AudioError(f"{path}: no frames")
    if dim is not None and features.shape[1] != dim:
        raise AudioError(f"{path}: expected {dim} bins a frame, found {features.shape[1]}")
    with np.errstate(over="ignore"):
        features = features.astype(np.float32, copy=False)
    if not np.isfinite(features).all():
        raise AudioError(f"{path}: features hold NaN or infinite values")
    return features


def check_length(samples: np.ndarray, minimum: int, path: Path) -> None:
    """Refuse an utterance shorter than one encoder frame.

    Args:
        samples: Samples or feature frames, time first.
        minimum: Smallest length the encoder makes a frame of, in the same unit.
        path: File to name in the error.
    """
    if len(samples) < minimum:
        raise AudioError(f"{path}: too short: {len(samples)} samples or frames, the encoder needs at least {minimum}")


def resample(samples: Float32[np.ndarray, " N"], from_rate: int, to_rate: int) -> Float32[np.ndarray, " M"]:
    """Change the sampling rate by band-limited interpolation in the frequency domain.

    Exact for any ratio: the signal is padded to a multiple of the reduced `from_rate`, so that both spectra have whole
    lengths. The top twentieth of the kept band is tapered, which keeps the ringing of the filter short, and the padding
    keeps it from wrapping around. About 0.2 to 1 ms a second of audio.

    Args:
        samples: Mono samples.
        from_rate: Rate of `samples` in Hz; only its ratio to `to_rate` matters.
        to_rate: Rate of the result in Hz.

    Returns:
        ``ceil(N * to_rate / from_rate)`` samples.
    """
    if from_rate == to_rate or samples.size == 0:
        return samples
    divisor = math.gcd(from_rate, to_rate)
    down, up = from_rate // divisor, to_rate // divisor
    blocks = _next_smooth(-(-(len(samples) + 2048) // down))
    spectrum = np.fft.rfft(samples, blocks * down)[: min(blocks * down, blocks * up) // 2 + 1]
    taper = len(spectrum) // 20 + 1
    spectrum[-taper:] *= np.cos(np.linspace(0, np.pi / 2, taper)) ** 2
    result = np.fft.irfft(spectrum, blocks * up)[: -(-len(samples) * up // down)]
    return (result * (up / down)).astype(np.float32)


def _next_smooth(n: int) -> int:
    """The smallest ``2^a 3^b 5^c`` not below `n`: lengths that are quick to transform."""
    best = 1 << max(n - 1, 1).bit_length()
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            best = min(best, odd << (-(-n // odd) - 1).bit_length())
            odd *= 3
        fives *= 5
    return best


def _require_regular_file(path: Path) -> int:
    """Its size in bytes; stops at a missing path, a folder, a FIFO or a device: some would wait for ever."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be read: {_one_line(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: not a regular file")
    return status.st_size


def open_audio(path: Path) -> soundfile.SoundFile:
    """Open a recording.

    Raises:
        AudioError: The file is missing, not a regular file, not audio, or of a rate that its header cannot mean.
    """
    if _require_regular_file(path) == 0:  # libsndfile would say that it does not exist
        raise AudioError(f"{path}: cannot be read as audio: the file is empty")
    try:
        file = soundfile.SoundFile(os.fsencode(path))  # which need not be UTF-8
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise AudioError(f"{path}: cannot be read as audio: {_one_line(error)}") from error
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        file.close()
        wanted = f"expected {LOWEST_RATE} to {HIGHEST_RATE}"
        raise AudioError(f"{path}: its header tells {file.samplerate} samples a second, {wanted}")
    return file


def read_span(
    file: soundfile.SoundFile, path: Path, start: int, count: int, here: int = 0
) -> Float32[np.ndarray, "N C"]:
    """Samples of all channels from `start` on, fewer at the end.

    A frame of an mp3 takes bits and overlap from those before, which a seek loses, and soundfile seeks after each read:
    what comes before is decoded too, and dropped. So is all that comes before where a codec cannot seek (GSM, G.721).

    Args:
        file: Opened.
        path: Its path, for the error.
        start: First sample.
        count: How many.
        here: Where the file stands, at `start` or before; no matter where a codec can seek.

    Raises:
        AudioError: The file is damaged, or they do not fit into memory.
    """
    if count == 0:
        return np.zeros((0, file.channels), np.float32)
    before = min(start, round(_MP3_BEFORE * file.samplerate)) if file.format == "MP3" else 0
    if not file.seekable():
        before = start - here
    try:
        if file.seekable() and file.tell() != start - before:  # seeking leaves traces in the log of an Ogg stream
            file.seek(start - before)
        return file.read(before + count, dtype="float32", always_2d=True)[before:]
    except (soundfile.SoundFileError, ValueError, MemoryError) as error:
        raise AudioError(f"{path}: damaged or cut short: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """The reason alone: the words of the system or of libsndfile, where the whole text would name the path again."""
    words = error.strerror if isinstance(error, OSError) else getattr(error, "error_string", None)
    return " ".join(str(words or error).split()) or type(error).__name__
