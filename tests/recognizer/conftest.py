"""The run of tones as a recogniser, and what it is tested on."""

from pathlib import Path

import pytest

from seq2seq_asr import Recognizer
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.data.utterance import Utterance


@pytest.fixture(scope="module")
def recognizer(tones_run: Path) -> Recognizer:
    return Recognizer.load(tones_run, device="cpu")


@pytest.fixture(scope="module")
def utterances(tones_run: Path) -> list[Utterance]:
    return read_manifest(tones_run.parent / "test.jsonl")
