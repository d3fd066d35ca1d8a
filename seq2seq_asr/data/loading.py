"""Manifests to loaders: which utterances, read how, in which batches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from seq2seq_asr.console import say
from seq2seq_asr.data.augment import SpeedPerturbConfig
from seq2seq_asr.data.batching import BatchingConfig, Item, PlannedBatches, plan_in_order, shard
from seq2seq_asr.data.corpora.spoken import SpokenConfig
from seq2seq_asr.data.dataset import InputReader, SpeechDataset, collate, other_kind
from seq2seq_asr.data.manifest import place_of, read_utterances
from seq2seq_asr.data.noise import NoiseAdder, NoiseConfig
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import ManifestError, UsageError


@dataclass(frozen=True, kw_only=True)
class ConnectConfig:
    """Strings of one speaker's words, with pauses of 50 to 300 ms, made once and kept in the cache folder."""

    train: int = 0
    """Strings to make of each training manifest; 0 takes its words as they are."""
    dev: int = 0
    """Strings to make of each dev manifest."""
    test: int = 0
    """Strings to make of each test manifest."""
    min_words: int = 2
    """Fewest words in a string."""
    max_words: int = 6
    """Most words in a string."""
    trim: float = 1.0
    """Chance that a word loses what its recording holds before and after it: quiet, clicks, part of another word."""
    cut: float = 0.0
    """Chance that a word of a training string loses up to 55 % of its length, as in recordings stopped too early."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Corpora and how they are fed."""

    train: tuple[Path, ...] = ()
    """Training manifests or Kaldi folders; none takes the embedded spoken-command corpus."""
    dev: tuple[Path, ...] = ()
    """Manifests to choose checkpoints by."""
    test: tuple[Path, ...] = ()
    """Manifests that `decode` scores by default; without any it takes dev, and says so."""
    root: Path | None = None
    """Folder that the audio of manifests must lie in, symbolic links followed; none takes it from anywhere."""
    spoken: SpokenConfig = field(default_factory=SpokenConfig)
    """The embedded corpus, when no training manifest is given."""
    connect: ConnectConfig = field(default_factory=ConnectConfig)
    """Joins the words of the manifests to strings, for corpora of single words."""
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    """Size and order of batches."""
    speed: SpeedPerturbConfig = field(default_factory=SpeedPerturbConfig)
    """Speed perturbation of training utterances."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Noise added to training utterances."""
    workers: int = 0
    """Processes that read audio; 0 reads in the training process, best where the corpus fits in memory."""
    memory_mb: float = 1024.0
    """Mebibytes of decoded audio or features kept in memory by each reading process."""
    min_seconds: float = 0.1
    """Training utterances shorter than this are left out, and counted."""
    max_seconds: float = 30.0
    """Training utterances longer than this are left out, and counted."""

    def __post_init__(self) -> None:
        if bool(self.train) != bool(self.dev):
            raise UsageError("data.train and data.dev: give both, or neither for the embedded corpus")
        if not self.train and max(self.connect.train, self.connect.dev, self.connect.test) > 0:
            raise UsageError("data.connect: joins the words of manifests; give data.train and data.dev")
        if self.workers < 0 or not 0 <= self.memory_mb < math.inf:
            raise UsageError("data.workers and data.memory_mb: must be 0 or more, data.memory_mb finite")
        if not 0 <= self.min_seconds <= self.max_seconds:
            raise UsageError("data.min_seconds: must be 0 or more, and data.max_seconds not less")


def read_split(
    manifests: Sequence[Path],
    *,
    allow_empty_text: bool = False,
    root: Path | None = None,
    features: bool | None = None,
) -> list[Utterance]:
    """All utterances of several manifests.

    Args:
        manifests: Files or Kaldi folders.
        allow_empty_text: Accept utterances without words.
        root: Folder that their audio must lie in.
        features: Whether they must be precomputed features, or must be audio; None takes either.

    Raises:
        ManifestError: A manifest cannot be read, an id occurs twice across them, or an utterance is of the other kind.
    """
    utterances: dict[str, Utterance] = {}
    found_in: dict[str, Path] = {}
    for path in manifests:
        for utterance in read_utterances(path, allow_empty_text=allow_empty_text, root=root):
            if utterance.id in utterances:
                first = place_of(found_in[utterance.id], utterance.id)
                raise ManifestError(f"{place_of(path, utterance.id)}: id {utterance.id!r} is also in {first}")
            if features is not None and features != (utterance.audio is None):
                raise ManifestError(f"{place_of(path, utterance.id)}: {other_kind(features=not features)}")
            utterances[utterance.id], found_in[utterance.id] = utterance, path
    return list(utterances.values())


def spread_evenly(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    """At most ``count`` utterances spread evenly over a set, always the same; 0 takes all."""
    if count <= 0 or count >= len(utterances):
        return list(utterances)
    return [utterances[place * len(utterances) // count] for place in range(count)]


def within_limits(utterances: Sequence[Utterance], config: DataConfig) -> list[Utterance]:
    """Utterances of acceptable duration; says how many were left out.

    Raises:
        ManifestError: None is left.
    """
    kept = [one for one in utterances if config.min_seconds <= one.duration <= config.max_seconds]
    if len(kept) < len(utterances):
        say(
            f"left out {len(utterances) - len(kept)} of {len(utterances)} training utterances outside "
            f"{config.min_seconds:g} to {config.max_seconds:g} s"
        )
    if not kept:
        raise ManifestError("no training utterance lies within data.min_seconds and data.max_seconds")
    return kept


def training_loader(
    utterances: Sequence[Utterance],
    tokenizer: Targets,
    config: DataConfig,
    reader: InputReader,
    *,
    seed: int,
    rank: int = 0,
    world: int = 1,
) -> DataLoader:
    """Batches for training; ``loader.batch_sampler`` is the `PlannedBatches` to seek on resume."""
    durations = np.array([utterance.duration for utterance in utterances])
    speed = config.speed if config.speed.probability > 0 else None
    noise = NoiseAdder(config.noise, reader.rate) if config.noise.probability > 0 else None
    return _loader(
        SpeechDataset(utterances, tokenizer, reader, speed=speed, noise=noise, seed=seed),
        PlannedBatches(durations, config.batching, seed=seed, rank=rank, world=world),
        config.workers,
    )


def evaluation_loader(
    utterances: Sequence[Utterance],
    tokenizer: Targets,
    config: DataConfig,
    reader: InputReader,
    *,
    rank: int = 0,
    world: int = 1,
) -> DataLoader:
    """Every utterance once, longest first, without augmentation."""
    durations = np.array([utterance.duration for utterance in utterances])
    plan = plan_in_order(durations, config.batching)
    batches: list[list[Item]] = [shard(batch, rank, world, epoch=0) for batch in plan]
    return _loader(SpeechDataset(utterances, tokenizer, reader), batches, config.workers)


def _loader(dataset: SpeechDataset, batches: object, workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
