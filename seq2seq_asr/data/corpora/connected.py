"""Connected words: strings of one speaker's isolated words, joined with short pauses and drawn by a seed."""

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32

from seq2seq_asr.data.audio import read_audio
from seq2seq_asr.data.corpora.endpointing import endpoint
from seq2seq_asr.data.corpora.making import partial_folder, write_flac
from seq2seq_asr.data.kaldi import kaldi_tables
from seq2seq_asr.data.manifest import read_utterances, write_manifest
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, ManifestError, UsageError

RATE = 16000
"""Samples a second of the audio written (Hz)."""
_MANIFEST = "manifest.jsonl"
_SETTINGS = "connected.json"
_SIGNATURE = b'{\n "connected": '
_VERSION = 4
_FLOOR = 10 ** (-70 / 20)
"""Level of the noise under everything: -70 dB of full scale, so that no pause is digital silence."""
_LONGEST_CUT = 0.55
"""Share of a word that is lost at most: slowly spoken words of two syllables lose the second of them."""
_Card = TypeVar("_Card")


@dataclass(frozen=True, kw_only=True)
class ConnectedConfig:
    """Which strings of words are made."""

    source: Path
    """Manifest or Kaldi data folder of isolated words with audio and speakers."""
    count: int = 4000
    """Number of strings."""
    min_words: int = 2
    """Fewest words in a string."""
    max_words: int = 6
    """Most words in a string."""
    min_pause: float = 0.05
    """Shortest pause between words, in seconds."""
    max_pause: float = 0.3
    """Longest pause between words, in seconds."""
    trim: float = 1.0
    """Chance that a word loses what its recording holds before and after it."""
    cut: float = 0.0
    """Chance that a word also loses up to 55 % of its length at its end, as in a recording stopped too early."""
    seed: int = 0
    """Draws speakers, words, pauses and noise."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"count: expected 1 or more, found {self.count}")
        if not 1 <= self.min_words <= self.max_words:
            raise UsageError(
                f"min_words, max_words: expected 1 <= min <= max, found {self.min_words}, {self.max_words}"
            )
        if not 0 <= self.min_pause <= self.max_pause < 60:
            raise UsageError(
                f"min_pause, max_pause: expected 0 <= min <= max, found {self.min_pause}, {self.max_pause}"
            )
        for name in ("trim", "cut"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: expected a number from 0 to 1, found {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"seed: expected 0 or more, found {self.seed}")


class String(NamedTuple):
    """The plan of one string: what is said, how, and in which place of the manifest."""

    number: int
    words: tuple[Utterance, ...]
    trimmed: tuple[bool, ...]
    cuts: tuple[float, ...]
    """Share of each word that is taken off its end."""
    pauses: tuple[float, ...]


def make_connected(config: ConnectedConfig, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Make strings of words as 16 kHz FLAC with a manifest, or find them made already.

    Speakers take turns; each speaker uses every length, and every one of its words, equally often up to one. The same
    config and source give the same samples. The folder appears under its name only when it is complete.

    Args:
        config: What to make.
        folder: Folder to hold the audio and ``manifest.jsonl``. When it was made from the same settings and the same
            source it is kept; made from others it is replaced.
        progress: Told how many strings of how many are done.

    Returns:
        The manifest. The text of a string is its words joined by spaces; `lang` is kept where its words share one.

    Raises:
        UsageError: `folder` holds something else.
        ManifestError: The source cannot be read, or a word has no audio or no speaker.
        AudioError: A word's recording is damaged.
    """
    settings = _settings(config)
    if _is_made(folder, settings):
        return folder / _MANIFEST
    strings = plan(config, read_utterances(config.source))
    try:
        with partial_folder(folder) as partial:
            (partial / "audio").mkdir()
            write_manifest(partial / _MANIFEST, _make(strings, config.seed, partial / "audio", progress))
            (partial / _SETTINGS).write_text(settings, encoding="utf-8")
            _move(partial, folder, settings)
    except OSError as error:
        raise AsrError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder / _MANIFEST


def folder_name(config: ConnectedConfig) -> str:
    """A name that only strings made from this have: other settings, or another content of the source, have another.

    Strings in a folder of such a name are never replaced: whoever reads them goes on reading them.

    Raises:
        ManifestError: The source cannot be read.
    """
    source = config.source.resolve()
    made_of = hashlib.sha256(f"{source} {_settings(config)}".encode()).hexdigest()[:12]
    return f"{source.parent.name}-{source.stem}-{made_of}"


def plan(config: ConnectedConfig, words: list[Utterance]) -> list[String]:
    """Draw the strings; no audio is read.

    Args:
        config: What to make.
        words: Isolated words, each with audio and a speaker.
    """
    generator = np.random.default_rng(config.seed)
    by_speaker = _by_speaker(config, words)
    lengths = range(config.min_words, config.max_words + 1)
    word_decks = {speaker: _deck(own, generator) for speaker, own in by_speaker.items()}
    length_decks = {speaker: _deck(list(lengths), generator) for speaker in by_speaker}
    speakers = _deck(list(by_speaker), generator)
    strings = []
    for number in range(config.count):
        speaker = next(speakers)
        drawn = tuple(next(word_decks[speaker]) for _ in range(next(length_decks[speaker])))
        trimmed = tuple(bool(chance < config.trim) for chance in generator.random(len(drawn)))
        cuts = tuple(_cut(config.cut, generator) for _ in drawn)
        pauses = tuple(generator.uniform(config.min_pause, config.max_pause, len(drawn) - 1).tolist())
        strings.append(String(number, drawn, trimmed, cuts, pauses))
    return strings


