"""Beam search over any weighted sum of scorers, for all utterances and beams at once.

Every step keeps the best ``beam`` prefixes of each utterance, whole or not; those that ended leave the beam and rank by
``Ranking.score``. With one beam and no length bonus this is greedy search. An utterance closes when no growing prefix
can still rank among the n best that ended (``Ranking.bound``, so stopping never changes the result), when all growing
ones have ranked below them for ``BeamConfig.patience`` steps, or at its maximum length. Everything about an utterance,
its maximum length too, depends on it alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Int
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.advance import Kept, Rules, unrolled
from seq2seq_asr.search.alignment import Aligner
from seq2seq_asr.search.closing import Stopping, asked, look, open_all
from seq2seq_asr.search.guards import Guarding
from seq2seq_asr.search.history import collect
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.ranking import LengthNormalisation, Ranking, length_limit
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.scorer import Weighted, greatest_gain

_LOOK_EVERY = 4
"""Steps from one look at what may be closed to the next."""
MOST_SPEEDS = 13
"""Speeds that an utterance may be heard at: from 0.7 to 1.3."""
_WEIGHTS = ("lm_weight", "ngram_weight", "ngram_unknown", "ilm_weight", "coverage_weight", "hotword_boost")


@dataclass(frozen=True, kw_only=True)
class BeamConfig:
    """How to search, and how to rank what is found.

    Raises:
        UsageError: If a value is out of its range; the text names the field.
    """

    beam: int = 8
    """Prefixes kept per utterance at every step."""
    nbest: int = 1
    """Transcripts returned per utterance, at most; more than one makes the search stop later."""
    ctc_weight: float = 0.2
    """Weight of the CTC prefix score; the attention has the rest. 0 leaves CTC out; small corpora gain from 0.5."""
    candidates: int = 20
    """Tokens per prefix that CTC, n-grams and hot words look at, the best of attention and LSTM, besides the end."""
    lm_weight: float = 0.3
    """Weight of the language model, when one is given; 0 leaves it out."""
    ngram_weight: float = 0.3
    """Weight of the n-gram model, when one is given; 0 leaves it out."""
    ngram_unknown: float = 10.0
    """Taken from the n-gram model's log probability of each word that it does not know, in nats."""
    ilm_weight: float = 0.0
    """Weight with which the decoder's own language model is taken off, to make room for another; 0 leaves it in."""
    coverage_weight: float = 0.0
    """Reward for each encoded frame that the attention covers, in nats; 0 leaves coverage out."""
    coverage_threshold: float = 0.5
    """Summed attention with which a frame is covered."""
    hotword_boost: float = 0.5
    """Reward for each character of the hot words in a transcript, in nats, when some are given; 0 leaves them out."""
    length_normalisation: LengthNormalisation = "length"
    """What a transcript's score is divided by: 1, (U + 1)^alpha, or ((5 + U + 1) / 6)^alpha, for U tokens."""
    alpha: float = 1.0
    """Exponent of the length normalisation."""
    length_bonus: float = 0.0
    """Added to a transcript's score for each token, before it is divided."""
    end_threshold: float | None = None
    """End only if log p(end) >= threshold * log p(best other token) under the attention; 1.5 is usual, None is off."""
    min_length_ratio: float = 0.0
    """Tokens demanded per encoded frame."""
    max_length_ratio: float = 2.0
    """Tokens allowed per encoded frame; one token is always allowed."""
    max_attention_shift: int | None = None
    """Encoded frames that the attention may jump from token to token; who jumps farther must end. None is off."""
    guards: Guarding = "replace"
    """Flag transcripts that loop, stop early or fill silence, and replace them by more CTC, then CTC alone."""
    speeds: int = 1
    """Speeds that an utterance is heard at, 5 % apart: 5 is 0.9 to 1.1. Attention and CTC count with their mean."""
    align: Aligner = "attention"
    """Where the times of words come from: attention peaks, or forced alignment with CTC (as without attention)."""
    patience: int | None = 20
    """Stop unproven after so many steps, in fours, with all that grows ranking below the n best; None never does."""

    def __post_init__(self) -> None:
        inf = float("inf")
        checks = {
            "beam": (self.beam >= 1, "at least 1"),
            "nbest": (1 <= self.nbest <= self.beam, "from 1 to beam"),
            "ctc_weight": (0 <= self.ctc_weight < 1, "at least 0 and below 1"),
            "candidates": (self.candidates >= 1, "at least 1"),
            **{name: (0 <= getattr(self, name) < inf, "at least 0") for name in _WEIGHTS},
            "coverage_threshold": (0 < self.coverage_threshold < inf, "above 0"),
            "length_normalisation": (self.length_normalisation in ("none", "length", "gnmt"), "none, length or gnmt"),
            "guards": (self.guards in get_args(Guarding), "off, flag or replace"),
            "align": (self.align in get_args(Aligner), "attention or ctc"),
            "speeds": (self.speeds in range(1, MOST_SPEEDS + 1, 2), f"odd and at most {MOST_SPEEDS}"),
            "alpha": (0 <= self.alpha < inf, "at least 0"),
            "length_bonus": (-inf < self.length_bonus < inf, "finite"),
            "end_threshold": (self.end_threshold is None or 0 < self.end_threshold < inf, "above 0, or None"),
            "min_length_ratio": (0 <= self.min_length_ratio < inf, "at least 0"),
            "max_length_ratio": (self.min_length_ratio <= self.max_length_ratio < inf, "at least min_length_ratio"),
            "max_attention_shift": (
                self.max_attention_shift is None or self.max_attention_shift >= 1,
                "at least 1, or None",
            ),
            "patience": (self.patience is None or self.patience >= 1, "at least 1, or None"),
        }
        for name, (holds, wanted) in checks.items():
            if not holds:
                raise UsageError(f"{name}: must be {wanted}, not {getattr(self, name)}")

    @property
    def ranking(self) -> Ranking:
        """How finished transcripts are ranked."""
        return Ranking(normalisation=self.length_normalisation, alpha=self.alpha, bonus=self.length_bonus)


