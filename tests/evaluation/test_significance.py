"""Permutation tests against exhaustive enumeration and their own promise; Holm's correction."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.evaluation import significance
from seq2seq_asr.evaluation.significance import (
    LEVEL,
    holm,
    paired_permutation,
    sign_flip,
    smallest_corrected,
    speakers_suffice,
)


def exhaustive(first: Sequence[int], second: Sequence[int], groups: Sequence[str]) -> float:
    """Exchange the errors of every subset of groups, and count how often the difference is as large."""
    names = sorted(set(groups))
    found = []
    for exchanged in itertools.product([False, True], repeat=len(names)):
        swap = dict(zip(names, exchanged, strict=True))
        pairs = [(b, a) if swap[g] else (a, b) for a, b, g in zip(first, second, groups, strict=True)]
        found.append(abs(sum(b - a for a, b in pairs)))
    return sum(one >= found[0] for one in found) / len(found)


pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from("abcd")), min_size=1, max_size=9)


@given(pairs)
def test_small_cases_are_enumerated(rows: list[tuple[int, int, str]]) -> None:
    first, second, groups = (list(column) for column in zip(*rows, strict=True))
    single = [str(place) for place in range(len(rows))]
    assert paired_permutation(np.array(first), np.array(second)) == exhaustive(first, second, single)
    tested = paired_permutation(np.array(first), np.array(second), groups)
    clustered = groups if len(set(groups)) > 1 else single
    assert tested == exhaustive(first, second, clustered)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=12), st.integers(1, 20))
def test_speakers_suffice_where_their_exchange_can_be_significant(more: list[int], comparisons: int) -> None:
    """The clearest case there is: the second system has more errors, on whatever speaker they differ."""
    second, speakers = np.array(more), [f"s{place}" for place in range(len(more))]
    best = paired_permutation(0 * second, second, speakers) * comparisons
    assert speakers_suffice(0 * second, second, speakers, comparisons) == (best <= LEVEL or not any(more))
    assert not speakers_suffice(0 * second, second, None, comparisons)


def test_means_that_differ_by_rounding_alone_are_equal() -> None:
    first, second = np.array([0.1 + 0.2, 0, 0, 0, 0, 1]), np.array([0.3, 1, 1, 1, 1, 0])
    assert not speakers_suffice(first, second, list("abcdef"), 1)


def test_draws_agree_with_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).normal(0.3, 1.0, size=13)
    exact = sign_flip(differences)
    monkeypatch.setattr(significance, "EXACT_UNITS", 0)
    drawn = sign_flip(differences, samples=20_000)
    assert 0.01 < exact < 0.99 and drawn == pytest.approx(exact, abs=5 * (exact * (1 - exact) / 20_000) ** 0.5)
    assert sign_flip(np.ones(40), samples=99) == 0.01, "the true exchange is one of the draws"


@pytest.mark.parametrize("units", [8, 30])
def test_under_the_null_p_values_are_uniform(units: int) -> None:
    draw = np.random.default_rng(units)
    values = [sign_flip(draw.normal(size=units), samples=200, seed=trial) for trial in range(600)]
    for level in (0.05, 0.2, 0.5, 0.8):
        share = float(np.mean(np.array(values) <= level + 1e-9))
        assert share == pytest.approx(level, abs=4 * (level * (1 - level) / 600) ** 0.5 + 2 / 2**units), level


def test_speakers_that_err_together_need_clusters() -> None:
    """Forty utterances of four speakers are four observations: taking them for forty cries wolf."""
    draw, alone, together = np.random.default_rng(3), 0, 0
    speakers = [f"s{place // 10}" for place in range(40)]
    for trial in range(150):
        shift = np.repeat(draw.normal(0, 2, size=4), 10)
        first, second = draw.poisson(5, size=40), draw.poisson(5, size=40) + shift
        alone += paired_permutation(first, second, seed=trial, samples=200) <= 0.05
        together += paired_permutation(first, second, speakers) <= 0.05
    assert together == 0 and alone > 40, "with four speakers no p-value is below 1 / 8"
    assert smallest_corrected(4, 1) == 0.125 == exhaustive([1, 1, 1, 1], [2, 2, 2, 2], list("abcd"))


def test_a_difference_in_every_unit_is_found() -> None:
    assert paired_permutation(np.full(12, 1.0), np.full(12, 2.0)) == 2 / 2**12
    assert paired_permutation(np.ones(12), np.ones(12)) == 1.0


def test_holm_on_his_own_terms() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_as_the_step_down_rule_does(p_values: list[float], level: float) -> None:
    rejected = set()
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if (len(p_values) - rank) * p_values[place] > level:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(p_values)) if p <= level} == rejected
