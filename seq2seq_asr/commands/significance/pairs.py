"""Every pair of systems, tested on the same utterances.

The two tests are those of `compare` (docs/decisions/0009-significance.md), with the trained models taken as all there
is: what counts is the larger p-value of Student's t and of an exchange of errors, corrected for all pairs (Holm 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from seq2seq_asr.commands.significance.systems import System
from seq2seq_asr.evaluation.hierarchy import Comparison, seeds_difference
from seq2seq_asr.evaluation.significance import LEVEL, holm, paired_permutation, smallest_corrected, speakers_suffice

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
    enough = speakers_suffice(first.errors, second.errors, first.speakers, pairs)

    def exchange(groups: Sequence[str | None] | None) -> float:
        return paired_permutation(first.errors, second.errors, groups, seed=seed)

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
    if pair.student.interval.known and p_value <= LEVEL:
        return replace(pair, p_value=p_value, verdict="significant")
    reason = _untold(pair, exchanged, pairs)
    return replace(pair, p_value=p_value, verdict="cannot be told" if reason else "not significant", reason=reason)


def _untold(pair: Pair, exchanged: float, pairs: int) -> str:
    """Why it cannot be told of a pair that is not significant; empty where it is simply not."""
    interval = pair.student.interval
    if not interval.known:
        alike = f"all {interval.units} {interval.unit}s differ alike, which hides their spread"
        return "there is a single utterance" if interval.units < 2 else alike
    if interval.unit == "speaker":
        if pair.over_utterances is None or exchanged > LEVEL:
            return ""
        return f"utterances tell them apart, {interval.units} speakers do not (t: p = {pair.student.p_value:.2g})"
    limit = smallest_corrected(interval.units, pairs)
    differ = bool((pair.first.errors != pair.second.errors).any())
    return (
        f"exchanging {interval.units} utterances gives no p-value below {limit:.3g}" if differ and limit > LEVEL else ""
    )
