"""One pass over the utterances of a set: every file is read once, every text encoded once."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from seq2seq_asr.console import Progress
from seq2seq_asr.data.health.signal import Signal, measure
from seq2seq_asr.data.health.target import Spelling, Target
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError

_AT_ONCE = 256
"""Utterances handed to the threads together; more would only wait in memory."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """An utterance with what was learnt about it."""

    utterance: Utterance
    alone: bool
    """Whether no other utterance of its set is in the same file."""
    spelling: Spelling
    signal: Signal | AudioError
    """Measurements, or why there are none."""


@dataclass(frozen=True, kw_only=True)
class ExaminedSet:
    """A set with all its utterances examined."""

    name: str
    items: tuple[Examined, ...]


def examine(
    name: str, utterances: Sequence[Utterance], target: Target, *, threads: int, progress: Progress
) -> ExaminedSet:
    """Read, measure and spell every utterance.

    Args:
        name: Of the set.
        utterances: In the order of their manifest.
        target: What they are to be fit for.
        threads: Files read at the same time.
        progress: Told the set's name, what is done and what there is.
    """
    shared = Counter(one.audio for one in utterances)

    def examine_one(utterance: Utterance) -> Examined:
        alone = utterance.audio is None or (shared[utterance.audio] == 1 and utterance.offset == 0)
        try:
            signal: Signal | AudioError = measure(utterance, whole=alone)
        except AudioError as error:
            signal = error
        return Examined(utterance=utterance, alone=alone, spelling=target.spell(utterance.text), signal=signal)

    items: list[Examined] = []
    with ThreadPoolExecutor(threads) as pool:
        for chunk in _chunks(utterances):
            items += pool.map(examine_one, chunk)
            progress(name, len(items), len(utterances))
    return ExaminedSet(name=name, items=tuple(items))


def _chunks(utterances: Sequence[Utterance]) -> Iterator[Sequence[Utterance]]:
    for start in range(0, len(utterances), _AT_ONCE):
        yield utterances[start : start + _AT_ONCE]
