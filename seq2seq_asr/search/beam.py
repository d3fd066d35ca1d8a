"""Beam search over any weighted sum of scorers, for all utterances and beams at once.

Every step keeps the best ``beam`` prefixes of each utterance, whole or not; those that ended leave the beam for a pool
of their own, where they rank by ``Ranking.score``. With one beam and no length bonus this is greedy search. An
utterance closes when no growing prefix can still enter the pool (``Ranking.bound``, so stopping never changes the
result), when all growing ones have ranked below the pool for ``BeamConfig.patience`` steps, or at its maximum length.
Everything about an utterance, its maximum length too, depends on it alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.alignment import Aligner
from seq2seq_asr.search.beam_state import BeamState, Hypotheses, best_places, empty_hypotheses
from seq2seq_asr.search.expansion import Expansion, expand, limit_shift, may_end, peaks, select_states
from seq2seq_asr.search.guards import Guarding
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.ranking import LengthNormalisation, Ranking, length_limit
from seq2seq_asr.search.results import collect
from seq2seq_asr.search.scorer import Weighted, greatest_gain
from seq2seq_asr.vocabulary import EOS

_NEVER = float("-inf")
_CHECK_EVERY = 4
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
    """Tokens per prefix that CTC and hot words look at, the best of attention and language model, besides the end."""
    lm_weight: float = 0.3
    """Weight of the language model, when one is given; 0 leaves it out."""
    ngram_weight: float = 0.3
    """Weight of the n-gram model, when one is given; 0 leaves it out."""
    ngram_unknown: float = 10.0
    """Taken from the n-gram model's log probability of each word that it does not know, in nats."""
    ilm_weight: float = 0.0
    """Weight with which the decoder's own language model is taken off, where another is given; 0 leaves it in."""
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
    align: Aligner = "attention"
    """Where the times of words come from: attention peaks, or forced alignment with CTC."""
    patience: int | None = 20
    """Stop unproven after so many steps in which all that grows ranks below the n-best found; None never does."""

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


@torch.inference_mode()
def beam_search(
    scorers: Sequence[Weighted],
    lengths: Int[Tensor, " B"],
    config: BeamConfig | None = None,
    *,
    early_stop: bool = True,
) -> list[list[Hypothesis]]:
    """Find the best transcripts of every utterance.

    Equal scores go to the lower parent, then to the lower token.

    Args:
        scorers: The first is a full one: it makes ``Hypothesis.log_prob`` and ``frames`` and bears the end threshold.
        lengths: Encoded frames of each utterance.
        config: How to search.
        early_stop: Close an utterance when its result is certain, or patience is at its end. Off, every search runs
            to its maximum length.

    Returns:
        For each utterance 1 to ``config.nbest`` hypotheses, best first. Those cut at the maximum length come after
        those that ended. Where everything has probability zero (or is NaN) stands ``NOTHING``.
    """
    if len(lengths) == 0:
        return []
    search = _Search.of(scorers, lengths, config or BeamConfig(), early_stop)
    state = _start(search)
    for step in range(search.most + 1):
        state = _advance(search, state, step)
        if step % _CHECK_EVERY == _CHECK_EVERY - 1 and not state.open.any():
            break
    return collect(state, [weighted.name for weighted in scorers], search.config.ranking)


class _Search(NamedTuple):
    """What does not change during a search."""

    scorers: tuple[Weighted, ...]
    config: BeamConfig
    early_stop: bool
    shortest: Int[Tensor, " B"]
    longest: Int[Tensor, " B"]
    most: int
    candidates: int
    weights: Float[Tensor, " N"]

    @classmethod
    def of(
        cls, scorers: Sequence[Weighted], lengths: Int[Tensor, " B"], config: BeamConfig, early_stop: bool
    ) -> "_Search":
        longest = length_limit(lengths, config.max_length_ratio).clamp(min=1)
        # Without partial scorers nothing can overtake: the best `beam` tokens of a prefix are all that may be kept.
        candidates = config.candidates if any(weighted.partial for weighted in scorers) else config.beam
        weights = torch.tensor([s.weight for s in scorers], dtype=torch.float64, device=lengths.device)
        shortest = length_limit(lengths, config.min_length_ratio)
        return cls(tuple(scorers), config, early_stop, shortest, longest, int(longest.max()), candidates, weights)


def _start(search: _Search) -> BeamState:
    utterances, beam, scorers = len(search.longest), search.config.beam, len(search.scorers)
    device = search.longest.device
    active = empty_hypotheses(utterances, beam, scorers, search.most + 1, device)
    # All beams start equal: only the first may grow, or the beam would fill with copies.
    first = torch.arange(beam, device=device) == 0
    active = active._replace(score=active.score.masked_fill(first, 0.0))
    finished = empty_hypotheses(utterances, search.config.nbest, scorers, search.most + 1, device)
    states = tuple(weighted.scorer.start(beam) for weighted in search.scorers)
    behind = torch.zeros(utterances, dtype=torch.long, device=device)
    return BeamState(active, finished, states, torch.ones_like(behind, dtype=torch.bool), behind)


