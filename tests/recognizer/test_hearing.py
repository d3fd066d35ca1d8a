"""Several speeds: each counts as if it were searched alone."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import ctc_loss

from seq2seq_asr import Recognizer
from seq2seq_asr.data.augment import at_speed
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.model import Encoded
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.recognizer.hearing import speeds_of, stretched_frames
from seq2seq_asr.recognizer.scoring import EnsembleModel
from seq2seq_asr.search.beam import MOST_SPEEDS, BeamConfig
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.rescoring import rescore

SEARCH = BeamConfig(beam=4, nbest=3, speeds=5)


def test_speeds_lie_around_the_utterances_own() -> None:
    assert speeds_of(1) == (1.0,) and speeds_of(5) == (1.0, 0.95, 1.05, 0.9, 1.1)
    for count in range(1, MOST_SPEEDS + 1, 2):
        speeds = sorted(speeds_of(count))
        assert len(speeds) == count and np.allclose(np.diff(speeds), 0.05) and np.mean(speeds) == pytest.approx(1)
    for count in (-1, 0, 2, MOST_SPEEDS + 2):
        with pytest.raises(UsageError, match=f"speeds: must be odd and at most {MOST_SPEEDS}, not {count}"):
            BeamConfig(speeds=count)


@torch.inference_mode()
def test_a_score_is_the_mean_of_what_each_speed_says_alone(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    """Each speed's samples given to the model as an utterance of its own; CTC by PyTorch's loss."""
    searcher, model, alone = recognizer.searcher, recognizer.model, BeamConfig(ctc_weight=0.0)
    for utterance, found in zip(utterances, recognizer.transcribe(utterances, SEARCH), strict=True):
        samples, tokens, totals = recognizer.reader(utterance), recognizer.tokenizer.encode(found.text), []
        frames = int(searcher.encode([samples])[0].lengths)
        for speed in speeds_of(SEARCH.speeds):
            changed = at_speed(samples, speed, 1)
            assert len(changed) == math.ceil(len(samples) / speed)
            (heard,) = searcher.encode([changed])
            (gains,) = rescore(searcher.scorers((heard,), alone), [tokens])
            count, mark = int(heard.lengths), "" if speed == 1 else f"@{speed}"
            repeated = [place * count // max(count, frames) for place in range(max(count, frames))]
            posteriors = model.ctc_log_probs(heard)[0, repeated]
            sizes = torch.tensor([len(repeated)]), torch.tensor([len(tokens)])
            ctc = -float(ctc_loss(posteriors[:, None], torch.tensor([tokens]), *sizes, reduction="sum"))
            assert found.scores[f"attention{mark}"] == pytest.approx(float(gains.sum()), abs=1e-3)
            assert found.scores[f"ctc{mark}"] == pytest.approx(ctc, abs=1e-3)
            totals.append((1 - SEARCH.ctc_weight) * float(gains.sum()) + SEARCH.ctc_weight * ctc)
        assert found.score == pytest.approx(np.mean(totals) / (len(tokens) + 1), abs=1e-3)
        assert found.log_prob == found.scores["attention"] and len(found.scores) == 2 * SEARCH.speeds


def test_steps_in_places_change_nothing(tones_run: Path, utterances: list[Utterance]) -> None:
    """As on a GPU, where a shape's steps are recorded; here they are not, but all else is done."""
    plain, other = Recognizer.load(tones_run), Recognizer.load(tones_run)
    other.searcher.places = Places()
    other.searcher.members = (EnsembleModel(other.model, Stepping(other.model.decoder)),)
    for some in (utterances, utterances[::-1][:3]):
        for one, wanted in zip(other.transcribe(some, SEARCH), plain.transcribe(some, SEARCH), strict=True):
            assert one.text == wanted.text and one.score == pytest.approx(wanted.score, abs=1e-4)


def test_what_is_too_short_to_go_faster_is_heard_as_it_is(recognizer: Recognizer) -> None:
    smallest = recognizer.model.features.smallest_input
    samples = np.random.default_rng(0).standard_normal(smallest, dtype=np.float32) / 10
    usual, faster = recognizer.searcher.encode([samples])[0], recognizer.searcher.encode_at([samples], 1.3)[0]
    assert torch.equal(usual.states, faster.states) and recognizer.transcribe([samples], SEARCH)
    lengths = [int(recognizer.searcher.encode_at([np.tile(samples, 40)], speed)[0].lengths) for speed in (0.7, 1.0)]
    assert lengths[0] > lengths[1]


def test_feature_frames_are_heard_faster_too() -> None:
    frames = np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
    assert at_speed(frames, 1.25, 1).shape == (24, 4) and at_speed(frames, 1.25, 25) is frames


def test_more_speeds_than_were_heard_are_refused(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    hearings = recognizer.searcher.encode([recognizer.reader(utterances[0])], 3)
    assert len(recognizer.searcher.scorers(hearings, BeamConfig(speeds=1))) == 2
    with pytest.raises(ValueError, match="heard at 3 speeds, the search wants 5"):
        recognizer.searcher.scorers(hearings, BeamConfig(speeds=5))


def test_ctc_allows_at_each_speed_what_it_allows_at_the_utterances_own(recognizer: Recognizer) -> None:
    samples = np.random.default_rng(0).standard_normal(6000, dtype=np.float32) / 10
    search = BeamConfig(speeds=MOST_SPEEDS)
    hearings = recognizer.searcher.encode([samples, np.tile(samples, 2)], search.speeds)
    own, fastest = hearings[0].lengths.tolist(), hearings[-1].lengths.tolist()
    assert own[0] - fastest[0] >= 2 and own[1] - fastest[1] >= 2
    scorers = recognizer.searcher.scorers(hearings, search)
    fitting = [[3 + place % 2 for place in range(frames)] for frames in own]
    for gains in rescore(scorers, fitting):
        assert torch.isfinite(gains).all()
    longer = rescore(scorers, [[*tokens, 3 + len(tokens) % 2] for tokens in fitting])
    faster = [one.name.startswith("ctc") and "@0" not in one.name for one in scorers]
    assert all(torch.isinf(gains[:, faster].sum(0)).all() for gains in longer)


def test_frames_are_repeated_evenly_where_there_are_too_few() -> None:
    frames, own = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [9.0]]]), torch.zeros(2, 5, 1)
    found, lengths = stretched_frames(frames, torch.tensor([3, 2]), Encoded(own, torch.tensor([5, 2])))
    assert lengths.tolist() == [5, 2] and found[0, :, 0].tolist() == [1, 1, 2, 2, 3]
    assert found[1, :2, 0].tolist() == [4, 5]
    found, lengths = stretched_frames(frames, torch.tensor([3, 2]), Encoded(own[:, :2], torch.tensor([2, 1])))
    assert lengths.tolist() == [3, 2] and torch.equal(found, frames)
