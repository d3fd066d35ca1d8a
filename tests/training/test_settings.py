"""Settings of a training that are out of range, or contradict each other, are named."""

from pathlib import Path
from typing import Any

import pytest

from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.tokenizer import TokenizerConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.training.settings import LoggingConfig, TrainerConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"devices": -1},
        {"validation_utterances": -1},
        {"max_skipped": -1},
        {"save_minutes": -1.0},
        {"read_timeout": 0.0},
        {"read_timeout": float("inf")},
    ],
)
def test_training_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"trainer.{next(iter(wrong))}"):
        TrainerConfig(**wrong)


@pytest.mark.parametrize("name", ["examples", "every", "alignment_epochs"])
def test_logging_out_of_range_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"logging.{name}"):
        LoggingConfig(**{name: -1})  # type: ignore[arg-type]


def test_a_run_has_one_tokenizer(tmp_path: Path) -> None:
    kept = TokenizerConfig(model=tmp_path / "tokenizer.model")
    with pytest.raises(UsageError, match=r"tokenizer.model: keep_tokenizer takes that of init_from"):
        FitConfig(init_from=tmp_path, keep_tokenizer=True, tokenizer=kept)
