"""How far an error rate can be trusted: bootstrap intervals.

Source: M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004.
Words of one utterance, and utterances of one speaker, err together; whole speakers are therefore resampled where they
are known, else whole utterances. Where nothing is wrong there is no spread to resample: J. Hanley and A. Lippman-Hand,
"If nothing goes wrong, is everything all right?", JAMA 249, 1983, bound what may still go wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Integer, Real

SAMPLES: Final = 2000
LEVEL: Final = 0.95

Unit = Literal["speaker", "utterance"]
"""What is drawn or exchanged as a whole."""


@dataclass(frozen=True)
class Interval:
    """An interval of a rate, as fractions, and what was resampled for it."""

    low: float
    high: float
    unit: Unit = "utterance"
    """What was drawn with replacement."""
    units: int = 0
    """How many of them there were."""
    alike: Literal["", "right", "wrong"] = ""
    """What all were where there was no spread to resample: the interval is `without_errors`, or its mirror image."""

    @property
    def known(self) -> bool:
        """False where the data could not tell: a single unit, or no reference at all."""
        return math.isfinite(self.high)


def bootstrap_interval(
    errors: Real[np.ndarray, " B"],
    lengths: Real[np.ndarray, " B"],
    speakers: Sequence[str | None] | None = None,
    *,
    share: bool = False,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of the corpus rate, total errors over total length (Bisani & Ney 2004, section 3).

    Speakers are resampled if every utterance has one and they are at least two, else utterances. With fewer than
    about ten units the interval is rough and rather too narrow; a corpus without errors has that of `without_errors`.

    Args:
        errors: Errors of each utterance.
        lengths: Reference length of each utterance; 0 is allowed.
        speakers: Speaker of each utterance, where known.
        share: Errors are a part of the length, as wrong labels are: no rate exceeds 1, and where all is wrong something
            may yet be right.
        samples: Resampled corpora.
        seed: Seed of the draws; the same seed gives the same interval.

    Returns:
        The interval, or (0, inf) where nothing can be said: one unit, or an empty reference.

    Raises:
        ValueError: No utterances, or arguments of different length.
    """
    totals, unit = per_unit(np.stack([errors, lengths]).astype(np.float64), speakers)
    units = totals.shape[1]
    if units < 2 or not totals[1].any():
        return Interval(0.0, math.inf, unit, units)
    if alike := without_spread(totals[:1], totals[1], unit, share=share):
        return alike
    drawn_errors, drawn_lengths = _resample(totals, samples, seed)
    low, high = middle(drawn_errors / drawn_lengths)
    return Interval(low, high, unit, units)


def without_errors(unit: Unit, units: int) -> Interval:
    """From 0 to the share of units that could have errors and yet leave none in so many, in one of twenty such corpora.

    It is 1 - 0.05^(1 / units), about 3 / units: the rule of three (Hanley & Lippman-Hand 1983). As a bound of an error
    rate it is cautious, for it takes a unit with an error to be wrong throughout.
    """
    return Interval(0.0, 1 - (1 - LEVEL) ** (1 / units), unit, units, alike="right")


def without_spread(
    errors: Float[np.ndarray, "R units"],
    lengths: Float[np.ndarray, " units"],
    unit: Unit,
    *,
    share: bool,
) -> Interval | None:
    """The interval where no run has an error, or where all is wrong and errors are a share; None elsewhere."""
    right = without_errors(unit, len(lengths))
    if not errors.any():
        return right
    if share and (errors == lengths).all():
        return replace(right, low=1 - right.high, high=1.0, alike="wrong")
    return None


def per_unit(
    values: Float[np.ndarray, "C B"], speakers: Sequence[str | None] | None
) -> tuple[Float[np.ndarray, "C units"], Unit]:
    """Add up the values of each speaker; where speakers cannot be used, return them as they are."""
    count = values.shape[1]
    if count == 0:
        raise ValueError("no utterances to resample")
    if speakers is None:
        return values, "utterance"
    if len(speakers) != count:
        raise ValueError(f"{len(speakers)} speakers for {count} utterances")
    names = sorted({speaker for speaker in speakers if speaker})
    if len(names) < 2 or not all(speakers):
        return values, "utterance"
    rows = {name: row for row, name in enumerate(names)}
    members: Integer[np.ndarray, " B"] = np.array([rows[speaker] for speaker in speakers if speaker])
    return np.stack([np.bincount(members, weights=row, minlength=len(names)) for row in values]), "speaker"


def _resample(values: Float[np.ndarray, "C units"], samples: int, seed: int) -> Float[np.ndarray, "C samples"]:
    """Totals of ``samples`` draws with replacement; a draw whose reference (last row) is empty is left out.

    Equal units are interchangeable, so the draw counts how often each distinct one comes up: the same distribution,
    cheap on a large corpus, and independent of the order of the utterances.
    """
    distinct, counts = np.unique(values, axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(values.shape[1], counts / counts.sum(), size=samples)
    totals = distinct @ drawn.T
    return totals[:, totals[-1] > 0]


def middle(values: Float[np.ndarray, " samples"]) -> tuple[float, float]:
    """The bounds of the middle 95 %."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
