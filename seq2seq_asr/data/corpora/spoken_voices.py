"""Who speaks the spoken corpus, how, and in what noise; and the work of making one recording."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from seq2seq_asr.data.audio import resample
from seq2seq_asr.data.corpora import espeak
from seq2seq_asr.data.corpora.making import write_flac

SAMPLE_RATE = 16000
"""Samples a second of the corpus (Hz)."""

ACCENTS: Mapping[str, tuple[str, ...]] = {
    "en": ("en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc"),
    "de": ("de",),
    "nl": ("nl",),
}
"""eSpeak NG's voices of each language. Its ninth English one, for the Shavian alphabet, sounds like the first."""

VOICES: Mapping[str, tuple[str, ...]] = {
    "train": (
        *("f2", "f3", "f5", "Annie", "linda", "steph", "Andrea", "anika", "grandma"),
        *("Alex", "Nguyen", "john", "max", "grandpa", "m4", "m5", "m6", "Henrique", "michel", "Storm", "iven", "iven2"),
        *("robert", "Gene", "sandro", "ed", "Tweaky", "antonio", "pedro", "victor", "Jacky", "adam", "Reed", "edward"),
        *("klatt3", "mike2", "travis", "marcelo"),
    ),
    "dev": ("belinda", "m1", "m2", "m8", "Denis", "pablo"),
    "test": ("f1", "f4", "m3", "m7", "Michael", "Mario", "paul", "quincy"),
}
"""eSpeak NG's variants, the speakers of each split.

Whispers, robots and others that are hard to understand are left out. Variants that are nearly the same (f2 and f5,
adam and Reed) never stand in two splits.
"""

_RATES, _PITCHES, _RANGES = (150, 210), (35, 66), (35, 66)
_PAUSES, _LEVELS, _SLOPES = (0.05, 0.2), (-30.0, -18.0), (0.0, 2.0)
_SILENCE = 0.002
_HIGHEST_PEAK = 0.9
_LOWEST_NOISE = 40.0


@dataclass(frozen=True, kw_only=True)
class Take:
    """One sentence as it will be spoken and recorded."""

    id: str
    """Unique in the corpus."""
    text: str
    """What is said."""
    speaker: str
    """A variant out of `VOICES`."""
    accent: str
    """One of `ACCENTS`."""
    seed: tuple[int, ...]
    """Everything that is not told here follows from it."""
    snr: tuple[float, float]
    """Lowest and highest ratio of speech to noise (dB)."""


def takes(
    split: str, sentences: Sequence[str], *, language: str, seed: int, snr: tuple[float, float]
) -> Iterator[Take]:
    """Cast the sentences of a split: every speaker says about as many, in all accents of the language."""
    voices, accents = VOICES[split], ACCENTS[language]
    for index, text in enumerate(sentences):
        speaker, accent = voices[index % len(voices)], accents[index // len(voices) % len(accents)]
        yield Take(
            id=f"{split}-{index:05d}-{speaker}-{accent}",
            text=text,
            speaker=speaker,
            accent=accent,
            seed=(seed, list(VOICES).index(split), index),
            snr=snr,
        )


def record(take: Take, voice: espeak.Espeak, folder: Path) -> tuple[Path, float]:
    """Speak a take and write it as ``<id>.flac``, 16 bits, `SAMPLE_RATE`.

    Args:
        take: What to say, and how.
        voice: A running eSpeak NG.
        folder: Where the file goes.

    Returns:
        The file, and its length in seconds.

    Raises:
        AsrError: eSpeak NG failed.
        OSError: The file cannot be written.
    """
    generator = np.random.default_rng(take.seed)
    spoken = folder / f"{take.id}.wav"
    voice.speak(
        espeak.Request(
            text=take.text,
            voice=f"{take.accent}+{take.speaker}",
            path=str(spoken),
            rate=int(generator.integers(*_RATES)),
            pitch=int(generator.integers(*_PITCHES)),
            range=int(generator.integers(*_RANGES)),
            seed=int(generator.integers(1, 1 << 31)),
        )
    )
    samples, _ = soundfile.read(spoken, dtype="float32")
    spoken.unlink()
    recording = _in_noise(resample(_trim(samples), espeak.SAMPLE_RATE, SAMPLE_RATE), generator, take.snr)
    path = folder / f"{take.id}.flac"
    write_flac(path, recording, SAMPLE_RATE)
    return path, len(recording) / SAMPLE_RATE


def _trim(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " M"]:
    """Without the silence that eSpeak NG adds at the ends."""
    loud = np.flatnonzero(np.abs(samples) > _SILENCE)
    return samples[loud[0] : loud[-1] + 1] if loud.size else samples


def _in_noise(
    speech: Float32[np.ndarray, " N"], generator: np.random.Generator, snr: tuple[float, float]
) -> Int16[np.ndarray, " M"]:
    """The speech at a level of its own, with pauses around it and noise under it all."""
    before, after = (round(SAMPLE_RATE * generator.uniform(*_PAUSES)) for _ in range(2))
    level = 10 ** (generator.uniform(*_LEVELS) / 20)
    speech = speech * (level / np.sqrt(np.mean(np.square(speech))))
    noise = _noise(len(speech) + before + after, generator, slope=generator.uniform(*_SLOPES))
    mixed = noise * (level / 10 ** (generator.uniform(*snr) / 20))
    mixed[before : before + len(speech)] += speech
    mixed *= min(1.0, _HIGHEST_PEAK / np.abs(mixed).max())
    return np.round(mixed * 32767).astype(np.int16)


def _noise(count: int, generator: np.random.Generator, *, slope: float) -> Float32[np.ndarray, " N"]:
    """Gaussian noise of power 1 whose power falls with frequency as ``f ** -slope``: 0 is white, 1 pink, 2 brown."""
    size = 1 << max(count - 1, 1).bit_length()  # a power of two, which is quick to transform
    bins = size // 2 + 1
    frequencies = np.maximum(np.arange(bins, dtype=np.float32) * (SAMPLE_RATE / size), _LOWEST_NOISE)
    spectrum = generator.standard_normal(2 * bins, np.float32).view(np.complex64) * frequencies ** (-slope / 2)
    noise = np.fft.irfft(spectrum, size)[:count]
    return noise / np.sqrt(np.mean(np.square(noise)))
