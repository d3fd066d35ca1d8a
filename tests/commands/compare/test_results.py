"""Finished runs are judged by the error rate that `fit`, `tune` and `decode` judge them by."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq_asr.commands.compare.budget import Measured
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run, System
from seq2seq_asr.commands.compare.ranking import Ranking, rank
from seq2seq_asr.commands.compare.results import RunResult, asked_for, read_result
from seq2seq_asr.commands.compare.sections import curves_section, length_section, ranking_section
from seq2seq_asr.commands.compare.tables import run_row, system_row
from seq2seq_asr.commands.compare.words import answer
from seq2seq_asr.config import FitConfig
from seq2seq_asr.evaluation.trn import TrnLine, write_trn
from seq2seq_asr.evaluation.wer import ErrorCounts, character_errors, word_errors
from seq2seq_asr.training.criterion import CER, WER, Choice

PLAN = CompareConfig(configs=(Path("a.yaml"),))
MANDARIN = ("今天天气很好我们去公园吧", "他昨天从北京坐火车回来了呢")
CLOSE = ("今天天气很好我们去公园把", "他昨天从北京坐火车回来了啦")
FAR = ("完全不对的一句话在这里呢", "一二三四五六七八九十百千万")
ENGLISH = ("play the blue river", "call anna")
SAID = ("play the yellow river", "call hannah")


def finished(folder: Path, name: str, hypotheses: Sequence[str], references: Sequence[str] = MANDARIN) -> Run:
    """A run folder with transcripts and the figures of two epochs."""
    config = FitConfig()
    config = replace(config, name=name, checkpoints=folder, trainer=replace(config.trainer, epochs=2))
    run = Run(system=name, seed=1, config=config)
    (run.path / "compare_test").mkdir(parents=True)
    (run.path / "compare_test" / "wer.json").write_text(json.dumps({"real_time_factor": 0.1}))
    for file, texts in (("ref", references), ("hyp", hypotheses)):
        lines = [TrnLine(id=f"u{place}", text=text, speaker=f"s{place}") for place, text in enumerate(texts)]
        write_trn(run.path / "compare_test" / f"{file}.trn", lines)
    rows = [f"{epoch},{epoch + 1},2.0,1.0,0.25,5" for epoch in range(2)]
    (run.path / "metrics.csv").write_text("\n".join(["epoch,step,train_loss,val_wer,val_cer,seconds", *rows]) + "\n")
    return run


def ranked(runs: Sequence[Run], choice: Choice = "auto") -> Ranking:
    systems = [System(name=run.system, place={}, config=run.config) for run in runs]
    return rank(systems, {run.system: [read_result(run, PLAN, choice)] for run in runs})


def counted(result: RunResult, references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, ErrorCounts]:
    """Word and character errors, added up by hand."""
    pairs = list(zip(references, hypotheses, strict=True))
    assert result.test.references == tuple(references)
    return {
        "wer": sum((word_errors(*pair) for pair in pairs), ErrorCounts()),
        "cer": sum((character_errors(*pair) for pair in pairs), ErrorCounts()),
    }


@pytest.mark.parametrize(("references", "hypotheses", "kind"), [(MANDARIN, CLOSE, "cer"), (ENGLISH, SAID, "wer")])
def test_scripts_without_spaces_are_judged_by_characters(
    references: Sequence[str], hypotheses: Sequence[str], kind: str, tmp_path: Path
) -> None:
    run = finished(tmp_path, "gru", hypotheses, references)
    for choice, judged in (("auto", kind), ("wer", "wer"), ("cer", "cer")):
        result = read_result(run, PLAN, choice)  # type: ignore[arg-type]
        counts = counted(result, references, hypotheses)[judged]
        assert result.rate == counts.rate and result.errors.sum() == counts.errors
        assert result.test.criterion == {"wer": WER, "cer": CER}[judged]


def test_what_is_shown_is_named_after_what_was_counted(tmp_path: Path) -> None:
    ranking = ranked([finished(tmp_path, "far", FAR), finished(tmp_path, "close", CLOSE)])
    assert [one.system.name for one in ranking.standings] == ["close", "far"], "both have each sentence wrong"
    assert "8.0 % CER" in answer(ranking), "2 of 25 characters"
    page = ranking_section(ranking) + curves_section(ranking) + length_section(ranking)
    for told in ("CER %", "CER (%)", "val CER % over epochs", "CER by length", "CER % by characters said"):
        assert told in page
    assert "WER" not in page and "words" not in page.replace('class="words', "")
    assert "(25 – 25) at 2</title>" in page, "the curve is of val_cer"
    one = ranking.best
    measured = Measured(system=one.system, parameters=1, steps_an_epoch=1, audio_seconds=1.0, tokens=1, vocabulary=1)
    assert system_row(one, {"close": measured}, {})["measure"] == "cer"
    row = run_row(one.runs[0], one)
    assert (row["errors"], row["characters"]) == (2, 25) and "words" not in row


def test_a_run_without_character_errors_in_its_figures_is_ranked(tmp_path: Path) -> None:
    """As an early version trained it."""
    run = finished(tmp_path, "gru", CLOSE)
    metrics = run.path / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("val_cer", "other"))
    ranking = ranked([run])
    assert "val CER" not in curves_section(ranking) and "train loss" in curves_section(ranking)


def test_the_configs_may_ask_for_an_error_rate(tmp_path: Path) -> None:
    run = Run(system="a", seed=1, config=FitConfig())
    by_characters = replace(run, config=replace(run.config, trainer=replace(run.config.trainer, criterion="cer")))
    assert asked_for([run, run]) == asked_for([run, by_characters]) == "auto"
    assert asked_for([by_characters, by_characters]) == "cer"
