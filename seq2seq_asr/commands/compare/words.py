"""What the report says in words."""

from collections.abc import Mapping, Sequence

from seq2seq_asr.commands.compare.budget import Measured
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.ranking import RankedSystem, Ranking
from seq2seq_asr.commands.compare.tables import mean
from seq2seq_asr.data.splits import existing_split
from seq2seq_asr.evaluation.intervals import Interval
from seq2seq_asr.training.criterion import ACCURACY


def labels(ranking: Ranking) -> bool:
    """Whether the systems are classifiers."""
    return ranking.test.criterion == ACCURACY


def measure_name(ranking: Ranking) -> str:
    """What is compared."""
    return ranking.test.criterion.name


def shown_rate(one: RankedSystem, labelled: bool) -> float:
    """Percent: error rate, or accuracy."""
    return 100 * (1 - one.rate if labelled else one.rate)


def shown_interval(interval: Interval, labelled: bool) -> str:
    """The interval in percent."""
    if not interval.known:
        return "unknown"
    low, high = (1 - interval.high, 1 - interval.low) if labelled else (interval.low, interval.high)
    return f"{100 * low:.1f} – {100 * high:.1f}"


def p_words(p_value: float) -> str:
    """A p-value as one reads it."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def verdict_words(one: RankedSystem) -> str:
    """The verdict, with its p-value."""
    if one.verdict in ("best", "unknown"):
        return one.verdict
    said = "not significantly worse" if one.verdict == "not significant" else one.verdict
    return f"{said} ({p_words(one.p_value)})"


def answer(ranking: Ranking) -> str:
    """The result in two or three sentences."""
    best, labelled = ranking.best, labels(ranking)
    others = ranking.standings[1:]
    worse, equal, unknown = (
        [one.system.name for one in others if one.verdict == verdict]
        for verdict in ("significantly worse", "not significant", "unknown")
    )
    said = (
        f"Best is {best.system.name} with {shown_rate(best, labelled):.1f} % {measure_name(ranking)} "
        f"(95 % interval {shown_interval(best.interval, labelled)} %"
        f"{', over seeds and ' + best.interval.unit + 's' if len(best.runs) > 1 else ', one seed'})."
    )
    if not others:
        return said + " There is no other to compare it with yet."
    if len(unknown) == len(others):
        return said + " Whether another is significantly worse cannot be told from so few seeds."
    if not worse and not unknown:
        return said + " No other system is significantly worse: on this test set they cannot be told apart."
    said += f" Of the other {len(others)}, {len(worse)} {'is' if len(worse) == 1 else 'are'} significantly worse."
    if equal:
        said += f" Not significantly worse {'is' if len(equal) == 1 else 'are'} {listed(equal)}."
    if unknown:
        said += f" From so few seeds it cannot be told of {listed(unknown)}."
    return said


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def budget_words(config: CompareConfig, ranking: Ranking, measured: Mapping[str, Measured]) -> str:
    """How many systems, seeds and utterances, and what was kept equal."""
    runs = [run for one in ranking.standings for run in one.runs]
    test = ranking.test
    split = existing_split(config.split, runs[0].run.config.data)
    who = f" of {test.speaker_count} speakers" if test.speaker_count else ""
    minutes = [run.minutes for run in runs]
    steps = sorted({run.steps for run in runs})
    sizes = sorted(measured[one.system.name].parameters for one in ranking.standings)
    equal = {
        "steps": "Equal budget: updates (within 2 %)",
        "parameters": "Equal budget: parameters and updates (within 2 %)",
        "time": f"Equal budget: {config.minutes:g} minutes of training",
    }[config.match]
    return (
        f"{len(ranking.standings)} systems, {len(runs)} runs, {len(test.ids)} utterances{who} ({split}). "
        f"{equal}. "
        f"Updates {_range(steps, '{:,}')}; parameters {_range(sizes, '{:,}')}; "
        f"training minutes a run {_range(minutes, '{:.2g}')}."
    )


def _range(values: Sequence[float | int], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} – {high}"


def method_words(config: CompareConfig, ranking: Ranking) -> list[str]:
    """What the figures mean, and what they do not."""
    counts = [len(one.runs) for one in ranking.standings]
    few, many = min(counts), max(counts)
    seeds = f"{few} to {many} seeds" if few < many else f"{many} seeds" if many > 1 else "1 seed"
    unit, speakers = ranking.best.interval.unit, ranking.test.speaker_count
    whole = speakers >= 2 and len(ranking.by_utterances) < len(ranking.standings) - 1
    exchanged, units = ("speaker", speakers) if whole else ("utterance", len(ranking.test.ids))
    lines = [
        f"Every figure is the mean over {seeds} of models trained alike but for "
        f"what is named. The 95 % interval is a bootstrap over {'seeds and ' if many > 1 else ''}{unit}s, drawn anew "
        "(n − 1 of n, Rao & Wu 1988): it says how a repetition with other seeds and other test data of this kind might "
        "have come out.",
        "A system counts as worse than the best only where two tests agree: errors of both are exchanged "
        f"{exchanged} by {exchanged} (paired permutation, {units} {exchanged}s, errors averaged over seeds), "
        f"and Student's t over seeds and {unit}s (variances added, degrees of freedom "
        "after Welch 1947). The larger p-value counts, corrected for all pairs of systems, since the best is found on "
        "the same data (Holm 1979), at the 5 % level. ‘Not significantly worse’ does not mean equal: a larger test "
        "set, more speakers or more seeds may tell them apart.",
        *_limits(ranking),
    ]
    search = f", beam {config.search.beam}, CTC weight {config.search.ctc_weight:g}"
    weights = f"Decoded with the {config.checkpoint} weights of each run{'' if labels(ranking) else search}."
    lines.append(
        f"{weights} Operations are counted in matrix products and convolutions, a multiply-add as two. Minutes are "
        "wall-clock time of training and validation without start-up, as many runs at a time as were asked for; "
        "processor minutes include start-up and depend less on what else ran. Peak memory is that of the training "
        "process on the host, libraries included."
    )
    factors = [mean([run.real_time_factor for run in one.runs if run.real_time_factor]) for one in ranking.standings]
    if any(factors):
        lines.append("The real-time factor is seconds of computation a second of audio, in batches, features included.")
    return lines


def _limits(ranking: Ranking) -> list[str]:
    """What so few speakers, seeds or errors do not tell."""
    counts = [len(one.runs) for one in ranking.standings]
    unit, speakers = ranking.best.interval.unit, ranking.test.speaker_count
    lines = []
    if ranking.by_utterances and speakers >= 2:
        lines.append(
            f"Of {speakers} speakers too few have other errors under {listed(ranking.by_utterances)} than under the "
            "best for an exchange of whole speakers to become significant after the correction; utterances are "
            "exchanged in their place, which says less of speakers that are not in this test set."
        )
    if any(one.interval.alike for one in ranking.standings):
        lines.append(
            "Where all is right, or every label wrong, a bootstrap has nothing to draw: the interval is by the rule of "
            f"three over {unit}s (Hanley & Lippman-Hand 1983)."
        )
    if 1 in counts:
        lines.append(
            f"Of a system with one seed the interval is over {unit}s alone, and nothing is tested: how much another "
            "seed would change is not known, and may be as much as lies between two systems."
        )
    if {2, 3} & set(counts):
        lines.append(
            "Two or three seeds are few: their spread is known only roughly, and intervals are rather too narrow."
        )
    return lines
