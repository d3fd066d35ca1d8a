"""Utterances to tensors: read, perturb, encode, pad."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from seq2seq_asr.data.audio import check_length, read_audio, read_features
from seq2seq_asr.data.augment import SpeedPerturbConfig, at_speed, draw_factor
from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.noise import NoiseAdder
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError
from seq2seq_asr.vocabulary import BLANK

FULL_SCALE = 32768.0
"""Audio is kept as 16-bit integers, on the scale of 16-bit files: those reach the model unchanged."""


class Example(NamedTuple):
    """One utterance, ready to be padded into a batch."""

    id: str
    text: str
    inputs: Tensor
    tokens: Tensor
    counted: bool


class Batch(NamedTuple):
    """Padded utterances; ``inputs`` are waveforms ``(B, N)`` or precomputed features ``(B, T, F)``."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    inputs: Tensor
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    counted: Tensor


class InputReader:
    """Reads waveforms or feature arrays, keeping what fits in memory so that later epochs touch no disk.

    Args:
        rate: Samples a second the model wants.
        feature_size: Expected bins of precomputed features; None reads audio.
        memory_mb: Mebibytes of decoded audio (16 bit) or features to keep.
        smallest: Fewest samples or frames that the model can use.
    """

    def __init__(self, rate: int, feature_size: int | None = None, memory_mb: float = 0.0, smallest: int = 1) -> None:
        self.rate, self.feature_size, self.smallest = rate, feature_size, smallest
        self.room = int(memory_mb * 2**20)
        self.kept: dict[Utterance, np.ndarray] = {}

    def __call__(self, utterance: Utterance) -> np.ndarray:
        """Float32 samples ``(N,)`` in [-1, 1] or features ``(T, F)``.

        Raises:
            AudioError: The file is missing, damaged, silent, too short or not what the model reads.
        """
        array = self.kept.get(utterance)
        if array is None:
            array = self._read(utterance)
            self._keep(utterance, array)
        return array if array.dtype == np.float32 else array.astype(np.float32) / FULL_SCALE

    def require_kind(self, name: str, *, features: bool) -> None:
        """Refuse audio where the model reads features, and features where it reads audio.

        Args:
            name: Utterance or file, for the error to name.
            features: Whether it is precomputed features.

        Raises:
            AudioError: It is not what the model reads.
        """
        if features != (self.feature_size is not None):
            raise AudioError(f"{name}: {other_kind(features=features)}")

    def _read(self, utterance: Utterance) -> np.ndarray:
        self.require_kind(utterance.id, features=utterance.audio is None)
        path = utterance.audio or utterance.features
        assert path is not None
        if utterance.audio is None:
            array = read_features(path, dim=self.feature_size)
        else:
            array = quantise(read_audio(path, rate=self.rate, offset=utterance.offset, duration=utterance.duration))
        check_length(array, self.smallest, path)
        return array

    def _keep(self, utterance: Utterance, array: np.ndarray) -> None:
        if array.nbytes <= self.room:
            self.room -= array.nbytes
            self.kept[utterance] = array


def other_kind(*, features: bool) -> str:
    """What is wrong with an input that is precomputed features, or is not, where the model reads the other kind."""
    kinds = "audio (model.features.kind fbank)", "precomputed features (model.features.kind precomputed)"
    return f"this model reads {kinds[not features]}, not {'precomputed features' if features else 'audio'}"


def quantise(samples: np.ndarray) -> np.ndarray:
    """Samples as 16-bit integers; one that goes beyond full scale, as floats may, is made softer as a whole."""
    scaled = samples * (FULL_SCALE / max(1.0, float(np.abs(samples).max(initial=0.0))))
    return np.clip(np.round(scaled), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


class SpeechDataset(Dataset):
    """Examples by plan item; each draws its randomness from (seed, epoch, utterance id) alone."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: Targets,
        reader: InputReader,
        *,
        speed: SpeedPerturbConfig | None = None,
        noise: NoiseAdder | None = None,
        seed: int = 0,
    ) -> None:
        self.utterances, self.reader, self.speed, self.noise, self.seed = utterances, reader, speed, noise, seed
        self.texts = [tokenizer.normalise(utterance.text) for utterance in utterances]
        self.tokens = [torch.tensor(tokenizer.encode(utterance.text), dtype=torch.long) for utterance in utterances]

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, item: Item) -> Example:
        utterance = self.utterances[item.place]
        inputs = self._augment(self.reader(utterance), utterance, self._random(item))
        text, tokens = self.texts[item.place], self.tokens[item.place]
        return Example(utterance.id, text, torch.from_numpy(inputs), tokens, item.counted)

    def _augment(self, inputs: np.ndarray, utterance: Utterance, random: np.random.Generator) -> np.ndarray:
        if self.speed is not None:
            inputs = at_speed(inputs, draw_factor(self.speed, random), self.reader.smallest)
        if self.noise is not None and utterance.audio is not None:
            inputs = self.noise(inputs, random)
        return inputs

    def _random(self, item: Item) -> np.random.Generator:
        name = zlib.crc32(self.utterances[item.place].id.encode())
        return np.random.default_rng([self.seed, item.epoch, name])


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples into a batch; targets are padded with the blank."""
    ids, texts, inputs, tokens, counted = zip(*examples, strict=True)
    return Batch(
        ids=ids,
        texts=texts,
        inputs=pad_sequence(list(inputs), batch_first=True),
        lengths=torch.tensor([len(one) for one in inputs]),
        tokens=pad_sequence(list(tokens), batch_first=True, padding_value=BLANK),
        token_lengths=torch.tensor([len(one) for one in tokens]),
        counted=torch.tensor(counted, dtype=torch.float32),
    )
