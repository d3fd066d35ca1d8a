"""The sentences of the spoken corpus: a small context-free grammar for each language.

Rules are text, one a line, ``name = alternative | alternative``; an indented line goes on with the rule above it,
``<name>`` stands for a rule, ``-`` for nothing at all, and ``#`` starts a comment line. Text and references that touch
are written together, so ``<unit>und<tens>`` makes German numbers.
"""

import random
import re
from collections.abc import Iterable, Mapping

from seq2seq_asr.data.corpora import spoken_dutch, spoken_english, spoken_german
from seq2seq_asr.errors import UsageError

RULES: Mapping[str, str] = {"en": spoken_english.RULES, "de": spoken_german.RULES, "nl": spoken_dutch.RULES}
"""The grammar of each language, as text."""

_REFERENCE = re.compile(r"<(\w+)>")
_MOST_REPEATS = 1000


class Grammar:
    """A context-free grammar that sentences are drawn from.

    The alternatives of a rule are dealt like cards: all of them once, in random order, before any comes again. So
    every name and number is heard about equally often, where independent draws would leave some out of training.
    """

    def __init__(self, rules: str, seed: int) -> None:
        """Read the rules.

        Args:
            rules: The text described at the top of this file; sentences start at the rule ``sentence``.
            seed: Decides the order of everything drawn.

        Raises:
            ValueError: A rule is given twice, or refers to one that is missing.
        """
        self.rules: dict[str, list[str]] = {}
        for line in _whole_rules(rules):
            name, _, alternatives = (part.strip() for part in line.partition("="))
            if name in self.rules:
                raise ValueError(f"rule {name} is given twice")
            self.rules[name] = ["" if text.strip() == "-" else text.strip() for text in alternatives.split("|")]
        missing = set(_REFERENCE.findall(rules)) - self.rules.keys()
        if missing:
            raise ValueError(f"no rule {', '.join(sorted(missing))}")
        self._generator = random.Random(seed)
        self._decks: dict[str, list[str]] = {name: [] for name in self.rules}

    def draw(self) -> str:
        """The next sentence: words with single spaces between them."""
        return " ".join(self._expand("sentence").split())

    def _expand(self, name: str) -> str:
        deck = self._decks[name]
        if not deck:
            deck += shuffled(self.rules[name], self._generator)
        return _REFERENCE.sub(lambda match: self._expand(match[1]), deck.pop())


def shuffled(items: Iterable[str], generator: random.Random) -> list[str]:
    """The items in random order."""
    # random() is the one method whose numbers Python promises to keep for a seed.
    return sorted(items, key=lambda _: generator.random())


def _whole_rules(rules: str) -> list[str]:
    whole: list[str] = []
    for line in rules.splitlines():
        if line.startswith(" "):
            whole[-1] += line
        elif line and not line.startswith("#"):
            whole.append(line)
    return whole


def draw_sentences(language: str, counts: Mapping[str, int], seed: int) -> dict[str, list[str]]:
    """Draw the sentences of every split, no sentence twice within or between splits.

    Args:
        language: A key of `RULES`.
        counts: How many sentences each split has.
        seed: The same seed and counts give the same sentences.

    Returns:
        Sentences of each split. The splits are shuffled together, so that all are alike in length and kind.

    Raises:
        UsageError: The grammar has not that many sentences.
    """
    grammar = Grammar(RULES[language], seed)
    total = sum(counts.values())
    drawn: dict[str, None] = {}
    repeats = 0
    while len(drawn) < total:
        sentence = grammar.draw()
        repeats = repeats + 1 if sentence in drawn else 0
        if repeats > _MOST_REPEATS:
            raise UsageError(f"train, dev, test: the grammar of {language!r} has too few sentences for {total}")
        drawn[sentence] = None
    # Common sentences are drawn early: without shuffling the last split would only hold rare ones.
    order = shuffled(drawn, random.Random(seed))
    splits = {}
    for split, count in counts.items():
        splits[split], order = order[:count], order[count:]
    return splits