def join(
    words: list[Float32[np.ndarray, " _"]], string: String, generator: np.random.Generator
) -> Float32[np.ndarray, " N"]:
    """Lay words one after the other on a floor of faint noise.

    Args:
        words: Samples of each word at `RATE`, trimmed where it is to be.
        string: Says what the words' ends lose and how long the pauses between them are.
        generator: Draws the noise.
    """
    words = [word[: len(word) - int(cut * len(word))] for word, cut in zip(words, string.cuts, strict=True)]
    gaps = [0, *(round(pause * RATE) for pause in string.pauses)]
    total = sum(len(word) for word in words) + sum(gaps)
    samples = generator.standard_normal(total, dtype=np.float32) * np.float32(_FLOOR)
    position = 0
    for gap, word in zip(gaps, words, strict=True):
        position += gap
        samples[position : position + len(word)] += word
        position += len(word)
    return np.clip(samples, -1.0, 1.0)


def _cut(chance: float, generator: np.random.Generator) -> float:
    """Share to cut off a word; always takes two numbers from the generator."""
    drawn, share = generator.random(2)
    return float(_LONGEST_CUT * share) if drawn < chance else 0.0


def _deck(cards: list[_Card], generator: np.random.Generator) -> Iterator[_Card]:
    """Deal shuffled cards for ever; all are dealt before any comes again."""
    while True:
        for position in generator.permutation(len(cards)):
            yield cards[position]


def _by_speaker(config: ConnectedConfig, words: list[Utterance]) -> dict[str, list[Utterance]]:
    by_speaker = defaultdict(list)
    for word in words:
        if word.speaker is None or word.audio is None:
            raise ManifestError(f"{config.source}: {word.id} has no {'audio' if word.speaker else 'speaker'}")
        by_speaker[word.speaker].append(word)
    return by_speaker


def _make(
    strings: list[String], seed: int, folder: Path, progress: Callable[[int, int], None] | None
) -> list[Utterance]:
    """Write the audio of every string, speaker by speaker so that a speaker's words are decoded once."""
    made: list[tuple[int, Utterance]] = []
    read = lru_cache(maxsize=1024)(_read_word)
    for string in sorted(strings, key=lambda string: (str(string.words[0].speaker), string.number)):
        # The noise hangs on the string's own number: the order of making changes nothing.
        words = [read(word, trimmed) for word, trimmed in zip(string.words, string.trimmed, strict=True)]
        samples = join(words, string, np.random.default_rng([seed, string.number]))
        path = folder / f"{string.number:06d}.flac"
        write_flac(path, samples, RATE)
        made.append((string.number, _utterance(string, path, len(samples))))
        if progress:
            progress(len(made), len(strings))
    return [utterance for _, utterance in sorted(made, key=lambda pair: pair[0])]


def _read_word(word: Utterance, trimmed: bool) -> Float32[np.ndarray, " N"]:
    assert word.audio is not None  # _by_speaker refuses words without
    samples = read_audio(word.audio, rate=RATE, offset=word.offset, duration=word.duration)
    return endpoint(samples) if trimmed else samples


def _utterance(string: String, path: Path, samples: int) -> Utterance:
    langs = {word.lang for word in string.words}
    return Utterance(
        id=f"{string.words[0].speaker}_{string.number:06d}",
        text=" ".join(word.text for word in string.words),
        duration=samples / RATE,
        audio=path,
        speaker=string.words[0].speaker,
        lang=langs.pop() if len(langs) == 1 else None,
    )


def _settings(config: ConnectedConfig) -> str:
    """What a made folder depends on: the settings and the source's content, not where that lies."""
    tables = kaldi_tables(config.source) if config.source.is_dir() else [config.source]
    try:
        source = hashlib.sha256(b"".join(table.read_bytes() for table in tables)).hexdigest()
    except OSError as error:
        raise ManifestError(f"{config.source}: cannot be read: {error.strerror}") from error
    return json.dumps({"connected": _VERSION} | asdict(config) | {"source": source}, indent=1, sort_keys=True)


def _is_made(folder: Path, settings: str) -> bool:
    found = folder / _SETTINGS
    content = found.read_bytes() if found.is_file() else b""
    if content.startswith(_SIGNATURE) and (folder / _MANIFEST).is_file():
        return content == settings.encode()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        # A folder made from other settings is deleted: be sure that it is one.
        raise UsageError(f"{folder}: holds something else; choose a folder that is empty or was made by this command")
    return False


def _move(partial: Path, folder: Path, settings: str) -> None:
    """Give the finished folder its name, in the place of one made from other settings."""
    if (folder / _SETTINGS).exists():
        if _is_made(folder, settings):  # Another process was quicker; its work is the same.
            return
        outdated = partial.with_suffix(".outdated")
        os.rename(folder, outdated)
        shutil.rmtree(outdated, ignore_errors=True)
    try:
        os.rename(partial, folder)
    except OSError:
        if not _is_made(folder, settings):  # Or it was quicker now.
            raise
