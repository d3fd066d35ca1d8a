"""Whether confidences mean what they say, and a map that makes them do so."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Shaped

BINS: Final = 10
_ALMOST: Final = 1e-6
"""Confidences nearer to 0 or 1 than this count as so near: their log odds stay finite."""
_RIDGE: Final = 1e-3
"""Weight of the squared coefficients in a fit: few words must not give an infinite slope."""
_STEPS: Final = 100
_CLOSE: Final = 1e-10


@dataclass(frozen=True)
class ReliabilityBin:
    """Words whose confidence lies in one interval."""

    low: float
    high: float
    words: int
    confidence: float
    """Mean confidence; 0 without words."""
    accuracy: float
    """Share of them that is right; 0 without words."""


def reliability(confidences: Float[np.ndarray, " W"], right: Bool[np.ndarray, " W"]) -> list[ReliabilityBin]:
    """Words grouped by confidence into ten intervals of equal width; the last one includes 1.

    Args:
        confidences: From 0 to 1.
        right: Whether each word is right.

    Raises:
        ValueError: A confidence is outside of [0, 1], or there is not one for each word.
    """
    if confidences.shape != right.shape:
        raise ValueError(f"{len(confidences)} confidences for {len(right)} words")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("confidences must lie in [0, 1]")
    place = np.minimum((confidences * BINS).astype(int), BINS - 1)
    words = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values.astype(float), minlength=BINS) for values in (confidences, right)]
    means = [total / np.maximum(words, 1) for total in sums]
    return [
        ReliabilityBin(number / BINS, (number + 1) / BINS, int(words[number]), float(sure), float(share))
        for number, (sure, share) in enumerate(zip(*means, strict=True))
    ]


def expected_calibration_error(confidences: Float[np.ndarray, " W"], right: Bool[np.ndarray, " W"]) -> float:
    """Mean distance between confidence and accuracy over `reliability` bins, weighted by words.

    Guo et al. 2017, "On calibration of modern neural networks", equation 3. Without words it is 0.
    """
    found = reliability(confidences, right)
    total = sum(one.words for one in found)
    return sum(one.words * abs(one.confidence - one.accuracy) for one in found) / max(total, 1)


def log_odds(confidences: Float[np.ndarray, " W"]) -> Float[np.ndarray, " W"]:
    """Natural-log odds, finite for 0 and 1 too."""
    inside = np.clip(confidences, _ALMOST, 1 - _ALMOST)
    return np.log(inside / (1 - inside))


def platt(confidences: Float[np.ndarray, " W"], slope: float, intercept: float) -> Float[np.ndarray, " W"]:
    """Confidences whose log odds are ``slope`` times theirs plus ``intercept``."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-(slope * log_odds(confidences) + intercept)))


def fit_platt(confidences: Float[np.ndarray, " W"], right: Bool[np.ndarray, " W"]) -> tuple[float, float]:
    """Slope and intercept that make the right words most probable (Platt 1999), by Newton's method.

    As Platt proposes, the targets are not 1 and 0 but what a uniform prior leaves after as many words; the slope is not
    below 0.

    Raises:
        ValueError: There are no words.
    """
    if len(right) == 0:
        raise ValueError("no words to fit confidences on")
    good = int(right.sum())
    bad = len(right) - good
    target = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))
    slope, intercept = _newton(np.stack([log_odds(confidences), np.ones(len(right))], 1), target)
    if slope < 0:
        slope, intercept = 0.0, _newton(np.ones((len(right), 1)), target)[0]
    return float(slope), float(intercept)


def fit_platt_apart(
    confidences: Float[np.ndarray, " W"], right: Bool[np.ndarray, " W"], groups: Shaped[np.ndarray, " W"]
) -> Float[np.ndarray, " W"]:
    """Confidences calibrated by a fit without their own group, to tell honestly what calibration is worth.

    Args:
        confidences: Raw.
        right: Whether each word is right.
        groups: Speaker or utterance of each word.

    Returns:
        Calibrated confidences; with a single group, those of a fit on all.
    """
    result = np.empty(len(confidences))
    names = np.unique(groups)
    for name in names:
        held = groups == name
        others = ~held if len(names) > 1 else held
        result[held] = platt(confidences[held], *fit_platt(confidences[others], right[others]))
    return result


def _newton(inputs: Float[np.ndarray, "W C"], target: Float[np.ndarray, " W"]) -> Float[np.ndarray, " C"]:
    """Logistic regression with a small ridge; steps are halved until they do no harm."""
    weights = np.zeros(inputs.shape[1])
    loss = _loss(inputs, target, weights)
    for _ in range(_STEPS):
        odds = inputs @ weights
        probable = 0.5 * (1 + np.tanh(odds / 2))
        gradient = inputs.T @ (probable - target) + _RIDGE * weights
        curvature = (inputs * (probable * (1 - probable))[:, None]).T @ inputs + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        while (after := _loss(inputs, target, weights - step)) > loss and np.abs(step).max() > _CLOSE:
            step = step / 2
        weights, loss = weights - step, after
        if np.abs(step).max() <= _CLOSE:
            break
    return weights


def _loss(inputs: np.ndarray, target: np.ndarray, weights: np.ndarray) -> float:
    odds = inputs @ weights
    return float((np.logaddexp(0, odds) - target * odds).sum() + _RIDGE / 2 * weights @ weights)
