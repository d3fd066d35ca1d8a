"""The one figure that a run is judged by: it chooses the best checkpoint, and it is what a person is shown."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from seq2seq_asr.evaluation.wer import without_spaces

Choice = Literal["auto", "wer", "cer"]
"""Which error rate a recogniser is judged by."""


class Criterion(NamedTuple):
    """A share that validation measures."""

    column: str
    """Of ``metrics.csv``."""
    name: str
    """As a person reads it."""
    more_is_better: bool

    def error(self, validated: Mapping[str, float]) -> float:
        """The share, or what is missing to 1: less is better. Infinite where it was not measured."""
        if self.column not in validated:
            return math.inf
        return 1 - validated[self.column] if self.more_is_better else validated[self.column]


WER = Criterion("val_wer", "WER", more_is_better=False)
CER = Criterion("val_cer", "CER", more_is_better=False)
ACCURACY = Criterion("val_accuracy", "accuracy", more_is_better=True)


def find_criterion(choice: Choice, references: Iterable[str]) -> Criterion:
    """The error rate to judge a recogniser by.

    Args:
        choice: What the user wants; ``auto`` is of words, unless these texts are written without spaces between them: a
            whole sentence would count as one word.
        references: Normalised texts of the set that it is judged on.
    """
    if choice == "auto":
        return CER if without_spaces(references) else WER
    return CER if choice == "cer" else WER
