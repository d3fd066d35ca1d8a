"""Decodings compared: what is said of planted differences, and what is refused."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq_asr.commands.significance import plots
from seq2seq_asr.commands.significance.pairs import compare_pairs
from seq2seq_asr.commands.significance.printing import table
from seq2seq_asr.commands.significance.reading import names_of, read_decoding, same_utterances
from seq2seq_asr.commands.significance.systems import System, score_systems
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.evaluation.hierarchy import seeds_difference
from seq2seq_asr.evaluation.intervals import Interval, bootstrap_interval
from seq2seq_asr.evaluation.layout import display_width
from seq2seq_asr.evaluation.report import make_report
from seq2seq_asr.evaluation.significance import holm, paired_permutation, smallest_corrected
from seq2seq_asr.evaluation.trn import TrnLine, write_trn
from seq2seq_asr.evaluation.wer import ErrorCounts, character_errors, word_errors
from seq2seq_asr.significance import main
from seq2seq_asr.training import plots as training_plots

WORDS = "low mid high top".split()


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture) -> Callable[..., Result]:
    def run(*argv: object) -> Result:
        try:
            code = exit_code_of(main, [str(one) for one in argv])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the figure, which takes longer than all else."""
    monkeypatch.setattr(training_plots, "save_figure", lambda *_: None)


def decode(
    folder: Path, rate: float, *, speakers: int = 8, count: int = 80, seed: int = 0, share: Sequence[str] = WORDS
) -> Path:
    """A folder whose words are wrong at this rate; references are those of every such folder."""
    draw, wrong = np.random.default_rng(0), np.random.default_rng(seed + 1)
    references, hypotheses = [], []
    for place in range(count):
        words = [str(word) for word in draw.choice(list(share), size=1 + place % 5)]
        said = [word if wrong.random() >= rate else "other" for word in words]
        who = f"s_{place % speakers}" if speakers else None
        references.append(TrnLine(id=f"u-{place}", text=" ".join(words), speaker=who))
        hypotheses.append(TrnLine(id=f"u-{place}", text=" ".join(said), speaker=who))
    folder.mkdir(parents=True)
    write_trn(folder / "ref.trn", references)
    write_trn(folder / "hyp.trn", reversed(hypotheses))  # their order does not matter
    return folder


def without(folder: Path, *ids: str, skipped: int = 0) -> None:
    """Take utterances away, as though `decode` had skipped them."""
    for name in ("ref.trn", "hyp.trn"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if not line.endswith(tuple(f"-{i})\n" for i in ids))))
    (folder / "wer.json").write_text(json.dumps({"skipped": skipped}))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scored(folders: Sequence[Path], unit="words") -> list[System]:
    decodings = [read_decoding(folder) for folder in folders]
    return score_systems(decodings, same_utterances(decodings), unit, 0)


def system(errors: Sequence[int], speakers: Sequence[str | None], length: int = 10) -> System:
    counts = tuple(ErrorCounts(substitutions=one, reference_length=length) for one in errors)
    known = Interval(0.0, 1.0)
    return System(name="x", folder=Path("x"), speakers=tuple(speakers), counts=counts, wrong=0, interval=known)


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
        assert float(row["p_exchange_speakers"]) == exchanged.p_value and row["p_exchange_utterances"] == ""
        worse.append(max(student.p_value, exchanged.p_value))
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


errors = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("abcdefgh")), min_size=2, max_size=12)


@settings(max_examples=30)
@given(errors, st.booleans())
def test_swapping_the_systems_turns_the_difference_and_keeps_the_rest(found, known: bool) -> None:
    speakers = [who if known else None for _, _, who in found]
    first, second = (system([row[side] for row in found], speakers) for side in (0, 1))
    (forward,), (backward,) = compare_pairs([first, second]), compare_pairs([second, first])
    assert forward.student.difference == -backward.student.difference
    assert (forward.verdict, forward.reason) == (backward.verdict, backward.reason)
    for name in ("p_value", "over_speakers", "over_utterances"):
        assert getattr(forward, name) == pytest.approx(getattr(backward, name))


@settings(max_examples=30)
@given(errors, st.booleans())
def test_a_system_does_not_differ_from_itself(found, known: bool) -> None:
    one = system([row[0] for row in found], [who if known else None for _, _, who in found])
    (pair,) = compare_pairs([one, one])
    assert (pair.student.difference, pair.p_value, pair.verdict) == (0.0, 1.0, "not significant")


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=2, max_size=4), st.integers(1, 9))
def test_a_verdict_is_what_both_tests_say(found: list[list[int]], speakers: int) -> None:
    names = [f"s{place % speakers}" for place in range(9)]
    pairs = compare_pairs([system(one, names) for one in found])
    for pair in pairs:
        assert pair.p_value >= max(pair.student.p_value, pair.exchange)
        assert (pair.verdict == "significant") == (pair.p_value <= 0.05)
        assert (pair.reason != "") == (pair.verdict == "cannot be told")
        assert (pair.over_speakers is None) == (speakers == 1)
        who, first, second = np.array(names), pair.first.errors, pair.second.errors
        differing = sum(int(first[who == one].sum() != second[who == one].sum()) for one in set(names))
        enough = speakers > 1 and (differing == 0 or smallest_corrected(differing, len(pairs)) <= 0.05)
        assert (pair.over_utterances is None) == enough
        assert pair.verdict != "cannot be told" or not enough or not pair.student.interval.known


