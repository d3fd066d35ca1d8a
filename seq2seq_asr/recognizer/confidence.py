"""How probably each word is right.

The raw figure is the smallest probability of the word's pieces, each the weighted geometric mean of what attention and
CTC prefix score give it in the search. On the default corpus, clean and with noise, it told right words from wrong ones
better than the product over the pieces, than either scorer alone, and much better than the share of the n-best list
that has the word. It is far too low, since training smooths labels, so a line in log odds is fitted on a dev set
(Platt 1999) by ``tune`` and kept in the run folder.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.calibration import platt
from seq2seq_asr.search.scorer import Weighted

CALIBRATION = "confidence.yaml"
"""File of a run folder that holds its `Calibration`."""
HEARING = ("attention", "ctc")
"""Scorers that listen, at whatever speed; what only reads, such as a language model, is no witness of what was said."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A line from the log odds of raw confidences to those of right words, and how well it did where it was fitted."""

    tokenizer: str
    """Hash of the tokenizer of the recogniser that it belongs to."""
    weights: str
    """SHA-256 of the file of weights whose confidences it was fitted on."""
    ctc_weight: float
    """Share of CTC in those confidences."""
    speeds: int = 1
    """Speeds that the utterances were heard at."""
    slope: float
    """Log odds gained for each of the raw confidence."""
    intercept: float
    """Log odds of a word whose raw confidence is one half."""
    words: int
    """Recognised words that it was fitted on."""
    error_before: float
    """Expected calibration error of the raw confidences on them."""
    error_after: float
    """Expected calibration error on them, each calibrated by a line that was fitted without its speaker."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)):
            raise UsageError("slope and intercept: must be finite")
        if self.slope < 0:
            raise UsageError("slope: must be 0 or more: words that sound surer are not less often right")


def raw_confidences(gains: Float[Tensor, "U1 N"], scorers: Sequence[Weighted], places: Sequence[range]) -> list[float]:
    """The raw confidence of each word.

    Args:
        gains: What each scorer adds for each token and the end, from `rescore`.
        scorers: The search's.
        places: Places of the tokens of each word.
    """
    weights = torch.tensor([one.weight * (one.name.partition("@")[0] in HEARING) for one in scorers], dtype=gains.dtype)
    shares = weights / weights.sum()
    heard = shares > 0  # zero times -inf would be no number
    pieces = gains[:, heard] @ shares[heard]
    return [float(pieces[place.start : place.stop].min().exp().nan_to_num(0.0)) for place in places]


def calibrated(raw: Sequence[float], calibration: Calibration | None) -> list[float]:
    """Probabilities that words are right; the raw confidences where nothing was fitted."""
    if calibration is None or not raw:
        return [min(1.0, one) for one in raw]
    return [float(one) for one in platt(np.array(raw), calibration.slope, calibration.intercept)]
