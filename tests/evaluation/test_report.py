import json
import random
import re
import time
from dataclasses import replace

import pytest

from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.classification import format_class_report, make_class_report
from seq2seq_asr.evaluation.report import Scored, format_report, make_report, report_json


def simulated(utterances=60, speakers=12, seed=0):
    draw = random.Random(seed)
    words = "the quick brown fox jumps over a lazy dog".split()
    scored = []
    for i in range(utterances):
        reference = draw.choices(words, k=draw.randint(3, 20))
        hypothesis = [draw.choice(words) if draw.random() < 0.1 else word for word in reference]
        speaker = f"s{i % speakers}" if speakers else None
        scored.append(
            Scored(id=f"u{i:03}", reference=" ".join(reference), hypothesis=" ".join(hypothesis), speaker=speaker)
        )
    return scored


def test_totals_are_those_of_substituted_words():
    scored = simulated()
    report = make_report(scored)
    pairs = [list(zip(item.reference.split(), item.hypothesis.split(), strict=True)) for item in scored]
    wrong = [sum(ref != hyp for ref, hyp in pair) for pair in pairs]
    # Replaced words are the only errors made here; a shift can only explain them with fewer edits.
    assert 0.9 * sum(wrong) <= report.words.errors <= sum(wrong)
    assert report.words.reference_length == sum(map(len, pairs))
    assert report.sentence_error_rate == sum(map(bool, wrong)) / len(scored)
    assert report.interval.low < report.words.rate < report.interval.high
    assert report.character_interval.low < report.characters.rate < report.character_interval.high


def test_the_worst_utterances_have_the_most_errors():
    report = make_report(simulated())
    kept = [item.words.errors for item in report.worst]
    everyone = sorted((make_report([item]).words.errors for item in simulated()), reverse=True)
    assert kept == everyone[:5]


def test_the_text_tells_every_figure():
    report = make_report(simulated(), real_time_factor=0.01234)
    text = format_report(report)
    for name, counts in (("WER", report.words), ("CER", report.characters)):
        row = next(line for line in text.splitlines() if line.startswith(name))
        assert f"{100 * counts.rate:.2f} %" in row
        numbers = (counts.errors, counts.substitutions, counts.deletions, counts.insertions, counts.reference_length)
        assert [int(n) for n in re.findall(r"\d+", row.replace(",", "").split("%")[-1])] == list(numbers)
    assert f"{100 * report.interval.low:.2f} – {100 * report.interval.high:.2f} %" in text
    assert "bootstrap over 12 speakers" in text
    assert "0.0123" in text
    assert all(item.scored.id in text for item in report.worst)
    assert text.count("REF  ") >= 5
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_without_speakers_the_text_says_that_utterances_were_resampled():
    assert "bootstrap over 60 utterances" in format_report(make_report(simulated(speakers=0)))


def test_the_interval_of_nothing_wrong_is_no_single_point():
    perfect = [Scored(id=str(i), reference="a b", hypothesis="a b") for i in range(300)]
    text = format_report(make_report(perfect))
    assert "0.00 – 0.99 %" in text and "rule of three over 300 utterances" in text and "bootstrap" not in text
    classes = format_class_report(make_class_report(perfect, ["a b"]))
    assert "99.01 – 100.00 %" in classes and "no errors: rule of three over 300 utterances" in classes
    wrong = format_class_report(make_class_report([replace(one, hypothesis="c") for one in perfect], ["a b", "c"]))
    assert "0.00 – 0.99 %" in wrong and "nothing right: rule of three over 300 utterances" in wrong


def test_an_interval_from_few_speakers_is_called_rough():
    assert "rough" in format_report(make_report(simulated(speakers=4)))
    assert "rough" not in format_report(make_report(simulated()))


@pytest.mark.parametrize(("reference", "hypothesis"), [("", ""), ("", "a b"), ("a b", ""), ("打开", ""), ("", "打开")])
@pytest.mark.parametrize("copies", [1, 3])
def test_empty_texts_are_reported(reference, hypothesis, copies):
    scored = [Scored(id=f"u{i}", reference=reference, hypothesis=hypothesis) for i in range(copies)]
    report = make_report(scored)
    wrong = reference != hypothesis
    assert report.sentence_error_rate == float(wrong)
    text = format_report(report)
    assert text.count("REF  ") == len(report.worst) == (copies if wrong else 0)
    assert "nan" not in text and "inf " not in text
    assert ("infinite" in text) == (wrong and not reference)
    json.dumps(report_json(report), allow_nan=False)


def test_a_perfect_test_set_has_no_worst_utterances():
    report = make_report([Scored(id=str(i), reference="a b", hypothesis="a b") for i in range(3)])
    assert report.worst == ()
    assert "Worst" not in format_report(report)


def test_nothing_to_score_is_an_error_of_the_user():
    with pytest.raises(UsageError, match="no utterances"):
        make_report([])


def test_json_agrees_with_the_report():
    report = make_report(simulated(), real_time_factor=0.5)
    values = json.loads(json.dumps(report_json(report), allow_nan=False))
    assert values["words"]["rate"] == report.words.rate
    assert values["words"]["interval"] == [report.interval.low, report.interval.high]
    parts = (values["characters"][name] for name in ("substitutions", "deletions", "insertions"))
    assert sum(parts) == values["characters"]["errors"]
    assert values["real_time_factor"] == 0.5
    assert [item["id"] for item in values["worst"]] == [item.scored.id for item in report.worst]


def test_control_characters_in_an_id_do_not_reach_the_terminal():
    report = make_report([Scored(id="u\x1b[2J", reference="a", hypothesis="b", speaker="s\r")])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", format_report(report))


def test_a_test_set_as_large_as_librispeechs_is_reported_in_seconds():
    scored = simulated(utterances=2600, speakers=40)
    begun = time.process_time()
    format_report(make_report(scored))
    assert time.process_time() - begun < 5
