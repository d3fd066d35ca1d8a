"""Interpolated modified Kneser-Ney smoothing.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling" (Computer Speech and Language
13), section 3: the n-grams of the highest order, and those that begin a sentence, have their counts; the others have
the number of different words that stand before them. From each count a discount is taken, one of three as the count is
1, 2 or more, and given to the next shorter history; below the unigrams stands the uniform distribution over the
vocabulary, the unknown word included. Written as a back-off model, whose probabilities hold the interpolation already.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0
"""How ARPA files write the logarithm of 0."""
FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where a text is too small or too regular to estimate them, as KenLM's ``--discount_fallback``."""

Gram = tuple[str, ...]


class Entry(NamedTuple):
    """An n-gram of a back-off model."""

    probability: float
    """Of the last word after the others."""
    backoff: float
    """Share of the n-gram, as a history, that goes to shorter ones; 1 where it is none."""


def estimate(sentences: Iterable[Sequence[str]], order: int) -> dict[Gram, Entry]:
    """The model of some sentences, n-grams of one length after those of the length below.

    Args:
        sentences: Words of each, without start and end.
        order: Words of the longest n-grams.
    """
    counts = adjusted_counts(sentences, order)
    words = {gram[0] for gram in counts[0]} | {END, UNKNOWN}
    probabilities: dict[Gram, float] = {(): 1 / len(words)}
    shares: dict[Gram, float] = {}
    for length, level in enumerate(counts, start=1):
        found, given = interpolate(level, probabilities)
        if length == 1:  # every word of the vocabulary has its part of what was given to the uniform distribution
            found |= {(word,): given[()] / len(words) for word in words if (word,) not in found}
        probabilities |= found
        shares |= given
    del probabilities[()]
    model = {gram: Entry(probability, shares.get(gram, 1.0)) for gram, probability in probabilities.items()}
    return {(START,): Entry(0.0, shares.get((START,), 1.0))} | model


def adjusted_counts(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """For each length the n-grams that end in a word or the end, with the counts that the smoothing goes by."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = (START, *sentence, END)
        for end in range(2, len(words) + 1):
            for length in range(1, min(order, end) + 1):
                gram = words[end - length : end]
                if length == order or gram[0] == START:
                    counts[length - 1][gram] += 1
    for longer, level in zip(reversed(counts), reversed(counts[:-1]), strict=False):
        level.update(gram[1:] for gram in longer)  # once for each word that stands before it
    return counts


def discounts(counts: Iterable[int]) -> tuple[float, float, float]:
    """What is taken from a count of 1, of 2, and of 3 or more (equation 26)."""
    n1, n2, n3, n4 = map(Counter(counts).__getitem__, (1, 2, 3, 4))
    if not n1 or not n2 or not n3:
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < taken <= count for count, taken in enumerate(found, start=1)) else FALLBACK


def interpolate(counts: Counter[Gram], shorter: dict[Gram, float]) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """Probabilities of n-grams of one length, and the share that each history gives to the one shorter.

    Args:
        counts: Of all n-grams of the length.
        shorter: Probabilities of those one shorter, the uniform one under ``()``.
    """
    taken = discounts(counts.values())
    totals: defaultdict[Gram, int] = defaultdict(int)
    given: defaultdict[Gram, float] = defaultdict(float)
    for gram, count in counts.items():
        totals[gram[:-1]] += count
        given[gram[:-1]] += taken[min(count, 3) - 1]
    shares = {history: sum_ / totals[history] for history, sum_ in given.items()}
    probabilities = {
        gram: (count - taken[min(count, 3) - 1]) / totals[gram[:-1]] + shares[gram[:-1]] * shorter[gram[1:]]
        for gram, count in counts.items()
    }
    return probabilities, shares


def arpa_lines(model: dict[Gram, Entry], order: int) -> Iterable[str]:
    """The lines of an ARPA file."""
    levels: list[list[Gram]] = [[] for _ in range(order)]
    for gram in model:
        levels[len(gram) - 1].append(gram)
    yield "\\data\\"
    yield from (f"ngram {length}={len(level)}" for length, level in enumerate(levels, start=1))
    for length, level in enumerate(levels, start=1):
        yield f"\n\\{length}-grams:"
        for gram in level:
            entry = model[gram]
            line = f"{_log10(entry.probability):.7g}\t{' '.join(gram)}"
            yield line if length == order or gram[-1] == END else f"{line}\t{_log10(entry.backoff):.7g}"
    yield "\n\\end\\"


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else NEVER
