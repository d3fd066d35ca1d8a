"""Errors of every system on the utterances that all of them decoded."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Int

from seq2seq_asr.commands.significance.reading import Decoding, names_of
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.intervals import Interval, bootstrap_interval
from seq2seq_asr.evaluation.report import Scored
from seq2seq_asr.evaluation.wer import ErrorCounts, character_errors, utterance_errors, word_errors
from seq2seq_asr.training.criterion import CER, find_criterion

Unit = Literal["words", "characters", "utterances"]
"""What errors are counted in."""


_COUNT: Final[dict[Unit, Callable[[str, str], ErrorCounts]]] = {
    "words": word_errors,
    "characters": character_errors,
    "utterances": utterance_errors,
}


@dataclass(frozen=True, kw_only=True)
class System:
    """One decoding, scored."""

    name: str
    folder: Path
    speakers: tuple[str | None, ...]
    """Speaker of each utterance."""
    counts: tuple[ErrorCounts, ...]
    """Errors on each utterance."""
    wrong: int
    """Utterances with at least one word error."""
    interval: Interval
    """95 % interval of the error rate, as in ``wer.txt`` or ``accuracy.txt``."""

    @property
    def total(self) -> ErrorCounts:
        """All errors."""
        return sum(self.counts, ErrorCounts())

    @property
    def errors(self) -> Int[np.ndarray, " B"]:
        """Errors on each utterance."""
        return np.array([one.errors for one in self.counts])

    @property
    def lengths(self) -> Int[np.ndarray, " B"]:
        """Reference length of each utterance."""
        return np.array([one.reference_length for one in self.counts])

    @property
    def sentence_error_rate(self) -> float:
        """Share of utterances with at least one word error."""
        return self.wrong / len(self.counts)

    def by_speaker(self) -> dict[str, tuple[int, ErrorCounts]]:
        """Number of utterances and errors of each speaker, in the order of their names; unknown ones are ``""``."""
        found: dict[str, list[ErrorCounts]] = defaultdict(list)
        for speaker, counts in zip(self.speakers, self.counts, strict=True):
            found[speaker or ""].append(counts)
        return {name: (len(found[name]), sum(found[name], ErrorCounts())) for name in sorted(found)}


def find_unit(choice: Literal["auto"] | Unit, decodings: Sequence[Decoding], scored: Sequence[Scored]) -> Unit:
    """What to count errors in; ``auto`` goes by what was decoded and, as training does, by how it is written.

    Raises:
        UsageError: A classifier and a recogniser: neither words nor labels compare them.
    """
    known = [one for one in decodings if one.classifies is not None]
    other = next((one for one in known if one.classifies != known[0].classifies), None)
    if other:
        raise UsageError(f"{other.folder}: classification and recognition cannot be compared with each other")
    if choice != "auto":
        return choice
    if known and known[0].classifies:
        return "utterances"
    return "characters" if find_criterion("auto", [one.reference for one in scored]) == CER else "words"


def score_systems(
    decodings: Sequence[Decoding], scored: Sequence[Sequence[Scored]], unit: Unit, seed: int
) -> list[System]:
    """Count the errors of every decoding.

    Args:
        decodings: Where they come from.
        scored: Utterances of each, the same in the same order.
        unit: What errors are counted in.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: Every reference is empty.
    """
    systems = []
    names = names_of([one.folder for one in decodings])
    for name, decoding, texts in zip(names, decodings, scored, strict=True):
        counts = tuple(_COUNT[unit](one.reference, one.hypothesis) for one in texts)
        speakers = tuple(one.speaker for one in texts)
        lengths = np.array([one.reference_length for one in counts])
        if not lengths.any():
            raise UsageError(f"{decoding.folder}: nothing to compare, every reference is empty")
        errors, share = np.array([one.errors for one in counts]), unit == "utterances"
        interval = bootstrap_interval(errors, lengths, speakers, share=share, seed=seed)
        wrong = sum(utterance_errors(one.reference, one.hypothesis).errors for one in texts)
        systems.append(
            System(name=name, folder=decoding.folder, speakers=speakers, counts=counts, wrong=wrong, interval=interval)
        )
    return systems
