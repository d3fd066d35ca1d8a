"""Word confidences: what they are made of, and the calibration that a run folder may hold."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.recognizer.confidence import CALIBRATION, Calibration, calibrated, raw_confidences
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.whole_file import digest_of


class Mute:
    """A scorer that nobody asks: only its name and weight count here."""

    def start(self, beam: int = 1) -> Any:
        raise NotImplementedError

    def step(self, tokens: Any, state: Any) -> Any:
        raise NotImplementedError


def weighted(name: str, weight: float) -> Weighted:
    return Weighted(name, Mute(), weight)


def test_a_word_is_as_sure_as_its_least_sure_piece() -> None:
    scorers = [weighted("attention", 0.6), weighted("lm", 5.0), weighted("ctc", 0.2)]
    gains = torch.tensor([[-0.4, -9.0, -0.8], [-0.1, -9.0, -0.1], [-2.0, 3.0, -0.4], [-7.0, 0.0, -7.0]]).double()
    found = raw_confidences(gains, scorers, [range(0, 1), range(1, 3)])
    by_hand = [math.exp(-(0.75 * 0.4 + 0.25 * 0.8)), math.exp(-(0.75 * 2.0 + 0.25 * 0.4))]
    assert found == pytest.approx(by_hand)


def test_what_a_scorer_thinks_impossible_has_no_confidence() -> None:
    gains = torch.tensor([[-1.0, -math.inf], [math.nan, -1.0], [0.0, 0.0]]).double()
    both = [weighted("attention", 0.8), weighted("ctc", 0.2)]
    assert raw_confidences(gains, both, [range(0, 1), range(1, 2)]) == [0.0, 0.0]
    alone = [weighted("attention", 0.8), weighted("coverage", 0.2)]
    assert raw_confidences(gains, alone, [range(0, 1)]) == pytest.approx([math.exp(-1.0)])


def test_confidences_come_with_the_words(tones_run: Path) -> None:
    recognizer, utterances = Recognizer.load(tones_run), read_manifest(tones_run.parent / "test.jsonl")
    found = recognizer.transcribe(utterances)
    assert all(0 <= word.confidence <= 1 for one in found for word in one.words if word.confidence is not None)
    assert all(word.confidence is not None for one in found for word in one.words)
    alone = [recognizer.transcribe([one])[0].words for one in utterances]
    assert [[w.confidence for w in one.words] for one in found] == [
        pytest.approx([w.confidence for w in words], abs=2e-4) for words in alone
    ]


@pytest.fixture
def run(tones_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))


def belonging(run: Path, slope: float, intercept: float) -> Calibration:
    """A line for the weights of a run."""
    return Calibration(
        tokenizer=Tokenizer.load(run / "tokenizer.model").hash,
        weights=digest_of(run / "best.ckpt"),
        ctc_weight=0.2,
        slope=slope,
        intercept=intercept,
        words=9,
        error_before=0.2,
        error_after=0.1,
    )


def test_a_calibration_in_the_run_folder_is_applied(run: Path, tones_run: Path) -> None:
    before = Recognizer.load(run)
    assert before.searcher.calibration is None and calibrated([0.1, 0.9], None) == [0.1, 0.9]
    line = belonging(run, slope=0.0, intercept=math.log(3))
    (run / CALIBRATION).write_text(to_yaml(line))
    after = Recognizer.load(run)
    assert after.searcher.calibration == line and calibrated([0.1, 0.9], line) == pytest.approx([0.75, 0.75])
    found = after.transcribe(read_manifest(tones_run.parent / "test.jsonl")[:3])
    assert {word.confidence for one in found for word in one.words} == {0.75}


def test_a_calibration_is_of_one_ctc_weight_and_number_of_speeds(
    run: Path, tones_run: Path, capsys: pytest.CaptureFixture
) -> None:
    plain, utterances = Recognizer.load(run), read_manifest(tones_run.parent / "test.jsonl")[:2]
    line = belonging(run, slope=0.0, intercept=0.0)
    (run / CALIBRATION).write_text(to_yaml(line))
    fitted = Recognizer.load(run)
    found = fitted.transcribe(utterances, BeamConfig(beam=1))
    assert {word.confidence for one in found for word in one.words} == {0.5} and capsys.readouterr().err == ""
    other = BeamConfig(beam=1, ctc_weight=0.0)
    slower = BeamConfig(beam=1, speeds=3)
    for search in (other, slower):
        assert fitted.transcribe(utterances, search) == plain.transcribe(utterances, search)
    (said,) = capsys.readouterr().err.splitlines()
    assert said == "warning: word confidences stay raw: calibrated with ctc_weight 0.2 and speeds 1"


def test_a_calibration_that_does_not_belong_is_refused(run: Path) -> None:
    line = replace(belonging(run, slope=1.0, intercept=0.0), tokenizer="0" * 64)
    (run / CALIBRATION).write_text(to_yaml(line))
    with pytest.raises(CheckpointError, match="another tokenizer"):
        Recognizer.load(run)
    (run / CALIBRATION).write_text(to_yaml(line) + "slop: 3.0\n")
    with pytest.raises(UsageError, match="slop"):
        Recognizer.load(run)
    with pytest.raises(UsageError, match="slope"):
        belonging(run, slope=-1.0, intercept=0.0)