def _late(device: torch.device) -> int:
    """Looks by which an answer may be late: a GPU goes on meanwhile, and what it does too much does not count."""
    return int(device.type == "cuda")


def _steps(
    scorers: Sequence[Weighted], rules: Rules, lengths: Int[Tensor, " B"], places: Places | None
) -> Iterator[Kept]:
    """What each step keeps."""
    if places is not None:
        return places.replayed(scorers, rules, len(lengths), lengths.device)
    if lengths.is_cpu:
        from seq2seq_asr.search import compiled_advance  # imports Numba

        return compiled_advance.unrolled(scorers, rules, len(lengths))
    return unrolled(scorers, rules, len(lengths), lengths.device)


@torch.inference_mode()
def beam_search(
    scorers: Sequence[Weighted],
    lengths: Int[Tensor, " B"],
    config: BeamConfig | None = None,
    *,
    early_stop: bool = True,
    places: Places | None = None,
) -> list[list[Hypothesis]]:
    """Find the best transcripts of every utterance.

    Equal scores go to the lower parent, then to the earlier of its candidates, which is the lower token where all are
    looked at; 1e-12 nats a place count as equal.

    Args:
        scorers: The first is a full one: it makes ``Hypothesis.log_prob`` and ``frames`` and bears the end threshold.
        lengths: Encoded frames of each utterance.
        config: How to search.
        early_stop: Close an utterance when its result is certain, or patience is at its end. Off, every search runs
            to its maximum length.
        places: Where to run the steps as recordings; None runs them one call after the other.

    Returns:
        For each utterance 1 to ``config.nbest`` hypotheses, best first. Those cut at the maximum length come after
        those that ended. Where everything has probability zero (or is NaN) stands ``NOTHING``.
    """
    if len(lengths) == 0:
        return []
    config = config or BeamConfig()
    rules = Rules(
        beam=config.beam,
        candidates=config.candidates,
        length_bonus=config.length_bonus,
        shortest=length_limit(lengths, config.min_length_ratio) if config.min_length_ratio > 0 else None,
        end_threshold=config.end_threshold,
        max_attention_shift=config.max_attention_shift,
        kernels=places is not None and places.kernels,
    )
    longest = length_limit(lengths, config.max_length_ratio).clamp(min=1)
    gain, patience = (greatest_gain(scorers), config.patience) if early_stop else (None, None)
    steps = _steps(scorers, rules, lengths, places)
    history, progress = list[Kept](), open_all(longest, config.nbest)
    stopping = Stopping(config.ranking, int(longest.max()), gain, patience)
    answers, late = list[Callable[[], bool]](), _late(lengths.device)
    for step, kept in zip(range(stopping.longest + 1), steps, strict=False):
        history.append(kept)
        if step % _LOOK_EVERY == _LOOK_EVERY - 1:
            progress = look(progress, history[-_LOOK_EVERY:], step, stopping)
            answers.append(asked(progress.open.any()))
            if len(answers) > late and not answers.pop(0)():
                break
    names = [weighted.name for weighted in scorers]
    return collect(history, longest, progress.last, names, config.ranking, config.nbest)
