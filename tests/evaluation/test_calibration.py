"""Calibration error by hand, and maps that find the line they were drawn from."""

import numpy as np
import pytest

from seq2seq_asr.evaluation.calibration import (
    expected_calibration_error,
    fit_platt,
    fit_platt_apart,
    log_odds,
    platt,
    reliability,
)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def test_the_error_is_that_counted_by_hand() -> None:
    """Guo et al. 2017: two words at .2 with one right, one at .8 and right, .9 and 1 in a bin with one right."""
    confidences, right = array(0.2, 0.2, 0.9, 0.8, 1.0), np.array([True, False, True, True, False])
    by_hand = 2 / 5 * abs(0.2 - 0.5) + 1 / 5 * abs(0.8 - 1) + 2 / 5 * abs(0.95 - 0.5)
    assert expected_calibration_error(confidences, right) == pytest.approx(by_hand)
    found = reliability(confidences, right)
    assert (found[2].words, found[2].accuracy, found[9].words) == (2, 0.5, 2)
    assert found[9].confidence == pytest.approx(0.95)


def test_bins_are_closed_below_and_the_last_above_too() -> None:
    found = reliability(array(0.0, 0.1, 0.5, 1.0), np.array([True] * 4))
    assert [one.words for one in found] == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert (found[1].low, found[9].high, found[2].confidence) == (0.1, 1.0, 0.0)


def test_perfect_and_worst_confidences() -> None:
    right = np.array([True, True, False, False])
    assert expected_calibration_error(array(1, 1, 0, 0), right) == 0
    assert expected_calibration_error(array(0, 0, 1, 1), right) == 1
    assert expected_calibration_error(array(), np.zeros(0, dtype=bool)) == 0


def test_what_is_no_confidence_is_refused() -> None:
    for confidences, right in ((array(1.2), [True]), (array(-0.1), [True]), (array(np.nan), [True])):
        with pytest.raises(ValueError, match="confidences"):
            reliability(confidences, np.array(right, dtype=bool))


def test_a_fit_finds_the_line_that_words_were_drawn_from(seed: int) -> None:
    draw = np.random.default_rng(seed)
    raw = draw.uniform(0.05, 0.95, 40000)
    probable = 1 / (1 + np.exp(-(1.7 * np.log(raw / (1 - raw)) + 0.8)))
    right = draw.random(40000) < probable
    slope, intercept = fit_platt(raw, right)
    assert slope == pytest.approx(1.7, abs=0.06) and intercept == pytest.approx(0.8, abs=0.06)
    fitted = platt(raw, slope, intercept)
    np.testing.assert_allclose(fitted, probable, atol=0.02)
    assert expected_calibration_error(fitted, right) < 0.02 < expected_calibration_error(raw, right)


def test_the_fit_is_where_the_likelihood_has_no_slope() -> None:
    """Platt's targets, written out, and the derivative of their cross entropy and the ridge."""
    raw, right = array(0.1, 0.3, 0.6, 0.7, 0.9, 0.95), np.array([False, True, False, True, True, True])
    slope, intercept = fit_platt(raw, right)
    target = np.where(right, 5 / 6, 1 / 4)
    rest = platt(raw, slope, intercept) - target
    assert rest @ np.log(raw / (1 - raw)) + 1e-3 * slope == pytest.approx(0, abs=1e-8)
    assert rest.sum() + 1e-3 * intercept == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("right", [True, False])
def test_words_that_are_all_right_or_all_wrong_give_a_finite_line(right: bool) -> None:
    slope, intercept = fit_platt(array(0.0, 0.5, 1.0), np.array([right] * 3))
    assert np.isfinite([slope, intercept]).all() and slope >= 0
    assert (platt(array(0.5), slope, intercept)[0] > 0.5) == right


def test_surer_is_never_less_often_right() -> None:
    slope, intercept = fit_platt(array(0.1, 0.2, 0.8, 0.9), np.array([True, True, False, False]))
    assert slope == 0 and platt(array(0.1, 0.9), slope, intercept) == pytest.approx([0.5, 0.5], abs=1e-6)


def test_a_fit_apart_does_not_see_its_own_group() -> None:
    raw = np.tile(array(0.2, 0.4, 0.6, 0.8), 3)
    right = np.array([False, False, True, True] * 2 + [True] * 4)
    groups = np.repeat(["a", "b", "c"], 4)
    found = fit_platt_apart(raw, right, groups)
    for name in "abc":
        others = groups != name
        wanted = platt(raw[~others], *fit_platt(raw[others], right[others]))
        np.testing.assert_allclose(found[~others], wanted)
    alone = np.array(["a"] * 12)
    np.testing.assert_allclose(fit_platt_apart(raw, right, alone), platt(raw, *fit_platt(raw, right)))


def test_log_odds_stay_finite() -> None:
    assert np.isfinite(log_odds(array(0.0, 1.0))).all() and log_odds(array(0.5))[0] == 0
