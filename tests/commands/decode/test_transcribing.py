"""Guards and word times of a trained recogniser."""

from pathlib import Path

import pytest
import torch

from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.stepping import stepping
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.recognizer.scoring import EnsembleModel
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.vocabulary import EOS


@pytest.fixture
def recognizer(tones_run: Path) -> Recognizer:
    return Recognizer.load(tones_run)


@pytest.fixture
def utterances(tones_run: Path) -> list[Utterance]:
    return read_manifest(tones_run.parent / "test.jsonl")


def favour(recognizer: Recognizer, token: int) -> None:
    """Spoil the decoder: it wants nothing but this token, and will not end after another."""
    with torch.no_grad():
        recognizer.model.decoder.output.bias[EOS] -= 1000
        recognizer.model.decoder.output.bias[token] += 100 if token != EOS else 1100
    recognizer.searcher.members = (EnsembleModel(recognizer.model, stepping(recognizer.model.decoder)),)


def test_a_good_recogniser_is_left_alone(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    off = recognizer.transcribe(utterances, BeamConfig(guards="off"))
    assert recognizer.transcribe(utterances) == off and not any(one.flags or one.fallback for one in off)


@pytest.mark.parametrize(("token", "flag"), [(EOS, "truncated"), (5, "loop")])
def test_a_spoilt_decoder_is_replaced_by_ctc(recognizer: Recognizer, utterances, token: int, flag: str) -> None:
    long = [one for one in utterances if len(one.text.split()) == 4]
    expected = [one.text for one in recognizer.transcribe(long, BeamConfig(ctc_weight=0.9))]
    favour(recognizer, token)
    flagged = recognizer.transcribe(long, BeamConfig(guards="flag", ctc_weight=0.0))
    replaced = recognizer.transcribe(long, BeamConfig(ctc_weight=0.0))
    for one, other, text in zip(flagged, replaced, expected, strict=True):
        assert flag in one.flags and one.fallback is None and one.text != text
        assert flag in other.flags and other.fallback == "ctc" and other.text == text
        assert [word.text for word in other.words] == text.split()
    assert recognizer.transcribe(long[:1], BeamConfig(ctc_weight=0.0))[0].text == replaced[0].text


def test_without_ctc_only_loops_are_found(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    recognizer.model.ctc = None
    favour(recognizer, 5)
    (found,) = recognizer.transcribe(utterances[3:4])
    assert found.flags == ("loop",) and found.fallback is None
    with pytest.raises(UsageError, match="no CTC head"):
        recognizer.transcribe(utterances[:1], BeamConfig(align="ctc"))


@pytest.mark.parametrize("align", ["attention", "ctc"])
def test_words_have_times_in_their_order(recognizer: Recognizer, utterances: list[Utterance], align) -> None:
    """A word is a tone of 120 ms in a slot of 180 ms; the frames are 40 ms."""
    search, near, all_words = BeamConfig(align=align, nbest=2), 0, 0
    found = recognizer.transcribe(utterances, search)
    for utterance, one in zip(utterances, found, strict=True):
        assert [word.text for word in one.words] == one.text.split() and one.words == one.nbest[0].words
        assert all(word.start < word.end for word in one.words)
        starts = [word.start for word in one.words]
        assert starts == sorted(starts) and one.words[-1].end <= utterance.duration
        assert all(time <= utterance.duration for single in one.nbest for time in single.times)
        if one.text == utterance.text:
            near += sum(abs(word.start - 0.18 * place) < 0.18 for place, word in enumerate(one.words))
            all_words += len(one.words)
    assert near > 0.8 * all_words > 8
    alone = recognizer.transcribe(utterances[5:6], search)[0]
    assert (alone.text, alone.words) == (found[5].text, found[5].words)
