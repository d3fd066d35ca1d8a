"""The one figure that a run is judged by: it chooses the best checkpoint, and it is what a person is shown."""

import math
from collections.abc import Mapping
from typing import NamedTuple


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
ACCURACY = Criterion("val_accuracy", "accuracy", more_is_better=True)
