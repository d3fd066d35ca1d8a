"""The command: planted differences, its tables, words and figure."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from seq2seq_asr.commands.significance import plots
from seq2seq_asr.commands.significance.pairs import compare_pairs
from seq2seq_asr.commands.significance.printing import table
from seq2seq_asr.commands.significance.reading import read_decoding, same_utterances
from seq2seq_asr.commands.significance.systems import System, score_systems
from seq2seq_asr.evaluation.classification import make_class_report
from seq2seq_asr.evaluation.hierarchy import seeds_difference
from seq2seq_asr.evaluation.intervals import bootstrap_interval
from seq2seq_asr.evaluation.layout import display_width
from seq2seq_asr.evaluation.report import make_report
from seq2seq_asr.evaluation.significance import holm, paired_permutation
from seq2seq_asr.evaluation.trn import TrnLine, write_trn
from seq2seq_asr.evaluation.wer import character_errors, word_errors
from tests.commands.significance.conftest import decode, rows, system


def scored(folders: Sequence[Path], unit="words") -> list[System]:
    decodings = [read_decoding(folder) for folder in folders]
    return score_systems(decodings, same_utterances(decodings), unit, 0)


def test_a_planted_difference_is_found_and_none_is_not(tmp_path: Path, call) -> None:
    good, twin = decode(tmp_path / "good", 0.1), decode(tmp_path / "twin", 0.1, seed=1)
    bad = decode(tmp_path / "bad", 0.4, seed=2)
    result = call(good, twin, bad, "--out", tmp_path / "new" / "out")
    assert result.code == 0 and "80 utterances of 8 speakers, 240 words" in result.out
    found = {(row["first"], row["second"]): row for row in rows(tmp_path / "new/out/pairs.csv")}
    verdicts = {pair: row["verdict"] for pair, row in found.items()}
    assert verdicts == {
        ("good", "twin"): "not significant",
        ("good", "bad"): "significant",
        ("twin", "bad"): "significant",
    }
    assert float(found["good", "bad"]["difference_low"]) > 0
    assert re.search(r"^bad – good +\+\d.* significant$", result.out, re.MULTILINE)
    assert (tmp_path / "new/out/differences.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "new/out").iterdir()) == [
        *("differences.png", "pairs.csv", "speakers.csv", "systems.csv"),
    ]


def test_the_tables_hold_what_the_functions_give(tmp_path: Path, call, draw_nothing) -> None:
    folders = [decode(tmp_path / "abc"[seed], 0.1 + 0.1 * seed, seed=seed) for seed in range(3)]
    assert call(*folders, "--out", tmp_path / "out").code == 0
    systems = scored(folders)
    speakers, lengths = systems[0].speakers, systems[0].lengths
    worse = []
    for row, (i, j) in zip(rows(tmp_path / "out/pairs.csv"), [(0, 1), (0, 2), (1, 2)], strict=True):
        first, second = systems[i].errors, systems[j].errors
        student = seeds_difference(first[None], second[None], lengths, speakers)
        exchanged = paired_permutation(first, second, speakers)
        assert (row["first"], row["second"]) == ("abc"[i], "abc"[j])
        assert float(row["difference"]) == student.difference and float(row["p_student"]) == student.p_value
        assert (float(row["difference_low"]), float(row["difference_high"])) == (
            student.interval.low,
            student.interval.high,
        )
        assert float(row["p_exchange_speakers"]) == exchanged and row["p_exchange_utterances"] == ""
        worse.append(max(student.p_value, exchanged))
    assert [float(row["p_value"]) for row in rows(tmp_path / "out/pairs.csv")] == holm(worse)
    for row, one in zip(rows(tmp_path / "out/systems.csv"), systems, strict=True):
        interval = bootstrap_interval(one.errors, lengths, speakers)
        assert (float(row["interval_low"]), float(row["interval_high"])) == (interval.low, interval.high)
        assert float(row["error_rate"]) == one.errors.sum() / lengths.sum() and row["resampled"] == "speaker"
    told = rows(tmp_path / "out/speakers.csv")
    for one in systems:
        mine = [row for row in told if row["system"] == one.name]
        assert sum(int(row["errors"]) for row in mine) == one.errors.sum() and len(mine) == 8


def test_the_systems_are_scored_as_decode_scores_them(tmp_path: Path) -> None:
    folders = [decode(tmp_path / "a", 0.2), decode(tmp_path / "b", 0.3)]
    for unit, judge in (("words", word_errors), ("characters", character_errors)):
        for one, folder in zip(scored(folders, unit), folders, strict=True):
            report = make_report(read_decoding(folder).scored)
            counts, interval = (
                (report.words, report.interval) if unit == "words" else (report.characters, report.character_interval)
            )
            assert (one.total, one.interval) == (counts, interval)
            assert one.sentence_error_rate == report.sentence_error_rate
            assert one.counts == tuple(judge(x.reference, x.hypothesis) for x in read_decoding(folder).scored)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_labels_are_scored_as_decode_scores_them(tmp_path: Path, rate: float) -> None:
    folder = decode(tmp_path / "a", rate)
    (one,) = scored([folder], "utterances")
    texts = read_decoding(folder).scored
    report = make_class_report(texts, sorted({text for x in texts for text in (x.reference, x.hypothesis)}))
    assert one.interval.high - one.interval.low > 0.01 and one.wrong == len(texts) - report.right
    assert (one.interval.low, one.interval.high) == pytest.approx((1 - report.interval.high, 1 - report.interval.low))


def test_an_utterance_is_wrong_by_its_words_in_whatever_errors_are_counted(tmp_path: Path) -> None:
    for name, text in (("ref", "今天 天气"), ("hyp", "今天天气")):  # a space that means nothing among characters
        lines = [TrnLine(id="a", text=text, speaker=None), TrnLine(id="b", text="x", speaker=None)]
        write_trn(tmp_path / f"{name}.trn", lines)
    for unit in ("words", "characters", "utterances"):
        (one,) = scored([tmp_path], unit)
        assert one.wrong == 1 and one.errors.any() == (unit != "characters")


def test_by_speaker(tmp_path: Path, call, draw_nothing) -> None:
    folders = [decode(tmp_path / "a", 0.2), decode(tmp_path / "b", 0.3)]
    assert "s_3 " not in call(*folders).out
    result = call(*folders, "--by", "speaker", "--out", tmp_path)
    for name in (f"s_{place}" for place in range(8)):
        rates = [row["error_rate"] for row in rows(tmp_path / "speakers.csv") if row["speaker"] == name]
        shown = " +".join(f"{100 * float(rate):.2f} %" for rate in rates)
        assert re.search(rf"^{name} +10 +\d+ +{shown}$", result.out, re.MULTILINE)
    nobody = [decode(tmp_path / f"{name}_", 0.2, speakers=0) for name in "ab"]
    result = call(*nobody, "--by", "speaker")
    assert (result.code, result.out) == (2, "") and "names a speaker" in result.err
    assert "80 utterances of unknown speakers" in call(*nobody).out and "utterances are tested" in call(*nobody).out


def test_what_errors_are_counted_in(tmp_path: Path, call, draw_nothing) -> None:
    a, b = decode(tmp_path / "a", 0.1), decode(tmp_path / "b", 0.3, seed=1)
    assert call(a, b).out.count("WER") == 2 and call(a, b, "--unit", "characters").out.count("CER") == 2
    assert call(a, b, "--unit", "utterances", "--out", tmp_path / "out").out.count("SER") == 2
    assert [row["error_rate"] for row in rows(tmp_path / "out/systems.csv")] == [
        row["sentence_error_rate"] for row in rows(tmp_path / "out/systems.csv")
    ]
    unspaced = [decode(tmp_path / name, 0.1, share=["今天天气很好", "我们去公园玩"]) for name in ("han", "han2")]
    assert "CER" in call(*unspaced).out, "as training judges them"
    (a / "accuracy.json").write_text('{"skipped": 0}')
    assert "SER" in call(a, b).out, "nothing is known of the other"
    (b / "wer.json").write_text('{"skipped": 0}')
    result = call(a, b)
    assert result.code == 2 and f"{b}: classification and recognition" in result.err
    (b / "accuracy.json").write_text('{"skipped": 0}')
    assert "SER" in call(a, b).out


def test_names_that_are_odd_or_long(tmp_path: Path, call) -> None:
    """Not UTF-8, with dollars, or longer than a figure is wide."""
    folders = [decode(tmp_path / name, 0.2, count=20) for name in (os.fsdecode(b"\xff$a_1$"), "系统" * 40, "b" * 200)]
    result = call(*folders, "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert [row["system"] for row in rows(tmp_path / "out/systems.csv")][1:] == ["系统" * 40, "b" * 200]
    assert (tmp_path / "out/differences.png").stat().st_size > 1000


def test_columns_stand_below_each_other() -> None:
    lines = table([["name", "of", ""], ["上海", "1,200", ""], ["x\x1b[0m", "1", "last, as it is"]])
    assert len({display_width(line) for line in lines[:2]}) == 1 and "\x1b" not in lines[2]
    assert lines[2].endswith("1  last, as it is")


def test_the_figure_names_its_pairs_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "MOST", 3)
    systems = [system([place % most for place in range(16)], [None] * 16) for most in (1, 2, 3, 5)]
    pairs = compare_pairs(systems)
    (axes,) = plots.differences_figure(pairs, "WER").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x – x"] * 3 and "WER" in axes.get_xlabel()
    largest = sorted((abs(100 * pair.student.difference) for pair in pairs), reverse=True)
    drawn = np.array([line.get_xdata() for line in axes.lines if line.get_marker() == "o"])
    assert np.abs(drawn[:, 0]) == pytest.approx(largest[:3])
