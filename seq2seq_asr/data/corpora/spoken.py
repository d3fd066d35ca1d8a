"""The embedded corpus: spoken commands, made on first use by eSpeak NG and kept in a cache.

Texts come from `spoken_grammar`, voices and noise from `spoken_voices`. Everything follows from the settings and the
seed: the same settings give the same bytes, however many workers make them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from seq2seq_asr.data.corpora import spoken_grammar, spoken_voices
from seq2seq_asr.data.corpora.espeak import Espeak
from seq2seq_asr.data.corpora.making import partial_folder
from seq2seq_asr.data.corpora.spoken_voices import Take
from seq2seq_asr.data.manifest import write_manifest
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, UsageError

FORMAT = 1
"""Raised whenever the same settings begin to give other audio."""
SPLITS = ("train", "dev", "test")
_MOST_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class SpokenConfig:
    """What the spoken corpus holds."""

    train: int = 3000
    """Sentences for training."""
    dev: int = 200
    """Sentences for validation, by other voices, none of them in training."""
    test: int = 300
    """Sentences for testing, by yet other voices, none of them in training or validation."""
    language: Literal["en", "de", "nl"] = "en"
    """What is spoken: English in eight accents, German or Dutch."""
    seed: int = 0
    """Decides sentences, voices and noise."""
    snr_min: float = 15.0
    """Lowest ratio of speech to background noise (dB)."""
    snr_max: float = 35.0
    """Highest ratio of speech to background noise (dB)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        for name in SPLITS:
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected at least 1 sentence, found {getattr(self, name)}")
        if self.language not in spoken_grammar.RULES:
            raise UsageError(f"language: expected one of {', '.join(spoken_grammar.RULES)}, found {self.language!r}")
        if self.seed < 0:
            raise UsageError(f"seed: expected 0 or more, found {self.seed}")
        if not -20 <= self.snr_min <= self.snr_max <= 100:
            raise UsageError(f"snr_min, snr_max: expected -20 ≤ min ≤ max ≤ 100, found {self.snr_min}, {self.snr_max}")


def cache_folder() -> Path:
    """Where what can be made again is kept: ``$SEQ2SEQ_ASR_CACHE``, otherwise ``~/.cache/seq2seq_asr``."""
    named = os.environ.get("SEQ2SEQ_ASR_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "seq2seq_asr"


def make_spoken(
    config: SpokenConfig,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Path]:
    """Make the corpus, unless it is already there; about 20 s for the default size on two cores.

    The corpus appears whole under its final name or not at all, so that it may be interrupted, and two processes may
    make it at once.

    Args:
        config: What it holds.
        folder: Where corpora are kept, each in a folder of its own; by default `cache_folder`.
        workers: eSpeak NG processes at once; by default one a core. The result does not depend on it.
        progress: Called with the number of finished recordings and of all.

    Returns:
        The manifest of each split: ``train``, ``dev``, ``test``.

    Raises:
        AsrError: eSpeak NG is missing or failed, or the folder cannot be written.
    """
    final = (cache_folder() if folder is None else folder.absolute()) / _name(config)
    manifests = {split: final / f"{split}.jsonl" for split in SPLITS}
    if all(path.is_file() for path in manifests.values()):
        return manifests
    try:
        with partial_folder(final) as partial:
            _make(config, partial, workers or _cores(), progress or (lambda done, total: None))
            _put_in_place(partial, final)
    except OSError as error:
        raise AsrError(f"{final}: cannot make the spoken corpus: {error}") from error
    return manifests


def _name(config: SpokenConfig) -> str:
    grammar, voices = spoken_grammar.RULES[config.language], spoken_voices.VOICES
    settings = json.dumps([asdict(config), grammar, dict(voices), spoken_voices.ACCENTS[config.language]])
    return f"spoken-{config.language}-v{FORMAT}-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST_WORKERS)


def _put_in_place(partial: Path, final: Path) -> None:
    try:
        partial.rename(final)
    except OSError:
        # Another process was faster, and made the same.
        if not all((final / f"{split}.jsonl").is_file() for split in SPLITS):
            raise


def _make(config: SpokenConfig, folder: Path, workers: int, progress: Callable[[int, int], None]) -> None:
    counts = {split: getattr(config, split) for split in SPLITS}
    sentences = spoken_grammar.draw_sentences(config.language, counts, config.seed)
    snr = (config.snr_min, config.snr_max)
    jobs: list[tuple[Take, Path]] = []
    for split in SPLITS:
        audio = folder / "audio" / split
        audio.mkdir(parents=True)
        takes = spoken_voices.takes(split, sentences[split], language=config.language, seed=config.seed, snr=snr)
        jobs += ((take, audio) for take in takes)
    utterances = _record_all(jobs, workers, progress)
    for split in SPLITS:
        of_split, utterances = utterances[: counts[split]], utterances[counts[split] :]
        write_manifest(folder / f"{split}.jsonl", (replace(one, lang=config.language) for one in of_split))


def _record_all(
    jobs: Sequence[tuple[Take, Path]], workers: int, progress: Callable[[int, int], None]
) -> list[Utterance]:
    """Record every take into its folder; threads do, for eSpeak NG works in other processes and NumPy beside Python."""
    voices: SimpleQueue[Espeak] = SimpleQueue()

    def record(job: tuple[Take, Path]) -> Utterance:
        take, folder = job
        voice = voices.get()
        try:
            audio, duration = spoken_voices.record(take, voice, folder)
        finally:
            voices.put(voice)
        return Utterance(id=take.id, text=take.text, duration=duration, audio=audio, speaker=take.speaker)

    utterances = []
    with ExitStack() as stack:
        for _ in range(workers):
            voices.put(stack.enter_context(Espeak()))
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, cancel_futures=True)
        for utterance in pool.map(record, jobs):
            utterances.append(utterance)
            progress(len(utterances), len(jobs))
    return utterances