def test_five_speakers_cannot_tell(tmp_path: Path, call) -> None:
    """All the difference is one speaker's: utterances tell it, a test over speakers does not."""
    speakers = [f"s{place % 5}" for place in range(100)]
    first = system([0] * 100, speakers)
    (pair,) = compare_pairs([first, system([place % 5 == 0 for place in range(100)], speakers)])
    assert pair.over_utterances is not None and pair.over_utterances < 0.001
    assert pair.verdict == "cannot be told"
    assert pair.reason.startswith("utterances tell them apart, 5 speakers do not (t: p = 0.37")
    even = [1 + (place in (3, 6, 12)) for place in range(100)]
    assert compare_pairs([first, system(even, speakers)])[0].verdict == "significant", "all speakers agree: t tells"
    result = call(decode(tmp_path / "a", 0.1, speakers=5), decode(tmp_path / "b", 0.15, speakers=5, seed=1))
    assert (
        "Where those who differ are too few for an exchange of speakers to reach 0.05, utterances count." in result.out
    )
    assert result.out.count("exchange, ") == 2 and "bootstrap over 5 speakers" in result.out


def test_a_speaker_without_a_difference_does_not_help_to_exchange() -> None:
    """Six speakers of whom one is equal are five: utterances are exchanged, and all six are asked by t."""
    speakers = [f"s{place % 6}" for place in range(120)]
    errors = [int(place % 6 > 0 and place // 6 < 8 + place % 2) for place in range(120)]
    (pair,) = compare_pairs([system([0] * 120, speakers), system(errors, speakers)])
    assert pair.over_speakers == 0.0625 and pair.over_utterances is not None and pair.student.p_value < 0.01
    assert pair.verdict == "significant"


def test_equal_differences_everywhere_hide_their_spread() -> None:
    speakers = [f"s{place % 8}" for place in range(80)]
    (pair,) = compare_pairs([system([0] * 80, speakers), system([1] * 80, speakers)])
    assert pair.verdict == "cannot be told" and "8 speakers differ alike" in pair.reason
    (pair,) = compare_pairs([system([0], ["a"]), system([1], ["a"])])
    assert pair.verdict == "cannot be told" and "single utterance" in pair.reason
    (pair,) = compare_pairs([system([0, 0, 0], [None] * 3), system([1, 1, 2], [None] * 3)])
    assert pair.reason == "exchanging 3 utterances gives no p-value below 0.25"


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


def test_files_of_another_toolkit_are_read(tmp_path: Path, call) -> None:
    """As sclite takes them: names without our quoting, without speakers, in another order."""
    ours = decode(tmp_path / "ours", 0.1, speakers=2, count=10)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("ref.trn", "hyp.trn"):
        lines = [re.sub(r"\(.*?-(.*)\)", r"\t(\1)", line) for line in (ours / name).read_text().splitlines()]
        text = "\n".join([";; by another toolkit", *reversed(lines)]) + "\n\n"
        (theirs / name).write_text(text.replace("(u-", "(unknown-u-"), encoding="utf-8-sig")
    result = call(ours, theirs)
    assert result.code == 0 and "10 utterances of 2 speakers" in result.out, "named by one is enough"
    assert re.search(r"theirs – ours +\+0.00 .* not significant$", result.out, re.MULTILINE)
    for folder in (ours, theirs):  # different speakers may have the same ids
        (folder / "ref.trn").write_text("low mid (s1-1)\nhigh (s2-1)\n")
        (folder / "hyp.trn").write_text("high (s2-1)\nlow (s1-1)\n")
    assert "2 utterances of 2 speakers, 3 words" in call(ours, theirs).out


def test_common_compares_what_all_have(tmp_path: Path, call, draw_nothing) -> None:
    a, b = decode(tmp_path / "a", 0.1), decode(tmp_path / "b", 0.3, seed=1)
    without(b, "u-3", "u-7", skipped=2)
    for folders in ((a, b), (b, a)):
        result = call(*folders)
        assert (result.code, result.out) == (2, "")
        expected = f"{b}: has no utterance 'u-3', which {a} has; 2 were skipped in decoding (--common"
        assert expected in result.err and result.err.count("\n") == 1
    result = call(a, b, "--common", "--out", tmp_path / "out")
    assert result.code == 0 and "78 utterances of 8 speakers" in result.out
    assert f"{a}: 2 utterances left out, not all folders have them" in result.out
    assert f"{b}: 2 utterances skipped in decoding, not compared" in result.out
    without(a, "u-3", "u-7")
    assert call(a, b, "--out", tmp_path / "same").code == 0, "both lack them"
    assert rows(tmp_path / "same/pairs.csv") == rows(tmp_path / "out/pairs.csv")
    without(a, *(f"u-{place}" for place in range(40)))
    without(b, *(f"u-{place}" for place in range(40, 80)))
    result = call(a, b, "--common")
    assert result.code == 2 and "no utterance that all" in result.err


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


def damaged(name: str, content: str) -> Callable[[Path, Path], object]:
    return lambda _, b: (b / name).write_text(content)


def another_reference(_: Path, b: Path) -> None:
    (b / "ref.trn").write_text((b / "ref.trn").read_text().replace("low", "Low", 1))


def another_speaker(_: Path, b: Path) -> None:
    for name in ("ref.trn", "hyp.trn"):
        (b / name).write_text((b / name).read_text().replace("s%5F2", "else"))


def empty_references(a: Path, b: Path) -> None:
    for folder in (a, b):
        (folder / "ref.trn").write_text("(s-1)\n(s-2)\n")
        shutil.copy(folder / "ref.trn", folder / "hyp.trn")


ERRORS: list[tuple[Callable[[Path, Path], object], int, str]] = [
    (lambda _, b: shutil.rmtree(b), 1, "b: no such folder"),
    (lambda _, b: (b / "ref.trn").unlink(), 1, "b: has no ref.trn"),
    (lambda _, b: (b / "hyp.trn").unlink(), 1, "b: has no hyp.trn"),
    (damaged("ref.trn", ""), 1, "b/ref.trn: no utterances"),
    (damaged("hyp.trn", "low (s-1)\nno name\n"), 1, "b/hyp.trn:2: expected 'words (speaker-id)'"),
    (damaged("hyp.trn", "low (s-1)\n"), 1, "b/hyp.trn: has no utterance 'u-0'"),
    (damaged("ref.trn", "low (s%5F0-u-0)\n"), 1, "b/ref.trn: has no utterance 'u-79'"),
    (damaged("wer.json", "{"), 1, "b/wer.json: damaged"),
    (damaged("wer.json", "[]"), 1, "b/wer.json: damaged"),
    (damaged("wer.json", "[" * 100_000), 1, "b/wer.json: damaged"),
    (damaged("wer.json", '{"skipped": 1e999}'), 1, "b/wer.json: damaged"),
    (damaged("wer.json", '{"skipped": -1}'), 1, "b/wer.json: damaged"),
    (another_reference, 2, "b: the reference of utterance 'u-"),
    (another_speaker, 2, "b: utterance 'u-2' is of speaker 'else', elsewhere of 's_2'"),
    (empty_references, 2, "a: nothing to compare, every reference is empty"),
]


@pytest.mark.parametrize(("damage", "code", "why"), ERRORS, ids=[why for _, _, why in ERRORS])
def test_folders_that_cannot_be_compared(tmp_path: Path, damage, code: int, why: str, call) -> None:
    a, b = decode(tmp_path / "a", 0.1), decode(tmp_path / "b", 0.3, seed=1)
    damage(a, b)
    result = call(a, b, "--out", tmp_path / "out")
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert result.err.startswith(f"error: {tmp_path}/{why}") and not (tmp_path / "out").exists()


def test_flags_that_cannot_be_used(tmp_path: Path, call) -> None:
    a, b = decode(tmp_path / "a", 0.1), decode(tmp_path / "b", 0.1)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for flags, code, why in (
        ([], 2, "give two or more"),
        ([a], 2, "give two or more"),
        ([a, b, tmp_path / "b" / ".." / "a"], 2, "given twice"),
        ([a, b, "--seed", -1], 2, "seed: "),
        ([a, *(tmp_path / str(place) for place in range(40))], 2, "at most 40"),
        ([a, tmp_path / "loop"], 1, "loop: cannot be read"),
        ([a, tmp_path / ("x" * 300)], 1, "cannot be read"),
        ([a, b, "--out", tmp_path / "file"], 1, "file: cannot be written"),
    ):
        result = call(*flags)
        assert (result.code, result.out, result.err.count("\n")) == (code, "", 1) and why in result.err
    assert call(a, b, "--by", "word").code == call(a, b, "--unit", "bytes").code == 2
    assert "sclite" in call("--help").out


def test_names_are_as_long_as_they_must_be() -> None:
    assert names_of([Path("/x/a"), Path("/y/b")]) == ["a", "b"]
    assert names_of([Path("/runs/a/decode"), Path("/runs/b/decode")]) == ["a", "b"]
    assert names_of([Path("/r/a/x"), Path("/r/a/y"), Path("/r/b/x")]) == ["a/x", "a/y", "b/x"]


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
