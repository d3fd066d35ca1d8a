"""Every pair of systems, tested on the same utterances.

The rule is that of `compare` (docs/decisions/0009-significance.md), with the trained models taken as all there is: the
larger p-value of Student's t and of an exchange of errors, corrected for the number of pairs (Holm 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from seq2seq_asr.commands.significance.systems import System
from seq2seq_asr.evaluation.hierarchy import Comparison, seeds_difference
from seq2seq_asr.evaluation.significance import LEVEL, holm, paired_permutation, smallest_p_value

Verdict = Literal["significant", "not significant", "cannot be told"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The second system against the first."""

    first: System
    second: System
    student: Comparison
    """Difference of the rates, second minus first, with its interval and p-value by Student's t."""
    over_speakers: float | None
    """P-value of exchanging speakers; None where they are not known, or only one."""
    over_utterances: float | None
    """P-value of exchanging utterances; None where speakers are enough."""
    p_value: float = 1.0
    """The larger of Student's and the exchange that counts, corrected for all pairs (Holm)."""
    verdict: Verdict = "not significant"
    reason: str = ""
    """Why it cannot be told."""

    @property
    def exchange(self) -> float:
        """The exchange that counts: of utterances where speakers are too few."""
        found = self.over_speakers if self.over_utterances is None else self.over_utterances
        assert found is not None
        return found


def least(units: int, pairs: int) -> float:
    """The smallest p-value that exchanges of so many units can give after correction for so many pairs."""
    return min(1.0, smallest_p_value(units) * max(1, pairs))


def compare_pairs(systems: Sequence[System], seed: int = 0) -> list[Pair]:
    """Test all pairs, in the order of the systems.

    Args:
        systems: Two or more, scored on the same utterances.
        seed: Seed of the exchanges, where there are too many to try them all.
    """
    couples = list(combinations(systems, 2))
    pairs = [_tested(first, second, len(couples), seed) for first, second in couples]
    corrected = holm([max(pair.student.p_value, pair.exchange) for pair in pairs])
    exchanged = holm([pair.exchange for pair in pairs])
    return [_judged(*one, len(pairs)) for one in zip(pairs, corrected, exchanged, strict=True)]


def _tested(first: System, second: System, pairs: int, seed: int) -> Pair:
    """Both tests of one pair, without a verdict yet."""
    student = seeds_difference(first.errors[None], second.errors[None], first.lengths, first.speakers)
    speakers = student.interval.unit == "speaker"
    enough = speakers and least(student.interval.units, pairs) <= LEVEL

    def exchange(groups: Sequence[str | None] | None) -> float:
        return paired_permutation(first.errors, second.errors, groups, seed=seed).p_value

    return Pair(
        first=first,
        second=second,
        student=student,
        over_speakers=exchange(first.speakers) if speakers else None,
        over_utterances=None if enough else exchange(None),
    )


def _judged(pair: Pair, p_value: float, exchanged: float, pairs: int) -> Pair:
    """The pair with its verdict.

    Args:
        pair: With both tests.
        p_value: The larger of both, corrected.
        exchanged: That of the exchange that counts, corrected.
        pairs: How many there are.
    """
    interval = pair.student.interval
    verdict: Verdict = "significant" if p_value <= LEVEL else "not significant"
    reason = ""
    if not interval.known:
        units = f"all {interval.units} {interval.unit}s differ alike, which hides their spread"
        verdict, reason = "cannot be told", "there is a single utterance" if interval.units < 2 else units
    elif verdict == "not significant" and (limit := least(interval.units, pairs)) > LEVEL:
        # What utterances tell apart, more speakers might; what they do not, is simply not significant.
        if exchanged <= LEVEL or (interval.unit == "utterance" and (pair.first.errors != pair.second.errors).any()):
            verdict = "cannot be told"
            reason = f"exchanging {interval.units} {interval.unit}s gives no p-value below {limit:.3g}"
    return replace(pair, p_value=p_value, verdict=verdict, reason=reason)
