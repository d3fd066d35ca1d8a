"""Is one system really worse than another, and than the best of many? Permutation tests and Holm's correction.

Sources: C. Gillick and S. Cox, "Some statistical issues in the comparison of speech recognition algorithms", ICASSP
1989 (matched pairs of segments); P. Good, "Permutation Tests", 1994; S. Holm, "A simple sequentially rejective multiple
test procedure", Scandinavian Journal of Statistics 6, 1979.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Real

from seq2seq_asr.evaluation.intervals import per_unit

LEVEL: Final = 0.05
"""Share of false alarms that a test may raise."""
EXACT_UNITS: Final = 14
"""With so many units or fewer every exchange is tried: 16,384 at most."""
SAMPLES: Final = 20_000
"""Exchanges drawn where there are more."""
_ROUNDING: Final = 1e-9
"""By which errors may differ that are means over the same number of seeds, and equal."""
_SIGNS: Final = 4_000_000
"""Signs worked on at once, which bounds the memory: 100 MB."""


def paired_permutation(
    first: Real[np.ndarray, " B"],
    second: Real[np.ndarray, " B"],
    speakers: Sequence[str | None] | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> float:
    """Are two systems equally good? If they are, their errors on a unit may be exchanged without anybody noticing.

    The statistic is the difference of all errors. Utterances are exchanged, or whole speakers where all are known and
    at least two, because one speaker's utterances err together. With n speakers no p-value is below 2 / 2^n.

    Args:
        first: Errors of the first system on each utterance; a mean over seeds is as good.
        second: Errors of the second system.
        speakers: Speaker of each utterance, where known.
        samples: Exchanges drawn where they are too many to try them all.
        seed: Seed of the draws.

    Returns:
        The two-sided p-value: how often an exchange gives a difference as large. Never 0.

    Raises:
        ValueError: No utterances, or arguments of different length.
    """
    totals, _ = per_unit(np.stack([first, second]).astype(np.float64), speakers)
    return sign_flip(totals[1] - totals[0], samples=samples, seed=seed)


def speakers_suffice(
    first: Real[np.ndarray, " B"],
    second: Real[np.ndarray, " B"],
    speakers: Sequence[str | None] | None,
    comparisons: int,
) -> bool:
    """Whether an exchange of whole speakers can become significant after the correction; False without speakers.

    Only speakers with other errors under the second system count: exchanging the rest changes nothing. Where there is
    none of them, there is nothing that utterances could tell better.
    """
    (one, other), unit = per_unit(np.stack([first, second]).astype(np.float64), speakers)
    differing = int(np.count_nonzero(abs(one - other) > _ROUNDING))
    return unit == "speaker" and (differing == 0 or smallest_corrected(differing, comparisons) <= LEVEL)


def sign_flip(differences: Float[np.ndarray, " units"], *, samples: int = SAMPLES, seed: int = 0) -> float:
    """How often random signs give paired differences a sum as large as theirs, two-sided.

    Units without a difference change nothing. All signs are tried where that is possible, otherwise they are drawn,
    and the true ones count as one of the draws (Phipson & Smyth 2010), so that no number of draws claims p = 0.
    """
    differences = differences[differences != 0]
    # A sum that differs by rounding alone is as large.
    threshold = abs(differences.sum()) * (1 - 1e-9) - 1e-12
    units = len(differences)
    if units <= EXACT_UNITS:
        signs = 1.0 - 2.0 * ((np.arange(2**units)[:, None] >> np.arange(units)) & 1)
        return float(np.mean(np.abs(signs @ differences) >= threshold))
    draw, reached, block = np.random.default_rng(seed), 0, max(1, _SIGNS // units)
    for start in range(0, samples, block):
        signs = 1.0 - 2.0 * draw.integers(0, 2, size=(min(block, samples - start), units))
        reached += int(np.count_nonzero(np.abs(signs @ differences) >= threshold))
    return (reached + 1) / (samples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): those below a level keep the chance of any false alarm below it.

    The smallest is multiplied by their number, the next by one less, and so on; none falls below the one before it.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def smallest_corrected(units: int, comparisons: int) -> float:
    """The p-value that `paired_permutation` reaches at best with so many units that differ, after Holm's correction."""
    smallest = 2.0 / 2.0**units if units <= EXACT_UNITS else 1 / (SAMPLES + 1)
    return min(1.0, smallest * max(1, comparisons))