def _advance(search: _Search, state: BeamState, step: int) -> BeamState:
    """Let every active hypothesis, of ``step`` tokens, grow by one token or end."""
    last = state.active.tokens[:, :, step].flatten()
    expansion = expand(search.scorers, state.scorers, last, search.candidates, search.config.end_threshold)
    if search.config.max_attention_shift is not None and step > 0:  # the first token may stand anywhere
        previous = state.active.frames[:, :, step].flatten()
        expansion = limit_shift(expansion, previous, search.config.max_attention_shift)
    grown, ends, parents, columns = _keep_best(search, state.active, expansion, step)
    finished = _pool(search, state, grown, ends, step)
    growing = state.open & (step < search.longest)
    cut = state.active._replace(score=_without_ended(state, ends, parents))
    active = grown._replace(score=grown.score.masked_fill(ends, _NEVER)).where(growing, cut)
    first_row = torch.arange(len(parents), device=parents.device)[:, None] * search.config.beam
    states = select_states(search.scorers, expansion, (parents + first_row).flatten(), columns.flatten())
    behind = _behind(search, state.behind, active, finished)
    closed = _certain(search, active, finished, step + 1) | _out_of_patience(search, behind)
    return BeamState(active, finished, states, growing & ~closed, behind)


def _keep_best(
    search: _Search, active: Hypotheses, expansion: Expansion, step: int
) -> tuple[Hypotheses, Bool[Tensor, "B K"], Int[Tensor, "B K"], Int[Tensor, "B K"]]:
    """The best extensions of each utterance, which of them end, and their parents and columns."""
    beam, width = search.config.beam, expansion.tokens.shape[1]
    ends = expansion.tokens == EOS
    gains = expansion.scores @ search.weights
    too_early = ends & ~may_end(expansion, (step >= search.shortest).repeat_interleave(beam))[:, None]
    gains = gains.masked_fill(gains.isnan() | too_early, _NEVER)
    scores = (active.score[:, :, None] + gains.view(-1, beam, width)).flatten(1)
    # An extension has a token more than an end of the same step; all extensions have equally many.
    bonus = search.config.length_bonus * (~ends).view(len(scores), -1).double()
    places = best_places(scores + bonus, beam)
    parents, columns = places // width, places % width
    rows = torch.arange(len(gains), device=gains.device).view(-1, beam).gather(1, parents)
    kept = active.take(parents)
    tokens, frames = kept.tokens, kept.frames  # `take` made them: writing is safe
    tokens[:, :, step + 1] = expansion.tokens[rows, columns]
    looked = peaks(expansion)
    frames[:, :, step + 1] = 0 if looked is None else looked[rows]
    ended = ends[rows, columns]
    score, totals = scores.gather(1, places), kept.totals + expansion.scores[rows, columns]
    return Hypotheses(score, totals, tokens, frames, step + 1 - ended.long()), ended, parents, columns


def _pool(search: _Search, state: BeamState, grown: Hypotheses, ends: Tensor, step: int) -> Hypotheses:
    """The best of what had finished and what ends now; among equals, what finished earlier."""
    score = search.config.ranking.score(grown.score, grown.length)
    ending = grown._replace(score=score.masked_fill(~(ends & state.open[:, None]), _NEVER))
    both = state.finished.join(ending)
    return both.take(best_places(both.score, search.config.nbest))


def _without_ended(state: BeamState, ends: Bool[Tensor, "B K"], parents: Int[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Scores of the active hypotheses, without those of open utterances whose end is among the kept."""
    ending = ends & state.open[:, None]
    places = torch.arange(parents.shape[1], device=parents.device)
    gone = ((parents[:, :, None] == places) & ending[:, :, None]).any(1)
    return state.active.score.masked_fill(gone, _NEVER)


def _certain(search: _Search, active: Hypotheses, finished: Hypotheses, length: int) -> Bool[Tensor, " B"]:
    """Whether no active hypothesis of ``length`` tokens can still rank above the last place of the pool."""
    best = active.score.amax(1)
    if not search.early_stop:
        return best == _NEVER
    bound = search.config.ranking.bound(best, length, search.longest, search.most, greatest_gain(search.scorers))
    return finished.score[:, -1] >= bound


def _behind(search: _Search, behind: Int[Tensor, " B"], active: Hypotheses, finished: Hypotheses) -> Int[Tensor, " B"]:
    """Steps in a row in which every active hypothesis, scored as it stands, ranks below the last place of the pool."""
    scores = search.config.ranking.score(active.score, active.length)
    return torch.where(scores.amax(1) < finished.score[:, -1], behind + 1, 0)


def _out_of_patience(search: _Search, behind: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """Whether to give up the proof; a transcript that loops would else be followed to its maximum length."""
    if search.config.patience is None or not search.early_stop:
        return torch.zeros_like(behind, dtype=torch.bool)
    return behind >= search.config.patience
