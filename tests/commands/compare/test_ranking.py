"""Rankings out of invented errors, and what the report makes of them."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from seq2seq_asr.commands.compare.budget import Measured
from seq2seq_asr.commands.compare.charts import (
    Bar,
    Point,
    Scale,
    Series,
    forest_plot,
    legend,
    line_chart,
    round_ticks,
)
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run, System
from seq2seq_asr.commands.compare.probing import gradients_section, health_section
from seq2seq_asr.commands.compare.ranking import Ranking, rank
from seq2seq_asr.commands.compare.results import RunResult, ScoredSet, check_same_test
from seq2seq_asr.commands.compare.sections import curves_section, length_section, ranking_section
from seq2seq_asr.commands.compare.series import by_length, epochs, length_bins, minutes
from seq2seq_asr.commands.compare.series import curve as points_of
from seq2seq_asr.commands.compare.style import STYLE
from seq2seq_asr.commands.compare.tables import system_row
from seq2seq_asr.commands.compare.words import answer, method_words, verdict_words
from seq2seq_asr.config import FitConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.hierarchy import seeds_difference
from seq2seq_asr.evaluation.significance import holm, paired_permutation
from seq2seq_asr.training.criterion import WER

COUNT, WORDS = 60, 4


def scored(speakers: int = 0) -> ScoredSet:
    names = tuple(f"s{place % speakers}" if speakers else None for place in range(COUNT))
    ids = tuple(f"u{place}" for place in range(COUNT))
    references = tuple(" ".join("w" * (1 + place % WORDS)) for place in range(COUNT))
    lengths = np.array([1.0 + place % WORDS for place in range(COUNT)])
    return ScoredSet(ids=ids, references=references, speakers=names, criterion=WER, lengths=lengths)


def results(folder: Path, rates: dict[str, float], seeds: int | dict[str, int] = 3, speakers: int = 0) -> Ranking:
    """Systems named ``cell_kind`` whose words are wrong at these rates, independently."""
    draw, test = np.random.default_rng(0), scored(speakers)
    systems, found = [], {}
    for name, rate in rates.items():
        cell, kind = name.split("_")
        config = replace(FitConfig(), name=name, checkpoints=folder)
        systems.append(System(name=name, place={"encoder.cell": cell, "attention.kind": kind}, config=config))
        found[name] = [
            RunResult(
                run=Run(system=name, seed=seed, config=replace(config, name=f"{name}_seed{seed}")),
                test=test,
                errors=draw.binomial(test.lengths.astype(int), rate).astype(float),
                curve=curve(rate),
                cost={},
                real_time_factor=0.1,
            )
            for seed in range(seeds if isinstance(seeds, int) else seeds[name])
        ]
    return rank(systems, found)


def curve(rate: float) -> Sequence[dict[str, str]]:
    rows = []
    for epoch in range(4):
        row = {"epoch": str(epoch), "step": str(10 * epoch + 10), "seconds": "30", "train_loss": str(2 - rate)}
        if epoch % 2:
            row |= {"val_wer": str(rate + 0.1 / epoch), "val_loss": "1.5", "attention_diagonal": "0.4"}
        rows.append(row | {"clipped_share": "0.25"})
    return rows


def test_the_best_comes_first_and_what_is_far_off_is_significant(tmp_path: Path) -> None:
    ranking = results(tmp_path, {"elman_none": 0.7, "gru_location": 0.1, "lstm_location": 0.11})
    names = [one.system.name for one in ranking.standings]
    assert names[2] == "elman_none" and ranking.order == ("elman_none", "gru_location", "lstm_location")
    assert [one.verdict for one in ranking.standings] == ["best", "not significant", "significantly worse"]
    assert ranking.standings[0].rate <= ranking.standings[1].rate < ranking.standings[2].rate
    assert verdict_words(ranking.standings[2]) == "significantly worse (p < 0.001)"
    assert f"Not significantly worse is {names[1]}." in answer(ranking) and names[0] in answer(ranking)


def test_p_values_are_the_larger_of_both_corrected_for_all_pairs(tmp_path: Path) -> None:
    ranking = results(tmp_path, {"a_x": 0.2, "b_x": 0.22, "c_x": 0.3, "d_x": 0.6})
    raw = []
    for one, other in combinations(ranking.standings, 2):
        exchanged = paired_permutation(one.errors.mean(axis=0), other.errors.mean(axis=0))
        told = seeds_difference(one.errors, other.errors, ranking.test.lengths)
        raw.append(max(exchanged, told.p_value))
        if one is ranking.best:
            assert (other.permutation, other.difference) == (exchanged, told)
    assert [one.p_value for one in ranking.standings[1:]] == pytest.approx(holm(raw)[:3])
    for one in ranking.standings[1:]:
        assert (one.verdict == "significantly worse") == (one.p_value <= 0.05)


@pytest.mark.parametrize(("speakers", "seeds"), [(0, 3), (5, 2)])
def test_of_four_equal_systems_one_is_seldom_called_worse(speakers: int, seeds: int) -> None:
    draw, test, alarms, trials = np.random.default_rng(3), scored(speakers), 0, 20
    names = [speaker or "" for speaker in test.speakers]
    for _ in range(trials):
        systems, found = [], {}
        for place in range(4):
            config = replace(FitConfig(), name=f"s{place}")
            systems.append(System(name=f"s{place}", place={}, config=config))
            found[f"s{place}"] = [equal_run(systems[-1], seed, test, names, draw) for seed in range(seeds)]
        alarms += any(one.verdict == "significantly worse" for one in rank(systems, found).standings)
    assert alarms <= 4, "1 of 20 at the level of 5 %; 5 or more by chance in less than 1 % of all draws"


@pytest.mark.parametrize(("best", "worse"), [(1, 1), (3, 1), (1, 3)])
def test_one_seed_tells_nothing_of_significance(tmp_path: Path, best: int, worse: int) -> None:
    """Of equal systems, other seeds may lie as far apart."""
    ranking = results(tmp_path, {"a_x": 0.1, "b_x": 0.6}, {"a_x": best, "b_x": worse})
    (other,) = ranking.standings[1:]
    assert other.verdict == "unknown" and verdict_words(other) == "unknown" and other.p_value == 1
    assert "significantly worse cannot be told from so few seeds" in answer(ranking)
    measured = Measured(system=other.system, parameters=1, steps_an_epoch=1, audio_seconds=1.0, tokens=1, vocabulary=1)
    row = system_row(other, {"b_x": measured}, {})
    assert row["p_value"] == row["p_student"] == row["difference_high"] == "" and row["difference"] and row["steps"]
    page = ranking_section(ranking)
    assert page.count("unknown") == 2 and "inf" not in page, "interval of the difference and verdict"


def test_what_has_seeds_enough_is_judged_beside_what_has_not(tmp_path: Path) -> None:
    ranking = results(tmp_path, {"a_x": 0.1, "b_x": 0.6, "c_x": 0.7}, {"a_x": 3, "b_x": 3, "c_x": 1})
    assert [one.verdict for one in ranking.standings] == ["best", "significantly worse", "unknown"]
    assert answer(ranking).endswith("1 is significantly worse. From so few seeds it cannot be told of c_x.")
    said = " ".join(method_words(CompareConfig(configs=(Path("a.yaml"),)), ranking))
    for part in ("the mean over 1 to 3 seeds", "with one seed the interval is over", "Two or three seeds"):
        assert part in said


def equal_run(
    system: System, seed: int, test: ScoredSet, speakers: Sequence[str], draw: np.random.Generator
) -> RunResult:
    """A run as good as any other in the mean, but not on every speaker, nor with every seed."""
    liked = {name: draw.normal(0, 0.05) for name in sorted(set(speakers))}
    rates = np.clip(0.3 + 0.03 * draw.normal() + np.array([liked[name] for name in speakers]), 0, 1)
    errors = draw.binomial(test.lengths.astype(int), rates).astype(float)
    run = Run(system=system.name, seed=seed, config=system.config)
    return RunResult(run=run, test=test, errors=errors, curve=curve(0.3), cost={}, real_time_factor=0.1)


def test_speakers_are_exchanged_where_they_are_enough(tmp_path: Path) -> None:
    rates = {"a_x": 0.2, "b_x": 0.5, "c_x": 0.6}
    assert [one.unit for one in results(tmp_path, rates, speakers=12).standings[1:]] == ["speaker", "speaker"]
    few = results(tmp_path, rates, speakers=5)
    assert few.by_utterances == ["b_x", "c_x"] and few.best.interval.unit == "speaker"


def test_speakers_without_a_difference_do_not_count(tmp_path: Path) -> None:
    """All ten differ under c. Of the four that do under b, an exchange gives no p-value below 2 / 2^4."""
    test = scored(10)
    four, all_ = (np.array([float(int(str(who)[1:]) < last) for who in test.speakers]) for last in (4, 10))
    systems = [System(name=name, place={}, config=replace(FitConfig(), name=name)) for name in ("a", "b", "c")]
    found = {
        one.name: [
            RunResult(
                run=Run(system=one.name, seed=seed, config=one.config),
                test=test,
                errors=errors,
                curve=[],
                cost={},
                real_time_factor=None,
            )
            for seed in (1, 2)
        ]
        for one, errors in zip(systems, (0 * four, four, all_), strict=True)
    }
    ranking = rank(systems, found)
    assert [(one.system.name, one.unit) for one in ranking.standings[1:]] == [("b", "utterance"), ("c", "speaker")]
    assert ranking.standings[1].permutation < 0.001 and ranking.by_utterances == ["b"]
    said = " ".join(method_words(CompareConfig(configs=(Path("a.yaml"),)), ranking))
    assert "speaker by speaker (paired permutation, 10 speakers" in said
    assert "Of 10 speakers too few have other errors under b than under the best" in said
    (alone,) = rank(systems[:2], found).standings[1:]
    assert alone.unit == "utterance"


def test_without_an_error_the_interval_is_no_point(tmp_path: Path) -> None:
    ranking = results(tmp_path, {"a_x": 0.0, "b_x": 0.3})
    assert ranking.best.interval.high == pytest.approx(1 - 0.05 ** (1 / COUNT))
    assert "0.0 % WER (95 % interval 0.0 – 4.9 %" in answer(ranking)
    assert "rule of three over utterances" in " ".join(method_words(CompareConfig(configs=(Path("a.yaml"),)), ranking))


def test_one_run_alone_is_the_best(tmp_path: Path) -> None:
    ranking = results(tmp_path, {"a_x": 0.2}, seeds=1)
    assert ranking.best.spread == 0 and "There is no other" in answer(ranking)


def test_runs_on_other_utterances_are_refused(tmp_path: Path) -> None:
    runs = [run for one in results(tmp_path, {"a_x": 0.2, "b_x": 0.2}).standings for run in one.runs]
    check_same_test(runs)
    other = replace(runs[1], test=replace(runs[1].test, references=("other", *runs[1].test.references[1:])))
    with pytest.raises(UsageError, match="scored on other utterances"):
        check_same_test([runs[0], other])


def test_error_rates_by_length_add_up(tmp_path: Path) -> None:
    one = results(tmp_path, {"a_x": 0.4}).best
    lengths = one.runs[0].test.lengths
    bins = length_bins(lengths)
    assert bins == [(1, 1), (2, 2), (3, 3), (4, 4)]
    words = [float(lengths[lengths == low].sum()) for low, _ in bins]
    points = by_length(one, bins)
    assert sum(p.y * w for p, w in zip(points, words, strict=True)) / sum(words) == pytest.approx(100 * one.rate)
    many = length_bins(np.random.default_rng(0).integers(1, 60, size=500).astype(float))
    assert many[0][0] == 1 and many[-1][1] == 59 and len(many) == 6
    assert all(after == before + 1 for (_, before), (after, _) in zip(many, many[1:], strict=False))


def test_a_curve_ends_where_a_run_ends(tmp_path: Path) -> None:
    one = results(tmp_path, {"a_x": 0.4}).best
    shorter = replace(one, runs=(one.runs[0], replace(one.runs[1], curve=one.runs[1].curve[:3])))
    assert [point.x for point in points_of(one, "train_loss", epochs)] == [1, 2, 3, 4]
    assert [point.x for point in points_of(shorter, "train_loss", epochs)] == [1, 2, 3]
    assert [point.x for point in points_of(one, "val_loss", minutes)] == [1, 2], "thirty seconds an epoch"


def drawings(page: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(f"<div>{page}</div>").iter("svg"))


def test_sections_are_well_formed_and_have_a_panel_a_kind(tmp_path: Path) -> None:
    ranking = results(tmp_path, {"elman_none": 0.7, "elman_location": 0.5, "gru_none": 0.2, "gru_location": 0.1})
    assert len(drawings(curves_section(ranking))) == 2 * 5
    assert len(drawings(length_section(ranking))) == 2
    assert len(drawings(health_section(ranking))) == 2
    (line, *_) = [one for one in drawings(curves_section(ranking))[0].iter("polyline")]
    assert len(str(line.get("points")).split()) == 2, "validated in every second epoch"


def test_gradients_are_shown_where_they_were_probed(tmp_path: Path) -> None:
    ranking = results(tmp_path, {"elman_none": 0.7, "gru_none": 0.2}, seeds=2)
    assert gradients_section(ranking, "last") == ""
    for one in ranking.standings:
        for run in one.runs:
            (run.run.path / "gradients").mkdir(parents=True)
            for weights in ("init", "trained"):
                layer = {
                    "name": "encoder 1",
                    "seconds_per_step": 0.02,
                    "distance": [0, 1, 2],
                    "norm": [1.0, 0.05, 0.004],
                    "steps_to_10_percent": 1,
                    "steps_to_1_percent": 2,
                    "gates": {"update": {"saturated": 0.5}},
                    "spectral_radius": {"update": 0.9, "candidate": 1.1},
                }
                path = run.run.path / "gradients" / f"gradients_{weights}.json"
                told = {"checkpoint": None if weights == "init" else "last.ckpt"}
                path.write_text(json.dumps(told | {"layers": [layer, layer | {"name": "encoder 2"}]}))
    page = gradients_section(ranking, "last")
    assert len(drawings(page)) == 2 and "encoder 2" not in page
    cells = [cell.text for cell in ElementTree.fromstring(f"<div>{page}</div>").iter("td")]
    assert cells[1:7] == ["0.02", "0.04", "1.1", "1.1", "50", "25"]
    of_others = gradients_section(ranking, "best")
    assert "at initialisation" in of_others and "after training" not in of_others


def test_as_many_lines_as_there_are_attentions_can_be_told_apart() -> None:
    names = [f"kind {place}" for place in range(24)]
    looks = re.findall(r'class="swatch (c\d d\d)"', legend(names))
    assert len(set(looks)) == len(looks) == len(names)
    points = [Point(0.0, 1.0, 1.0, 1.0), Point(1.0, 2.0, 2.0, 2.0)]
    lines = [Series(name=name, place=place, points=points) for place, name in enumerate(names)]
    (drawing,) = ElementTree.fromstring(f"<div>{line_chart('all', lines, 'epochs', 'WER %')}</div>").iter("svg")
    assert [one.get("class") for one in drawing.iter("polyline")] == [f"line {look}" for look in looks]
    for rule in {part for look in looks for part in look.split()} - {"d0"}:
        assert f".line.{rule} {{" in STYLE and f".swatch.{rule}" in STYLE


def test_scales_and_ticks() -> None:
    assert round_ticks(0.0, 100.0) == [0, 20, 40, 60, 80, 100] and round_ticks(0.0, 0.7) == [0, 0.2, 0.4, 0.6]
    assert round_ticks(3.0, 3.0) == [3.0]
    scale = Scale(low=0.01, high=100.0, start=0.0, end=4.0, logarithmic=True)
    assert [scale(value) for value in (0.01, 1.0, 100.0, 1e9, 0.0)] == [0, 2, 4, 4, 0]
    assert scale.ticks() == pytest.approx([0.01, 0.1, 1, 10, 100])
    bars = [Bar(name="a<b", value=3.0, low=1.0, high=float("inf"), seeds=(2.0, 4.0), faded=False)]
    (drawing,) = drawings(forest_plot(bars, "WER (%)", link="system-"))
    assert len([one for one in drawing.iter("line") if one.get("class") == "seed"]) == 2
    assert not [one for one in drawing.iter("line") if one.get("class") == "whisker"], "its interval is unknown"
