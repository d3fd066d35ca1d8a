"""Trying search settings on an encoded set: what each costs in errors and time, and which is best."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seq2seq_asr.commands.tune.cache import EncodedSet, Part
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.intervals import Interval, bootstrap_interval
from seq2seq_asr.evaluation.wer import ErrorCounts, character_errors, word_errors
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.recognizer.hearing import Hearings
from seq2seq_asr.recognizer.stitching import joined
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.rescoring import ranked, rescore
from seq2seq_asr.strict_yaml import override, to_mapping
from seq2seq_asr.training.criterion import CER, Choice, Criterion, find_criterion

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
"""What is tried of every setting that ends in _weight."""
BONUSES = (0.0, 0.25, 0.5, 1.0)
"""What is tried of length_bonus."""
_TOLERANCE = 1e-5
"""Ranking scores that differ by less are equal: batches of another shape round otherwise."""

Setting = tuple[str, Sequence[Any]]
"""A field of `BeamConfig` and the values to try."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting of the search, and how it did."""

    search: BeamConfig
    criterion: Criterion
    """Whether words or characters were counted to compare trials."""
    words: ErrorCounts
    characters: ErrorCounts
    interval: Interval
    """95 % interval of the criterion's error rate."""
    real_time_factor: float
    """Seconds of reading, encoder, search and guards per second of audio."""
    search_errors: float
    """Share of utterances whose reference scores higher than what was found: the search missed it.

    Of those that are not cut: nobody knows which words of a reference are a segment's. NaN where all are.
    """

    @property
    def rate(self) -> float:
        """The error rate to go by, a fraction."""
        return (self.characters if self.criterion == CER else self.words).rate


