"""Intervals over seeds and units: they cover the truth, and see the spread that either alone misses."""

import math

import numpy as np
import pytest

from seq2seq_asr.evaluation.hierarchy import seeds_difference, seeds_interval
from seq2seq_asr.evaluation.intervals import bootstrap_interval


def drawn(draw: np.random.Generator, runs: int, units: int, seeds: float, noise: float) -> np.ndarray:
    """Errors around 50 a unit: a run is off by ``seeds`` on all units, every utterance by ``noise``."""
    return 50 + draw.normal(0, seeds, size=(runs, 1)) + draw.normal(0, noise, size=(runs, units))


@pytest.mark.parametrize(("seeds", "noise"), [(5.0, 1.0), (1.0, 15.0), (3.0, 15.0)])
def test_the_interval_covers_the_truth(seeds: float, noise: float) -> None:
    draw, lengths, hits = np.random.default_rng(1), np.full(40, 100.0), 0
    for _ in range(200):
        interval = seeds_interval(drawn(draw, 8, 40, seeds, noise), lengths)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.87 <= hits / 200 <= 1.0, "eight runs: about the 95 % that are claimed"


def test_an_interval_over_units_alone_misses_the_spread_over_seeds() -> None:
    errors, lengths = drawn(np.random.default_rng(2), 6, 200, 6.0, 1.0), np.full(200, 100.0)
    alone = bootstrap_interval(errors.mean(axis=0), lengths)
    both = seeds_interval(errors, lengths)
    assert both.high - both.low > 5 * (alone.high - alone.low)


def test_of_four_seeds_or_units_three_are_drawn() -> None:
    """That three of three are the bad one happens in 1.6 %, that two are in 14 %; that three of four are in 4.7 %."""
    errors = np.array([[40.0], [40.0], [40.0], [60.0]])
    for table in (np.repeat(errors, 50, axis=1), errors.T):
        told = seeds_interval(table, np.full(table.shape[1], 100.0))
        assert (told.low, told.high) == pytest.approx((0.4, (40 + 2 * 60) / 300))


def test_a_difference_is_that_of_welch_over_seeds_and_of_students_pairs_over_units() -> None:
    """By hand, with quantiles from tables of Student's t."""
    lengths = np.full(4, 100.0)
    first, second = np.repeat([[10.0], [14.0]], 4, axis=1), np.repeat([[17.0], [20.0], [23.0]], 4, axis=1)
    told = seeds_difference(first, second, lengths)
    deviation = math.sqrt(0.0008 / 2 + 0.0009 / 3)
    degrees = 0.0007**2 / (0.0004**2 / 1 + 0.0003**2 / 2)
    assert told.difference == pytest.approx(0.08) and degrees == pytest.approx(2.39, abs=0.01)
    assert told.interval.high - told.difference == pytest.approx(deviation * 3.69, rel=0.01)
    paired = seeds_difference(np.zeros((1, 3)), np.array([[1.0, 2.0, 3.0]]), np.full(3, 10.0))
    assert paired.difference == pytest.approx(0.2)
    assert paired.p_value == pytest.approx(0.0742, abs=0.0001), "t = 2 / (1 / sqrt 3) = 3.464 with 2 degrees of freedom"
    assert paired.interval.high - 0.2 == pytest.approx(0.1 * 4.303 / math.sqrt(3), rel=1e-3)


def test_one_run_is_an_ordinary_interval_but_for_one_unit() -> None:
    draw = np.random.default_rng(5)
    errors, lengths = draw.poisson(3, size=400).astype(float), np.full(400, 10.0)
    ours, plain = seeds_interval(errors[None], lengths), bootstrap_interval(errors, lengths)
    assert ours.low == pytest.approx(plain.low, abs=0.01) and ours.high == pytest.approx(plain.high, abs=0.01)


@pytest.mark.parametrize("speakers", [None, [f"s{place % 5}" for place in range(40)]])
def test_without_a_spread_something_may_still_go_wrong_or_right(speakers: list[str] | None) -> None:
    """The same bounds as of a single run, however many there are; a word error rate has no upper bound."""
    labels, none, units = np.ones(40), np.zeros((3, 40)), 5 if speakers else 40
    right = seeds_interval(none, labels, speakers)
    assert right == bootstrap_interval(none[0], labels, speakers) and (right.low, right.alike) == (0, "right")
    assert (1 - right.high) ** units == pytest.approx(0.05), "in one of twenty sets nothing would be seen of so many"
    wrong = seeds_interval(none + 1, labels, speakers, share=True)
    assert wrong == bootstrap_interval(labels, labels, speakers, share=True) and wrong.alike == "wrong"
    assert (wrong.low, wrong.high) == (1 - right.high, 1.0)
    words = seeds_interval(none + 1, labels, speakers)
    assert (words.low, words.high, words.alike) == (1, 1, "")


