"""How far a rate can be trusted that was measured over several trained models: seeds and test units are both drawn.

A test set's interval says how another test set might have come out; another seed may change as much. For an interval
both are resampled, independently of each other, as both would be new if somebody repeated the experiment (the two-way
bootstrap of A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007). Of n seeds or units n - 1 are
drawn: n of n would understate the spread by the factor (n - 1) / n, much where n is 3 (J. Rao and C. Wu, "Resampling
inference with complex survey data", Journal of the American Statistical Association 83, 1988).

A difference is tested by Student's t instead: what two speakers or three seeds say of a spread is itself uncertain,
which a bootstrap of so few does not know. The variances of units and of both systems' seeds add up, with the degrees of
freedom of B. Welch, "The generalization of Student's problem when several different population variances are involved",
Biometrika 34, 1947.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from seq2seq_asr.evaluation.intervals import SAMPLES, Interval, middle, per_unit, without_spread
from seq2seq_asr.evaluation.student import critical, two_sided


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The second system against the first on the same utterances."""

    difference: float
    """Rate of the second minus rate of the first, a fraction: negative when the second is better."""
    interval: Interval
    """95 % interval of the difference."""
    p_value: float
    """Two-sided: how often equal systems would differ as much."""


def seeds_interval(
    errors: Real[np.ndarray, "R B"],
    lengths: Real[np.ndarray, " B"],
    speakers: Sequence[str | None] | None = None,
    *,
    share: bool = False,
) -> Interval:
    """95 % interval of the mean rate of several runs, over runs and over speakers or utterances.

    Args:
        errors: Errors of each run (R) on each utterance.
        lengths: Reference length of each utterance.
        speakers: Speaker of each utterance; resampled whole where all are known and at least two.
        share: As in `bootstrap_interval`.

    Returns:
        The interval, or (0, inf) with a single unit or an empty reference. A single run is taken as it is; of runs
        without any error the interval is that of `without_errors`.

    Raises:
        ValueError: No utterances, or arguments of different length.
    """
    totals, unit = per_unit(np.concatenate([errors, lengths[None]]).astype(np.float64), speakers)
    units = totals.shape[1]
    if units < 2 or not totals[-1].any():
        return Interval(0.0, math.inf, unit, units)
    if alike := without_spread(totals[:-1], totals[-1], unit, share=share):
        return alike
    draw = np.random.default_rng(0)
    weights, drawn_lengths = _drawn_units(draw, totals[-1])
    rates = _rates(draw, totals[:-1], weights, drawn_lengths)
    return Interval(*middle(rates), unit, units)


def seeds_difference(
    first: Real[np.ndarray, "R B"],
    second: Real[np.ndarray, "Q B"],
    lengths: Real[np.ndarray, " B"],
    speakers: Sequence[str | None] | None = None,
) -> Comparison:
    """Is the second system better than the first? Both are scored on the same units, each with seeds of its own.

    Args:
        first: Errors of each run of the first system on each utterance.
        second: Errors of each run of the second system.
        lengths: Reference length of each utterance.
        speakers: As in `seeds_interval`.

    Returns:
        Difference of the mean rates, its interval and a two-sided p-value; (-inf, inf) and 1 where nothing can be said:
        of one unit, or of equal differences wherever one looks, which hide the spread of what they were drawn from.
        The seeds of a system with a single run are taken as they are.

    Raises:
        ValueError: No utterances, no reference, or arguments of different length.
    """
    runs = len(first)
    totals, unit = per_unit(np.concatenate([first, second, lengths[None]]).astype(np.float64), speakers)
    if not totals[-1].any():
        raise ValueError("nothing to compare: every reference is empty")
    units, words = totals.shape[1], totals[-1].sum()
    rates = totals[:-1].sum(axis=1) / words
    difference = float(rates[runs:].mean() - rates[:runs].mean())
    if units < 2:
        return Comparison(difference=difference, interval=Interval(-math.inf, math.inf, unit, units), p_value=1.0)
    # How far each unit is from the difference of all: the variance of a ratio, linearised.
    beside = totals[runs:-1].mean(axis=0) - totals[:runs].mean(axis=0) - difference * totals[-1]
    spreads = [(units * float(np.var(beside / words, ddof=1)), units - 1)]
    several = [own for own in (rates[:runs], rates[runs:]) if len(own) > 1]
    spreads += [(float(np.var(own, ddof=1)) / len(own), len(own) - 1) for own in several]
    half, p_value = _student(difference, spreads)
    return Comparison(
        difference=difference, interval=Interval(difference - half, difference + half, unit, units), p_value=p_value
    )


def _student(value: float, spreads: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Half the 95 % interval of a value and its two-sided p-value against zero.

    Args:
        value: An estimate.
        spreads: Variances that add up to its own, each with its degrees of freedom.
    """
    variance = sum(part for part, _ in spreads)
    if variance <= (1e-9 * value) ** 2:
        return (0.0, 1.0) if value == 0 else (math.inf, 1.0)
    degrees = variance**2 / sum(part**2 / count for part, count in spreads)
    deviation = math.sqrt(variance)
    return deviation * critical(degrees), two_sided(value / deviation, degrees)


def _drawn_units(
    draw: np.random.Generator, lengths: Float[np.ndarray, " units"]
) -> tuple[Float[np.ndarray, "N units"], Float[np.ndarray, " N"]]:
    """How often each unit comes up in each draw, and the draw's reference length; empty references are left out."""
    units = len(lengths)
    weights = draw.multinomial(units - 1, np.full(units, 1 / units), size=SAMPLES).astype(np.float64)
    drawn = weights @ lengths
    return weights[drawn > 0], drawn[drawn > 0]


def _rates(
    draw: np.random.Generator,
    errors: Float[np.ndarray, "R units"],
    weights: Float[np.ndarray, "N units"],
    lengths: Float[np.ndarray, " N"],
) -> Float[np.ndarray, " N"]:
    """Mean rate over drawn runs, for each draw of units."""
    runs = len(errors)
    chosen = draw.multinomial(max(1, runs - 1), np.full(runs, 1 / runs), size=len(lengths))
    rates = weights @ errors.T / lengths[:, None]
    return (rates * chosen).sum(axis=1) / chosen.sum(axis=1)