class Sweeper:
    """Tries settings, each once.

    Args:
        recognizer: The recogniser.
        encoded: The set.
        seed: Of the bootstrap.
        tell: Told what is being swept, and every new trial.
        criterion: Error rate to go by.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        encoded: EncodedSet,
        seed: int,
        tell: Callable[[str, Trial], None] = lambda *_: None,
        criterion: Choice = "auto",
    ) -> None:
        self.recognizer, self.encoded, self.seed, self.tell = recognizer, encoded, seed, tell
        self.references = [recognizer.tokenizer.normalise(one.text) for one in encoded.utterances]
        self.criterion = find_criterion(criterion, self.references)
        self.trials: dict[BeamConfig, Trial] = {}
        self.starts: dict[str, BeamConfig] = {}  # of a grid, its best

    def attempt(self, search: BeamConfig, stage: str) -> Trial:
        """Search the set, unless that was done before; ``stage`` is what is being swept."""
        if search not in self.trials:
            self.trials[search] = self._measure(search)
            self.tell(stage, self.trials[search])
        return self.trials[search]

    def sweep(self, name: str, start: BeamConfig, values: Sequence[Any]) -> list[Trial]:
        """Try values of one setting, everything else as at the start, which comes first."""
        self.starts[name] = start
        return [self.attempt(one, name) for one in tried(start, [(name, values)])]

    def along(self, name: str) -> list[Trial]:
        """All trials that differ in one setting alone from where its last sweep started, by its value."""
        rest = vars(self.starts[name]) | {name: None}
        alike = [one for one in self.trials.values() if vars(one.search) | {name: None} == rest]
        # None, which is no value, comes first.
        return sorted(alike, key=lambda one: (getattr(one.search, name) is not None, getattr(one.search, name)))

    def best(self, slack: float = 0.0) -> Trial:
        """The trial with the smallest beam among those of fewest errors, and what lies within ``slack`` of their rate.

        Among equals that with fewer errors, then the earliest.
        """
        trials = list(self.trials.values())
        most = min(trial.rate for trial in trials) + slack
        return min((one for one in trials if one.rate <= most), key=lambda one: (one.search.beam, one.rate))

    def _measure(self, search: BeamConfig) -> Trial:
        texts: dict[Part, str] = {}
        searcher = self.recognizer.searcher
        missed, whole, seconds = 0, 0, self.encoded.seconds(search.speeds)
        for parts, hearings in self.encoded:
            started = time.perf_counter()
            found = searcher.hypotheses(hearings, search)
            kept = searcher.guarded(hearings, found, search)
            seconds += time.perf_counter() - started
            tokens = [nbest[0].tokens for nbest in kept]
            texts |= dict(zip(parts, map(searcher.tokenizer.decode, tokens), strict=True))
            if parts[0].segment is None:
                whole += len(parts)
                missed += self._missed(parts, hearings, found, search)
        transcripts = [joined([text for text in segments if text]) for segments in self.encoded.by_utterance(texts)]
        words, characters = (
            [count(*pair) for pair in zip(self.references, transcripts, strict=True)]
            for count in (word_errors, character_errors)
        )
        judged = characters if self.criterion == CER else words
        errors, lengths = (np.array([getattr(one, name) for one in judged]) for name in ("errors", "reference_length"))
        speakers = [one.speaker for one in self.encoded.utterances]
        return Trial(
            search=search,
            criterion=self.criterion,
            words=sum(words, ErrorCounts()),
            characters=sum(characters, ErrorCounts()),
            interval=bootstrap_interval(errors, lengths, speakers, seed=self.seed),
            real_time_factor=seconds / self.encoded.audio,
            search_errors=missed / whole if whole else math.nan,
        )

    def _missed(
        self, parts: Sequence[Part], hearings: Hearings, found: Sequence[list[Hypothesis]], search: BeamConfig
    ) -> int:
        """In how many of these utterances the reference scores higher than what was found."""
        searcher = self.recognizer.searcher
        scorers = searcher.scorers(hearings, search)
        said = [searcher.tokenizer.encode(self.references[part.utterance]) for part in parts]
        pairs = zip(rescore(scorers, said, searcher.device), found, strict=True)
        return sum(ranked(gains, scorers, search.ranking) > nbest[0].score + _TOLERANCE for gains, nbest in pairs)


def trial_rows(sweeper: Sweeper) -> list[dict[str, Any]]:
    """Rows of ``tuned.csv``, as tried: the sweeps that each trial is a point of, what was measured, every setting."""
    found = []
    points = {name: sweeper.along(name) for name in sweeper.starts}
    for trial in sweeper.trials.values():
        measured = {
            "sweeps": " ".join(name for name, line in points.items() if trial in line),
            "wer": trial.words.rate,
            "cer": trial.characters.rate,
            "low": trial.interval.low,
            "high": trial.interval.high,
            "errors": trial.words.errors,
            "words": trial.words.reference_length,
            "real_time_factor": trial.real_time_factor,
            "search_errors": trial.search_errors,
        }
        found.append(measured | to_mapping(trial.search))
    return found


def sweep_coordinates(sweeper: Sweeper, start: BeamConfig, settings: Sequence[Setting], rounds: int) -> BeamConfig:
    """Bring one setting after the other to its best, until nothing changes; among equals what stood before stays."""
    present = start
    for _ in range(rounds):
        before = present
        for name, values in settings:
            present = min(sweeper.sweep(name, present, values), key=lambda trial: trial.rate).search
        if present == before:
            break
    return present


def sweep_grid(sweeper: Sweeper, start: BeamConfig, settings: Sequence[Setting]) -> BeamConfig:
    """Try all combinations; among equals the earliest is best, the start before all."""
    names = [name for name, _ in settings]
    combined = [dict(zip(names, values, strict=True)) for values in itertools.product(*(v for _, v in settings))]
    trials = [sweeper.attempt(one, "grid") for one in [start, *(replace(start, **values) for values in combined)]]
    best = min(trials, key=lambda trial: trial.rate).search
    sweeper.starts |= dict.fromkeys(names, best)
    return best


def sweep_beams(sweeper: Sweeper, search: BeamConfig, beams: Sequence[int]) -> list[Trial]:
    """Try beams, narrow ones first."""
    sweeper.starts["beam"] = search
    return [sweeper.attempt(replace(search, beam=beam), "beam") for beam in sorted(set(beams))]


def read_settings(given: Sequence[str], search: BeamConfig) -> list[Setting]:
    """Settings as the command line gives them: ``name=value,value``.

    Raises:
        UsageError: There is no such setting, or it cannot have such a value.
    """
    found = list[Setting]()
    for text in given:
        name, equals, listed = text.partition("=")
        if not equals or not listed or name == "beam":
            raise UsageError(f"sweep: expected name=value,value with a setting of the search, not {text!r}")
        found.append((name, tuple(getattr(override(search, {name: value}), name) for value in listed.split(","))))
    return found


def tried(start: BeamConfig, settings: Sequence[Setting]) -> list[BeamConfig]:
    """The start, and each value of each setting beside it."""
    return [start, *(replace(start, **{name: value}) for name, values in settings for value in values)]


def most_speeds(search: BeamConfig, settings: Sequence[Setting]) -> int:
    """Speeds that the set must be heard at for all that is to be tried."""
    return max([search.speeds, *(value for name, values in settings if name == "speeds" for value in values)])


def usual_settings(recognizer: Recognizer, encoded: EncodedSet, search: BeamConfig) -> list[Setting]:
    """Every weight that changes what a search of the first batch finds or how it scores, and the length bonus."""
    names = [one.name for one in dataclasses.fields(BeamConfig) if one.name.endswith("_weight")]
    if recognizer.searcher.language_model is None and recognizer.searcher.ngram is None:
        names.remove("ilm_weight")  # it makes room for a language model
    if not recognizer.model.decoder.aligns:
        names.remove("coverage_weight")
    _, first = next(iter(encoded))
    find = recognizer.searcher.hypotheses

    def tells(name: str) -> bool:
        sides = (find(first, one) for one in tried(search, [(name, (WEIGHTS[0], WEIGHTS[-1]))])[1:])
        off, on = ([(nbest[0].tokens, nbest[0].score) for nbest in side] for side in sides)
        return off != on

    return [*((name, WEIGHTS) for name in names if tells(name)), ("length_bonus", BONUSES)]