def test_speakers_are_drawn_whole() -> None:
    draw = np.random.default_rng(6)
    errors = np.repeat(draw.normal(50, 20, size=8), 20)[None] + draw.normal(0, 1, size=(2, 160))
    speakers = [f"s{place // 20}" for place in range(160)]
    alone = seeds_interval(errors, np.full(160, 100.0))
    whole = seeds_interval(errors, np.full(160, 100.0), speakers)
    assert (whole.unit, whole.units) == ("speaker", 8)
    assert whole.high - whole.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("speakers", [2, 5, 40])
def test_false_alarms_between_equal_systems_are_as_rare_as_said(runs: int, speakers: int) -> None:
    draw, alarms, trials = np.random.default_rng(7), 0, 500
    names = [f"s{place % speakers}" for place in range(80)]
    lengths = np.full(80, 100.0)
    for _ in range(trials):
        hard = np.tile(draw.normal(0, 20, size=speakers), 80)[:80]
        moved = [np.tile(draw.normal(0, 5, size=speakers), 80)[:80] for _ in range(2)]
        first, second = (drawn(draw, runs, 80, 3.0 * (runs > 1), 5.0) + hard + own for own in moved)
        alarms += seeds_difference(first, second, lengths, names).p_value <= 0.05
    # Welch's degrees of freedom are known to be too many where one of the parts has a single one.
    assert alarms / trials <= (0.13 if speakers == 2 else 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials))


def test_pairing_removes_what_both_find_hard() -> None:
    draw = np.random.default_rng(8)
    hard = draw.normal(0, 30, size=60)
    first = drawn(draw, 3, 60, 0.1, 1.0) + hard
    told = seeds_difference(first, first + 2, np.full(60, 100.0))
    assert told.difference == pytest.approx(0.02) and 0 < told.interval.low and told.p_value < 0.01
    back = seeds_difference(first + 2, first, np.full(60, 100.0))
    assert back.difference == -told.difference and back.p_value < 0.01


def test_every_draw_is_held_against_its_own_reference() -> None:
    lengths = np.arange(1.0, 31.0)
    interval = seeds_interval(np.stack([0.3 * lengths, 0.3 * lengths]), lengths)
    assert (interval.low, interval.high) == pytest.approx((0.3, 0.3))


def test_what_cannot_be_told() -> None:
    one = seeds_interval(np.ones((2, 1)), np.ones(1))
    assert (one.low, one.high, one.known) == (0.0, math.inf, False)
    assert seeds_difference(np.ones((2, 1)), np.zeros((2, 1)), np.ones(1)).p_value == 1.0
    same = seeds_difference(np.ones((1, 3)), np.full((1, 3), 2.0), np.full(3, 10.0))
    assert same.difference == pytest.approx(0.1) and same.p_value == 1.0
    assert (same.interval.low, same.interval.high) == (-math.inf, math.inf), "three are no proof that all are alike"
    with pytest.raises(ValueError, match="nothing to compare"):
        seeds_difference(np.ones((2, 3)), np.zeros((2, 3)), np.zeros(3))


def twins(draw: np.random.Generator, better: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two systems, a run each, that share what is hard; the second is spared a share ``better`` of its errors."""
    lengths = draw.integers(5, 30, size=200)
    rates = draw.beta(1, 9, size=200)
    return draw.binomial(lengths, rates)[None], draw.binomial(lengths, rates * (1 - better))[None], lengths


def test_a_better_system_is_recognised_though_the_single_intervals_overlap() -> None:
    first, second, lengths = twins(np.random.default_rng(12), better=0.2)
    told = seeds_difference(first, second, lengths)
    assert told.p_value < 0.05
    assert told.interval.low < told.difference < told.interval.high < 0
    assert told.difference == pytest.approx((second.sum() - first.sum()) / lengths.sum())
    assert bootstrap_interval(second[0], lengths).high > bootstrap_interval(first[0], lengths).low


def test_swapping_the_systems_turns_the_difference_around() -> None:
    first, second, lengths = twins(np.random.default_rng(13), better=0.1)
    forward, backward = seeds_difference(first, second, lengths), seeds_difference(second, first, lengths)
    assert forward.difference == -backward.difference and forward.p_value == pytest.approx(backward.p_value)
    assert forward.interval.low == pytest.approx(-backward.interval.high)


def test_a_system_does_not_differ_from_itself() -> None:
    errors, _, lengths = twins(np.random.default_rng(14))
    told = seeds_difference(errors, errors, lengths)
    assert (told.difference, told.p_value) == (0.0, 1.0)
    assert (told.interval.low, told.interval.high) == (0.0, 0.0)
