"""Student's t against printed tables, its closed forms and the normal distribution."""

import math
from statistics import NormalDist

import pytest

from seq2seq_asr.evaluation.student import critical, two_sided


@pytest.mark.parametrize(
    ("degrees", "table"), [(1.0, 12.706), (2.0, 4.303), (5.0, 2.571), (30.0, 2.042), (120.0, 1.980)]
)
def test_critical_values_are_those_of_the_tables(degrees: float, table: float) -> None:
    assert critical(degrees) == pytest.approx(table, abs=5e-4)


@pytest.mark.parametrize("t", [0.0, 1e-3, 0.7, 2.0, 12.7, 1e4])
def test_one_and_two_degrees_have_closed_forms(t: float) -> None:
    assert two_sided(t, 1.0) == pytest.approx(1 - 2 * math.atan(t) / math.pi, rel=1e-6)
    assert two_sided(t, 2.0) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-6)


@pytest.mark.parametrize("degrees", [1.0, 2.39, 17.3, 199.9, 200.1, 4e5])
def test_the_critical_value_has_the_p_value_that_it_is_made_for(degrees: float) -> None:
    assert two_sided(critical(degrees), degrees) == pytest.approx(0.05, abs=1e-9)
    assert two_sided(-critical(degrees), degrees) == two_sided(critical(degrees), degrees)


@pytest.mark.parametrize("t", [0.0, 0.5, 1.96, 4.0])
def test_many_degrees_are_a_normal_distribution(t: float) -> None:
    assert two_sided(t, 1e6) == pytest.approx(2 * NormalDist().cdf(-t), abs=2e-6)


@pytest.mark.parametrize("degrees", [200.0, 29999.0, 1e6])
def test_a_difference_beyond_any_doubt_has_a_p_value_too(degrees: float) -> None:
    """Where mpmath's series no longer converges."""
    assert 0 <= two_sided(67.87, degrees) <= two_sided(40.1, degrees) <= two_sided(39.9, degrees) < 1e-90


def test_a_p_value_falls_as_t_and_as_the_degrees_grow() -> None:
    falling = [two_sided(t, 7.5) for t in (0.0, 1.0, 2.0, 9.0)]
    assert falling == sorted(falling, reverse=True) and len(set(falling)) == 4
    near, over = two_sided(2.0, 199.99), two_sided(2.0, 200.01)
    assert near > over and near == pytest.approx(over, rel=1e-4), "no step where the arithmetic changes"
