"""How the search sees a model: scorers that walk along a prefix, and states that the search may reorder.

Rows are hypotheses, utterance after utterance: row ``b * K + k`` is beam ``k`` of utterance ``b``. Three kinds of
scorer:

* A ``Scorer`` scores the whole vocabulary from the last token: the attention decoder, a language model.
* A ``PartialScorer`` scores a few given candidates: the CTC prefix score, because the whole vocabulary would cost too
  much, n-grams and hot words. The candidates are the best of the weighted sum of the full scorers, and always the end.
* A ``Follower`` looks at where the attention looks: coverage.

A scorer that can reward (return more than 0) states the largest reward of one token as ``Weighted.max_gain``: the
stopping rule of the beam search counts on it.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.errors import UsageError


@runtime_checkable
class ScorerState(Protocol):
    """All that a scorer remembers of its hypotheses, one row each; a value, never changed in place."""

    def select(self, parents: Int[Tensor, " BK"]) -> Any:
        """The state whose row ``i`` is row ``parents[i]`` of this one; parents stay within their utterance."""
        ...


@runtime_checkable
class AlignedState(ScorerState, Protocol):
    """A state that also knows where in the utterance the last step looked."""

    @property
    def peaks(self) -> Int[Tensor, " BK"] | None:
        """Encoded frame with the largest attention weight in the last step; None where that means nothing."""
        ...


@runtime_checkable
class AttendingState(AlignedState, Protocol):
    """A state that knows all of its last alignment."""

    @property
    def alignment(self) -> Float[Tensor, "BK S"]:
        """Attention weights of the last step, which sum to 1."""
        ...


State = TypeVar("State", bound=ScorerState)


@runtime_checkable
class Scorer(Protocol[State]):
    """Scores every token of the vocabulary after a prefix."""

    def start(self, beam: int = 1) -> State:
        """The state before the first token, ``beam`` equal rows per utterance."""
        ...

    def step(self, tokens: Int[Tensor, " BK"], state: State) -> tuple[Float[Tensor, "BK V"], State]:
        """Advance every hypothesis by its last token.

        Pure: the past lives in ``state`` alone, so a search may reorder it freely.

        Args:
            tokens: Last emitted tokens; the start token at first.
            state: The state before ``tokens``.

        Returns:
            Natural-log probabilities of the next token (-inf for one never to be emitted), and the state after
            ``tokens``.
        """
        ...


@runtime_checkable
class PartialScorer(Protocol[State]):
    """Scores a few candidates after a prefix."""

    def start(self, beam: int = 1) -> State:
        """The state before the first token, ``beam`` equal rows per utterance."""
        ...

    def extend(self, candidates: Int[Tensor, "BK M"], state: State) -> tuple[Float[Tensor, "BK M"], ScorerState]:
        """Score every hypothesis followed by each of its candidates.

        Args:
            candidates: Tokens to score; the end token among them asks for the end of the sentence.
            state: The state of the prefixes.

        Returns:
            Natural-log scores that each candidate adds, and an extension whose ``select(rows)`` gives the state of the
            extended prefixes, row ``i * M + j`` standing for prefix ``i`` followed by its candidate ``j``.
        """
        ...


@runtime_checkable
class Follower(Protocol[State]):
    """Scores where the first scorer looks, whatever the next token is."""

    def start(self, beam: int = 1) -> State:
        """The state before the first token, ``beam`` equal rows per utterance."""
        ...

    def follow(self, alignment: Float[Tensor, "BK S"], state: State) -> tuple[Float[Tensor, " BK"], State]:
        """Advance every hypothesis by the alignment that its next token comes from.

        Args:
            alignment: Attention weights of this step.
            state: The state before it.

        Returns:
            What any next token, or the end, adds to the total, and the state after it.
        """
        ...


AnyScorer = Scorer[Any] | PartialScorer[Any] | Follower[Any]


@dataclass(frozen=True)
class Weighted:
    """A scorer, the name its total is reported under, and its weight in the sum.

    Raises:
        UsageError: If the weight is not above zero (leave the scorer out instead) or ``max_gain`` is below zero.
    """

    name: str
    scorer: AnyScorer
    weight: float = 1.0
    max_gain: float = 0.0
    """The most that one token, or the end, can add to the unweighted total; 0 for log probabilities."""

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise UsageError(f"weight of scorer {self.name!r}: must be above 0, not {self.weight}")
        if not 0 <= self.max_gain < float("inf"):
            raise UsageError(f"max_gain of scorer {self.name!r}: must be at least 0, not {self.max_gain}")

    @property
    def partial(self) -> bool:
        """Whether the scorer wants candidates."""
        return is_partial(self.scorer)


def is_full(scorer: AnyScorer) -> TypeGuard[Scorer[Any]]:
    """Whether it scores the whole vocabulary."""
    return _provides(type(scorer), Scorer)


def is_partial(scorer: AnyScorer) -> TypeGuard[PartialScorer[Any]]:
    """Whether it scores given candidates."""
    return _provides(type(scorer), PartialScorer)


def is_follower(scorer: AnyScorer) -> TypeGuard[Follower[Any]]:
    """Whether it looks at the attention."""
    return _provides(type(scorer), Follower)


@functools.cache
def _provides(kind: type, protocol: type) -> bool:
    """``issubclass``, which takes tens of microseconds for a protocol: too many for every step."""
    return issubclass(kind, protocol)


def greatest_gain(scorers: Sequence[Weighted]) -> float:
    """The most that one more token can add to the weighted total."""
    return sum(weighted.weight * weighted.max_gain for weighted in scorers)


def joint_scorers(
    attention: Scorer[Any], ctc: PartialScorer[Any] | None = None, ctc_weight: float = 0.0
) -> tuple[Weighted, ...]:
    """Attention and CTC with weights that sum to 1; attention alone where there is no CTC or it weighs nothing."""
    if ctc is None or ctc_weight == 0:
        return (Weighted(name="attention", scorer=attention),)
    return (
        Weighted(name="attention", scorer=attention, weight=1 - ctc_weight),
        Weighted(name="ctc", scorer=ctc, weight=ctc_weight),
    )
