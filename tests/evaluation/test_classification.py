"""Figures of a classifier against counts made by hand and by loops."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.classification import class_report_json, format_class_report, make_class_report
from seq2seq_asr.evaluation.intervals import bootstrap_interval
from seq2seq_asr.evaluation.report import Scored

NAMES = ("a", "b", "c", "d")


def scored(pairs, speakers=()):
    named = list(speakers) or [None] * len(pairs)
    return [
        Scored(id=f"u{place}", reference=reference, hypothesis=hypothesis, speaker=speaker)
        for place, ((reference, hypothesis), speaker) in enumerate(zip(pairs, named, strict=True))
    ]


def test_by_hand():
    # True a a a b b c, said a a b b c c: d does not occur.
    pairs = [*zip("aaabbc", "aabbcc", strict=True)]
    report = make_class_report(scored(pairs, ["s1", "s1", "s2", "s2", "s2", "s1"]), NAMES)
    assert report.right == 4 and report.accuracy == 4 / 6
    # F1: a 2·2/(3+2), b 2·1/(2+2), c 2·1/(1+2)
    assert report.macro_f1 == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)
    a, b, c, d = report.classes
    assert (a.recall, a.precision, b.recall, b.precision) == (2 / 3, 1.0, 1 / 2, 1 / 2)
    assert (c.recall, c.precision, d.recall, d.precision, d.f1) == (1.0, 1 / 2, None, None, 0)
    assert report.matrix.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert [(one.name, one.utterances, one.right) for one in report.speakers] == [("s1", 3, 3), ("s2", 3, 1)]
    found = [(one.speaker, one.reference, one.hypothesis, one.count) for one in report.confusions]
    assert found == [("s2", "a", "b", 1), ("s2", "b", "c", 1)]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=30))
def test_against_counts_by_loops(pairs):
    report = make_class_report(scored(pairs), NAMES)
    assert report.accuracy == pytest.approx(sum(r == h for r, h in pairs) / len(pairs))
    scores = []
    for name in NAMES:
        hits = sum(r == h == name for r, h in pairs)
        misses = sum(r == name != h for r, h in pairs)
        false = sum(h == name != r for r, h in pairs)
        if hits + misses + false:
            precision = hits / (hits + false) if hits + false else 0.0
            recall = hits / (hits + misses) if hits + misses else 0.0
            scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    assert report.macro_f1 == pytest.approx(sum(scores) / len(scores))
    for i, true in enumerate(NAMES):
        for j, said in enumerate(NAMES):
            assert report.matrix[i, j] == sum((r, h) == (true, said) for r, h in pairs)
    assert sum(one.count for one in report.confusions) == sum(r != h for r, h in pairs)
    assert [one.count for one in report.confusions] == sorted((one.count for one in report.confusions), reverse=True)


def test_the_interval_resamples_speakers():
    draw = np.random.default_rng(0)
    speakers = [f"s{i % 6}" for i in range(120)]
    hard = {"s0", "s1"}
    pairs = [("a", "b" if draw.random() < (0.8 if who in hard else 0.1) else "a") for who in speakers]
    report = make_class_report(scored(pairs, speakers), NAMES, seed=3)
    wrong = np.array([float(r != h) for r, h in pairs])
    errors = bootstrap_interval(wrong, np.ones(120), speakers, seed=3)
    assert (report.interval.unit, report.interval.units) == ("speaker", 6)
    assert report.interval.low == pytest.approx(1 - errors.high) and report.interval.high == pytest.approx(
        1 - errors.low
    )
    assert report.interval.low < report.accuracy < report.interval.high
    alone = make_class_report(scored(pairs), NAMES, seed=3).interval
    assert alone.unit == "utterance"
    assert alone.high - alone.low < 0.7 * (report.interval.high - report.interval.low), "speakers err together"


def test_one_utterance_has_no_interval_and_strict_json_all_the_same():
    report = make_class_report(scored([("a", "a")]), NAMES, real_time_factor=0.25)
    values = json.loads(json.dumps(class_report_json(report), allow_nan=False))
    assert not report.interval.known and values["accuracy"] == {"rate": 1.0, "interval": None, "right": 1}
    assert values["macro_f1"] == 1.0 and values["real_time_factor"] == 0.25
    text = format_class_report(report)
    assert "100.00 %" in text and "not estimated" in text and "Speaker" not in text and "confusions" not in text


def test_a_confusion_of_many_speakers_is_read_before_those_of_one():
    """Ten confusions that one speaker has twice each, and one that 25 speakers have once each."""
    names = [f"c{i}" for i in range(12)]
    pairs = [*[(names[i], names[i + 1]) for i in range(10)] * 2, *[("c11", "c0")] * 25]
    report = make_class_report(scored(pairs, [*["s0"] * 20, *[f"s{i}" for i in range(1, 26)]]), names)
    _, listed = format_class_report(report).split("Most frequent confusions\n")
    assert listed.splitlines()[0].split() == ["25", "×", "c11", "taken", "for", "c0"] and listed.count("\n") == 10
    assert len(report.confusions) == 35, "each speaker's stay apart in confusions.csv"


def test_what_a_person_reads():
    pairs = [*zip("aaabbc", "aabbcc", strict=True)]
    text = format_class_report(make_class_report(scored(pairs, ["s1", "s1", "s2", "s2", "s2", "s1"]), NAMES))
    assert "Accuracy     66.67 %" in text and "4        6 utterances" in text and "Macro F1     65.56 %" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert rows["s2"][1:4] == ["3", "1", "33.33"]
    assert rows["d"][1:] == ["0", "0", "–", "–", "0.00", "%"]
    assert "1 × a taken for b" in text


def test_wide_names_and_control_characters_keep_the_columns():
    names = ("数字", "b\x1b[31m")
    text = format_class_report(make_class_report(scored([(names[0], names[1]), (names[1], names[1])]), names))
    assert "\x1b" not in text
    heading, first, second = text.splitlines()[text.splitlines().index("") + 4 :][:3]
    assert heading.startswith("Class") and len(second) == len(heading)
    assert len(first) == len(heading) - 2, "two characters take four columns"


def test_nothing_to_score():
    with pytest.raises(UsageError, match="no utterances"):
        make_class_report([], NAMES)
    assert math.isfinite(make_class_report(scored([("a", "b")]), NAMES).macro_f1)
