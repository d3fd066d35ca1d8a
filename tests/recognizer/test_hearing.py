"""Several speeds: each counts as if it were searched alone."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seq2seq_asr import Recognizer
from seq2seq_asr.data.augment import at_speed
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.recognizer.hearing import speeds_of
from seq2seq_asr.search.beam import MOST_SPEEDS, BeamConfig
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.rescoring import rescore

SEARCH = BeamConfig(beam=4, nbest=3, speeds=5)


@pytest.fixture(scope="module")
def recognizer(tones_run: Path) -> Recognizer:
    return Recognizer.load(tones_run, device="cpu")


@pytest.fixture(scope="module")
def utterances(tones_run: Path) -> list[Utterance]:
    return read_manifest(tones_run.parent / "test.jsonl")


def test_speeds_lie_around_the_utterances_own() -> None:
    assert speeds_of(1) == (1.0,) and speeds_of(5) == (1.0, 0.95, 1.05, 0.9, 1.1)
    for count in range(1, MOST_SPEEDS + 1, 2):
        speeds = sorted(speeds_of(count))
        assert len(speeds) == count and np.allclose(np.diff(speeds), 0.05) and np.mean(speeds) == pytest.approx(1)
    for count in (-1, 0, 2, MOST_SPEEDS + 2):
        with pytest.raises(UsageError, match=f"speeds: must be odd and at most {MOST_SPEEDS}, not {count}"):
            BeamConfig(speeds=count)


def test_a_score_is_the_mean_of_what_each_speed_says_alone(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    """Each speed's samples given to the model as an utterance of its own, the transcript forced."""
    searcher, alone = recognizer.searcher, replace(SEARCH, speeds=1)
    for utterance, found in zip(utterances, recognizer.transcribe(utterances, SEARCH), strict=True):
        samples, tokens, totals = recognizer.reader(utterance), recognizer.tokenizer.encode(found.text), []
        for speed in speeds_of(SEARCH.speeds):
            heard = searcher.encode([at_speed(samples, speed, 1)])
            assert math.ceil(len(samples) / speed) == len(at_speed(samples, speed, 1))
            scorers = searcher.scorers(heard, alone)
            (gains,) = rescore(scorers, [tokens])
            totals.append(sum(one.weight * float(gain) for one, gain in zip(scorers, gains.sum(0), strict=True)))
            mark = "" if speed == 1 else f"@{speed}"
            for one, gain in zip(scorers, gains.sum(0), strict=True):
                assert found.scores[one.name + mark] == pytest.approx(float(gain), abs=1e-3)
        assert found.score == pytest.approx(np.mean(totals) / (len(tokens) + 1), abs=1e-3)
        assert found.log_prob == found.scores["attention"] and len(found.scores) == 2 * SEARCH.speeds


def test_steps_in_places_change_nothing(tones_run: Path, utterances: list[Utterance]) -> None:
    """As on a GPU, where a shape's steps are recorded; here they are not, but all else is done."""
    plain, other = Recognizer.load(tones_run), Recognizer.load(tones_run)
    other.searcher.places, other.searcher.decoder = Places(), Stepping(other.model.decoder)
    for some in (utterances, utterances[::-1][:3]):
        for one, wanted in zip(other.transcribe(some, SEARCH), plain.transcribe(some, SEARCH), strict=True):
            assert one.text == wanted.text and one.score == pytest.approx(wanted.score, abs=1e-4)


def test_what_is_too_short_to_go_faster_is_heard_as_it_is(recognizer: Recognizer) -> None:
    smallest = recognizer.model.features.smallest_input
    samples = np.random.default_rng(0).standard_normal(smallest, dtype=np.float32) / 10
    usual, faster = recognizer.searcher.encode([samples])[0], recognizer.searcher.encode_at([samples], 1.3)
    assert torch.equal(usual.states, faster.states) and recognizer.transcribe([samples], SEARCH)
    lengths = [int(recognizer.searcher.encode_at([np.tile(samples, 40)], speed).lengths) for speed in (0.7, 1.0)]
    assert lengths[0] > lengths[1]


def test_feature_frames_are_heard_faster_too() -> None:
    frames = np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
    assert at_speed(frames, 1.25, 1).shape == (24, 4) and at_speed(frames, 1.25, 25) is frames


def test_more_speeds_than_were_heard_are_refused(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    hearings = recognizer.searcher.encode([recognizer.reader(utterances[0])], 3)
    assert len(recognizer.searcher.scorers(hearings, BeamConfig(speeds=1))) == 2
    with pytest.raises(ValueError, match="heard at 3 speeds, the search wants 5"):
        recognizer.searcher.scorers(hearings, BeamConfig(speeds=5))
