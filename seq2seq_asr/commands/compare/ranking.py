"""From runs to a ranking: mean rate of every system with its interval, and its test against the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf
from typing import Literal

import numpy as np
from jaxtyping import Float

from seq2seq_asr.commands.compare.grid import System
from seq2seq_asr.commands.compare.results import RunResult, ScoredSet
from seq2seq_asr.evaluation.hierarchy import Comparison, seeds_difference, seeds_interval
from seq2seq_asr.evaluation.intervals import Interval, Unit
from seq2seq_asr.evaluation.significance import LEVEL, holm, paired_permutation, speakers_suffice
from seq2seq_asr.training.criterion import ACCURACY

Verdict = Literal["best", "not significant", "significantly worse", "unknown"]
"""Unknown where seeds or units are too few to tell their spread: another seed may change as much as lies between."""


@dataclass(frozen=True, kw_only=True)
class RankedSystem:
    """A system's place among the others."""

    system: System
    runs: tuple[RunResult, ...]
    interval: Interval
    """95 % interval of the mean rate over seeds and units."""
    difference: Comparison | None = None
    """Against the best system, over seeds and units; None for the best itself, interval unknown with one run."""
    unit: Unit = "utterance"
    """What the permutation test against the best exchanges: utterances where too few speakers differ."""
    permutation: float = 1.0
    """P-value of the paired permutation against the best, seeds averaged."""
    p_value: float = 1.0
    """The larger of both p-values, corrected for the number of pairs of systems (Holm); 1 where nothing can be told."""
    verdict: Verdict = "not significant"

    @property
    def rate(self) -> float:
        """Mean error rate over seeds."""
        return float(np.mean([run.rate for run in self.runs]))

    @property
    def spread(self) -> float:
        """Standard deviation over seeds, 0 for one."""
        return float(np.std([run.rate for run in self.runs], ddof=1)) if len(self.runs) > 1 else 0.0

    @property
    def errors(self) -> Float[np.ndarray, "R B"]:
        """Errors of each run on each utterance."""
        return np.stack([run.errors for run in self.runs])


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """All systems, best first."""

    standings: tuple[RankedSystem, ...]
    test: ScoredSet
    order: tuple[str, ...]
    """Names of the systems as the grid has them."""

    @property
    def best(self) -> RankedSystem:
        """The lowest mean rate."""
        return self.standings[0]

    @property
    def by_utterances(self) -> list[str]:
        """Systems whose utterances, not speakers, were exchanged with the best's."""
        return [one.system.name for one in self.standings[1:] if one.unit == "utterance"]


def rank(systems: Sequence[System], results: Mapping[str, Sequence[RunResult]]) -> Ranking:
    """Rank the systems that have a finished run.

    A system counts as worse than the best if two tests say so: the exchange of errors between the two on the same
    utterances, which takes the trained models as given, and Student's t over seeds and speakers, which does not.
    The larger p-value of the two is corrected for the number of pairs of systems.

    Args:
        systems: All systems.
        results: Finished runs of each, by its name.
    """
    present = [system for system in systems if results.get(system.name)]
    standings = [_alone(system, tuple(results[system.name])) for system in present]
    standings.sort(key=lambda one: one.rate)
    test = standings[0].runs[0].test
    pairs = list(combinations(standings, 2))
    tested = [_against(better, other, test, len(pairs)) for better, other in pairs]
    corrected = holm([one.p_value for one in tested])
    # Pairs with the best come first.
    others = [_judged(*one) for one in zip(tested[: len(standings) - 1], corrected, strict=False)]
    return Ranking(
        standings=(replace(standings[0], verdict="best"), *others),
        test=test,
        order=tuple(system.name for system in present),
    )


def _alone(system: System, runs: tuple[RunResult, ...]) -> RankedSystem:
    test = runs[0].test
    errors = np.stack([run.errors for run in runs])
    interval = seeds_interval(errors, test.lengths, test.speakers, share=test.criterion == ACCURACY)
    return RankedSystem(system=system, runs=runs, interval=interval)


def _judged(other: RankedSystem, p_value: float) -> RankedSystem:
    assert other.difference is not None
    if not other.difference.interval.known:
        return replace(other, p_value=1.0, verdict="unknown")
    return replace(other, p_value=p_value, verdict="significantly worse" if p_value <= LEVEL else "not significant")


def _against(better: RankedSystem, other: RankedSystem, test: ScoredSet, comparisons: int) -> RankedSystem:
    errors = better.errors.mean(axis=0), other.errors.mean(axis=0)
    enough = speakers_suffice(*errors, test.speakers, comparisons)
    permutation = paired_permutation(*errors, test.speakers if enough else None)
    difference = seeds_difference(better.errors, other.errors, test.lengths, test.speakers)
    if min(len(better.runs), len(other.runs)) == 1:
        difference = replace(difference, interval=replace(difference.interval, low=-inf, high=inf), p_value=1.0)
    return replace(
        other,
        difference=difference,
        unit="speaker" if enough else "utterance",
        permutation=permutation,
        p_value=max(permutation, difference.p_value),
    )
