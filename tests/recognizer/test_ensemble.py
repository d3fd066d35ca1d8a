"""Several models decode together: what they say is averaged, and what does not go together is refused."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.decode import main
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.recognizer.confidence import Calibration
from seq2seq_asr.recognizer.restoring import restore_others
from seq2seq_asr.recognizer.searcher import Searcher
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.search.rescoring import rescore
from seq2seq_asr.training.checkpoint import read_checkpoint, write_atomically
from seq2seq_asr.whole_file import digest_of

SEARCH = BeamConfig(beam=4, speeds=3, guards="off")


@pytest.fixture(scope="module")
def other_run(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run like the first, whose weights have been shaken a little."""
    run = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(tones_run, run, ignore=shutil.ignore_patterns("*.ckpt*", "decode_*", "plots"))
    checkpoint = read_checkpoint(tones_run / "best.ckpt")
    torch.manual_seed(0)
    for weight in checkpoint["state_dict"].values():
        if weight.is_floating_point():
            weight += 0.02 * torch.randn_like(weight)
    write_atomically(checkpoint, run / "best.ckpt")
    return run


@pytest.fixture(scope="module")
def other(recognizer: Recognizer, other_run: Path) -> Iterator[Seq2Seq]:
    (model,) = restore_others([other_run], "best", recognizer.model, recognizer.tokenizer)
    yield model.eval()


@torch.inference_mode()
def test_a_score_is_the_mean_of_what_each_model_says_alone(
    recognizer: Recognizer, other: Seq2Seq, utterances: list[Utterance]
) -> None:
    alone = [Searcher(model, recognizer.tokenizer) for model in (recognizer.model, other)]
    together = Recognizer(Searcher(recognizer.model, recognizer.tokenizer, others=[other]))
    for utterance, found in zip(utterances[:4], together.transcribe(utterances[:4], SEARCH), strict=True):
        samples, tokens = recognizer.reader(utterance), recognizer.tokenizer.encode(found.text)
        totals = []
        for place, searcher in enumerate(alone, start=1):
            scorers = searcher.scorers(searcher.encode([samples], SEARCH.speeds), SEARCH)
            (gains,) = rescore(scorers, [tokens])
            for scorer, gain in zip(scorers, gains.sum(dim=0).tolist(), strict=True):
                kind, _, speed = scorer.name.partition("@")
                mark = "@model2" * (place == 2) + f"@{speed}" * bool(speed)
                assert found.scores[kind + mark] == pytest.approx(gain, abs=1e-3)
            totals.append(sum(one.weight * gain for one, gain in zip(scorers, gains.sum(dim=0).tolist(), strict=True)))
        assert totals[0] != pytest.approx(totals[1], abs=1e-3), "the models differ"
        assert found.score == pytest.approx(sum(totals) / 2 / (len(tokens) + 1), abs=1e-3)
        assert len(found.scores) == 2 * 2 * SEARCH.speeds


def test_a_model_with_itself_is_the_model_alone(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    twin = copy.deepcopy(recognizer.model)
    together = Recognizer(Searcher(recognizer.model, recognizer.tokenizer, others=[twin, twin]))
    for found, wanted in zip(together.transcribe(utterances), recognizer.transcribe(utterances), strict=True):
        assert (found.text, found.times) == (wanted.text, wanted.times)
        assert found.score == pytest.approx(wanted.score, abs=1e-4)
        assert [word.confidence for word in found.words] == pytest.approx(
            [word.confidence for word in wanted.words], abs=1e-4
        )


def test_decode_takes_an_ensemble(
    tones_run: Path, other_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))
    flags = ["--run", str(run), "--beam", "2", "--ensemble", str(other_run)]
    assert exit_code_of(main, flags) == 0
    printed, said = capsys.readouterr()
    folder = run / "decode_test_beam2_models2"
    assert printed.endswith(f"{folder}\n") and "beam 2, 1 more models" in said
    line = json.loads((folder / "hyp.jsonl").read_text().splitlines()[0])
    assert line["scores"].keys() == {"attention", "ctc", "attention@model2", "ctc@model2"}
    assert exit_code_of(main, ["--config", str(folder / "decode.yaml"), "--resume"]) == 0
    assert "12 of 12 were decoded before" in capsys.readouterr().err
    assert ", model2 " in (folder / "decode.yaml").read_text()


def test_of_every_run_the_best_weights_are_taken_whatever_another_has(
    tones_run: Path, other_run: Path, tmp_path: Path, utterances: list[Utterance]
) -> None:
    run = shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("best.ckpt", "decode_*", "plots"))
    other = shutil.copytree(other_run, tmp_path / "other")
    shutil.copy(tones_run / "last.ckpt", other)
    flags = ["--run", str(run), "--beam", "2", "--ensemble", str(other), "--out", str(tmp_path / "out")]
    assert exit_code_of(main, flags) == 0
    assert f"model2 {digest_of(other / 'best.ckpt')}" in (tmp_path / "out" / "decode.yaml").read_text()
    expected = Recognizer.load(run, ensemble=[other]).transcribe(utterances, BeamConfig(beam=2))
    lines = [json.loads(line) for line in (tmp_path / "out" / "hyp.jsonl").read_text().splitlines()]
    assert [line["score"] for line in lines] == pytest.approx([one.score for one in expected], abs=1e-4)


def test_confidences_of_several_models_stay_raw(
    recognizer: Recognizer, other: Seq2Seq, utterances: list[Utterance], capsys: pytest.CaptureFixture
) -> None:
    """A calibration is of what one model says."""
    found = []
    for others in ([], [other]):
        heard = Recognizer(Searcher(recognizer.model, recognizer.tokenizer, others=others))
        before = heard.transcribe(utterances[:2], SEARCH)
        heard.searcher.calibration = Calibration(
            tokenizer=recognizer.tokenizer.hash,
            weights="",
            ctc_weight=SEARCH.ctc_weight,
            speeds=SEARCH.speeds,
            slope=0.0,
            intercept=0.0,
            words=9,
            error_before=0.2,
            error_after=0.1,
        )
        found.append(heard.transcribe(utterances[:2], SEARCH) == before)
    assert found == [False, True]
    assert "raw: calibrated with ctc_weight 0.2 and speeds 3 of one model" in capsys.readouterr().err


def test_what_does_not_go_together_is_refused(recognizer: Recognizer, other_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(other_run, tmp_path / "run")
    strange = Tokenizer.train(["other words"], TokenizerConfig(kind="char"))
    with pytest.raises(UsageError, match="run: spells with another tokenizer than the first run"):
        restore_others([run], "best", recognizer.model, strange)
    slower = copy.deepcopy(recognizer.model)
    object.__setattr__(slower.features.config, "rate", 16000)
    with pytest.raises(UsageError, match="run: reads other inputs than the first run"):
        restore_others([run], "best", slower, recognizer.tokenizer)
