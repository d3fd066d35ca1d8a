"""A toy corpus of tones: each letter is a pitch, so that a tiny model learns to spell in seconds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from seq2seq_asr.data.augment import SpeedPerturbConfig
from seq2seq_asr.data.batching import BatchingConfig
from seq2seq_asr.data.loading import DataConfig
from seq2seq_asr.data.noise import NoiseConfig
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.nn.specaugment import SpecAugmentConfig
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.schedule import OptimizerConfig
from seq2seq_asr.training.session import Session
from seq2seq_asr.training.settings import LoggingConfig, TrainerConfig

Build = Callable[..., Session]
RATE = 8000
PITCHES = {"a": 300.0, "b": 700.0, "c": 1300.0, "d": 2300.0}


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Twelve utterances of one to three letters."""
    folder, random = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    utterances = []
    for index in range(12):
        text = "".join(random.choice(list(PITCHES), size=1 + index % 3))
        time = np.arange(int(0.12 * RATE)) / RATE
        samples = np.concatenate([0.3 * np.sin(2 * np.pi * PITCHES[letter] * time) for letter in text])
        samples += random.normal(0, 0.003, len(samples))
        path = folder / f"{index}.wav"
        soundfile.write(path, samples, RATE)
        utterances.append(Utterance(id=str(index), text=text, duration=len(samples) / RATE, audio=path))
    return utterances


def toy_model() -> ModelConfig:
    return ModelConfig(
        features=FeaturesConfig(rate=RATE, bins=16),
        specaugment=SpecAugmentConfig(frequency_width=2, time_width=2),
        encoder=EncoderConfig(units=24, reductions=(2, 1), dropout=0.1),
        attention=AttentionConfig(size=16, filters=2, width=5),
        decoder=DecoderConfig(units=32, embedding=8, dropout=0.1),
        label_smoothing=0.0,
    )


@pytest.fixture
def toy_session(sessions_in: Callable[[Path], Build], tmp_path: Path) -> Build:
    """Builds sessions over the tones; each call starts from the same weights."""
    return sessions_in(tmp_path)


@pytest.fixture(scope="session")
def sessions_in(tones: list[Utterance]) -> Callable[[Path], Build]:
    """Gives, for the folder of the runs, what `toy_session` is: for fixtures that several tests share."""
    return partial(builder, tones)


def builder(tones: list[Utterance], folder: Path) -> Build:
    tokenizer = Tokenizer.train((one.text for one in tones), TokenizerConfig(kind="char", vocabulary_size=16))

    def build(
        name: str = "toy", epochs: int = 2, workers: int = 0, lr: float = 2e-3, speed: float = 1.0, **trainer: Any
    ) -> Session:
        run = RunFolder(folder / name)
        run.path.mkdir(exist_ok=True)
        torch.manual_seed(0)
        return Session(
            run=run,
            model=Seq2Seq(toy_model(), len(tokenizer)),
            tokenizer=tokenizer,
            train=tones,
            dev=tones[:4],
            data=DataConfig(
                batching=BatchingConfig(batch_seconds=1.2, max_utterances=4),
                workers=workers,
                speed=SpeedPerturbConfig(probability=speed),
                noise=NoiseConfig(probability=speed),
            ),
            optimizer=OptimizerConfig(lr=lr),
            trainer=TrainerConfig(
                epochs=epochs, accelerator="cpu", progress=False, **{"devices": 1, "validate_every": 1, **trainer}
            ),
            logging=LoggingConfig(wandb="off", examples=0),
            seed=3,
        )

    return build
