"""What a search returns."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hypothesis:
    """One transcript of one utterance, with the figures that ranked it."""

    tokens: tuple[int, ...]
    """Token ids without start and end."""
    score: float
    """The figure hypotheses are ranked by: weighted scores, length bonus and normalisation included."""
    log_prob: float
    """Natural-log probability under the attention decoder; the end token is included when it was reached."""
    scores: dict[str, float] = field(default_factory=dict)
    """Unweighted total of each scorer, by name."""
    frames: tuple[int, ...] = ()
    """Encoded frame that the attention looked at most when it emitted each token; empty without an attention."""
    ended: bool = True
    """False when the hypothesis was cut at the maximum length instead of ending by itself."""
    flags: tuple[str, ...] = ()
    """What the guards found wrong: loop, truncated, silence."""
    fallback: str | None = None
    """The guards' step that replaced a flagged transcript by this one: ctc_weight or ctc."""


NOTHING = Hypothesis(tokens=(), score=float("-inf"), log_prob=float("-inf"), ended=False)
"""Returned when every transcript has probability zero (or the model returned NaN)."""
