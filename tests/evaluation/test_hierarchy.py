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
    for trial in range(200):
        errors = drawn(draw, 8, 40, seeds, noise)
        interval = seeds_interval(errors, lengths, samples=300, seed=trial)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.87 <= hits / 200 <= 1.0, "eight runs: about the 95 % that are claimed"


def test_an_interval_over_units_alone_misses_the_spread_over_seeds() -> None:
    errors, lengths = drawn(np.random.default_rng(2), 6, 200, 6.0, 1.0), np.full(200, 100.0)
    alone = bootstrap_interval(errors.mean(axis=0), lengths)
    both = seeds_interval(errors, lengths)
    assert both.high - both.low > 5 * (alone.high - alone.low)


def test_of_three_seeds_two_are_drawn() -> None:
    """Three of the nine draws of two have a mean of 44 or less; of the 27 of three it is four (Rao & Wu 1988)."""
    errors = np.repeat(np.array([[40.0], [47.0], [60.0]]), 50, axis=1)
    told = seeds_difference(np.full((1, 50), 44.0), errors, np.full(50, 100.0))
    assert told.p_value == pytest.approx(2 * 3 / 9, abs=0.06)
    assert (told.interval.low, told.interval.high) == pytest.approx((-0.04, 0.16))


def test_one_run_is_an_ordinary_interval_but_for_one_unit() -> None:
    draw = np.random.default_rng(5)
    errors, lengths = draw.poisson(3, size=400).astype(float), np.full(400, 10.0)
    ours, plain = seeds_interval(errors[None], lengths), bootstrap_interval(errors, lengths)
    assert ours.low == pytest.approx(plain.low, abs=0.01) and ours.high == pytest.approx(plain.high, abs=0.01)


def test_speakers_are_drawn_whole() -> None:
    draw = np.random.default_rng(6)
    errors = np.repeat(draw.normal(50, 20, size=8), 20)[None] + draw.normal(0, 1, size=(2, 160))
    speakers = [f"s{place // 20}" for place in range(160)]
    alone = seeds_interval(errors, np.full(160, 100.0))
    whole = seeds_interval(errors, np.full(160, 100.0), speakers)
    assert (whole.unit, whole.units) == ("speaker", 8)
    assert whole.high - whole.low > 2 * (alone.high - alone.low)


def test_false_alarms_between_equal_systems_are_rare() -> None:
    draw, lengths, alarms = np.random.default_rng(7), np.full(40, 100.0), 0
    for trial in range(200):
        hard = draw.normal(0, 20, size=40)
        first, second = (drawn(draw, 5, 40, 3.0, 5.0) + hard for _ in range(2))
        alarms += seeds_difference(first, second, lengths, samples=300, seed=trial).p_value <= 0.05
    assert alarms / 200 <= 0.12


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
    with pytest.raises(ValueError, match="nothing to compare"):
        seeds_difference(np.ones((2, 3)), np.zeros((2, 3)), np.zeros(3))
