"""One step of a beam search: a pure function of tensors, the same at every step.

``search.compiled_advance`` says the same for a CPU.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.expansion import Expansion, best_places, expand, select_states
from seq2seq_asr.search.limits import bar_ends, bar_jumps
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import EOS, SOS

Table = Tensor | np.ndarray
"""An array where ``search.compiled_advance`` made it."""
_NEVER = float("-inf")


class Rules(NamedTuple):
    """What a step goes by; see ``BeamConfig``."""

    beam: int
    candidates: int
    length_bonus: float
    shortest: Int[Tensor, " B"] | None
    """Fewest tokens of each utterance, if there is such a limit."""
    end_threshold: float | None
    max_attention_shift: int | None
    kernels: bool = False
    """Whether GPU kernels may be used."""


class BeamState(NamedTuple):
    """All that goes from step to step."""

    score: Float[Tensor, "B K"]
    """Weighted total of every growing hypothesis; -inf marks an empty place."""
    last: Int[Tensor, " BK"]
    """Last tokens."""
    frames: Int[Tensor, " BK"]
    """Where the first scorer looked in the last step, if it looks; -1 before the first."""
    step: Int[Tensor, ""]
    """Tokens of every hypothesis."""
    first_row: Int[Tensor, "B 1"]
    """Row of each utterance's first beam."""
    scorers: tuple[Any, ...]
    """State of each scorer."""


class Kept(NamedTuple):
    """What a step has kept of each utterance, best first; arrays where ``search.compiled_advance`` has kept it."""

    score: Float[Table, "B K"]
    """Weighted totals, those of ends too."""
    parents: Int[Table, "B K"]
    """Place of the hypothesis, a step before, that each goes on from."""
    tokens: Int[Table, "B K"]
    frames: Int[Table, "B K"] | None
    """Where the first scorer looked, if it does."""
    gains: tuple[Float[Table, "B K"], ...]
    """What each scorer added, unweighted."""


class Chosen(NamedTuple):
    """The extensions that a step keeps, best first."""

    parents: Int[Tensor, "B K"]
    """Place of the hypothesis among those of its utterance."""
    rows: Int[Tensor, " BK"]
    """And among all."""
    columns: Int[Tensor, " BK"]
    """Of the extension."""
    tokens: Int[Tensor, "B K"]
    score: Float[Tensor, "B K"]
    """Weighted totals."""
    growing: Float[Tensor, "B K"]
    """The same, but -inf for ends."""
    gains: tuple[Float[Tensor, "B K"], ...]
    """What each scorer added, unweighted."""


def start(scorers: Sequence[Weighted], utterances: int, beam: int, device: torch.device) -> BeamState:
    """The state before the first token."""
    score = torch.full((utterances, beam), _NEVER, dtype=torch.float64, device=device)
    score[:, 0] = 0.0  # all beams start equal: only the first may grow, or the beam would fill with copies
    last = torch.full((utterances * beam,), SOS, device=device)
    return BeamState(
        score=score,
        last=last,
        frames=torch.full_like(last, -1),
        step=torch.zeros((), dtype=torch.long, device=device),
        first_row=torch.arange(0, utterances * beam, beam, device=device)[:, None],
        scorers=tuple(weighted.scorer.start(beam) for weighted in scorers),
    )


def unrolled(scorers: Sequence[Weighted], rules: Rules, utterances: int, device: torch.device) -> Iterator[Kept]:
    """What each step keeps, for as long as it is asked for."""
    state = start(scorers, utterances, rules.beam, device)
    while True:
        state, kept = advance(scorers, rules, state)
        yield kept


def advance(scorers: Sequence[Weighted], rules: Rules, state: BeamState) -> tuple[BeamState, Kept]:
    """Let every growing hypothesis grow by one token or end."""
    expansion = expand(scorers, state.scorers, state.last, rules.candidates, rules.kernels)
    chosen = _choose(scorers, rules, state, expansion)
    states = select_states(scorers, expansion, chosen.rows, chosen.columns)
    frames, tokens = getattr(states[0], "peaks", None), chosen.tokens  # an `AlignedState`, if there are any
    looked = None if frames is None else frames.view_as(tokens)
    kept = Kept(chosen.score, chosen.parents, tokens, looked, chosen.gains)
    frames = state.frames if frames is None else frames
    return BeamState(chosen.growing, tokens.flatten(), frames, state.step + 1, state.first_row, states), kept


def _choose(scorers: Sequence[Weighted], rules: Rules, state: BeamState, expansion: Expansion) -> Chosen:
    """The best extensions of each utterance."""
    scores = _scores(scorers, rules, state, expansion)
    places = best_places(_compared(scores, expansion, rules.length_bonus), rules.beam, rules.kernels)
    parents = places // scores.shape[2]
    rows, columns = (parents + state.first_row).flatten(), (places - parents * scores.shape[2]).flatten()
    tokens, score = expansion.tokens_at(rows, columns).view_as(parents), scores.flatten(1).gather(1, places)
    growing = score.masked_fill(tokens == EOS, _NEVER)
    return Chosen(parents, rows, columns, tokens, score, growing, expansion.gains_at(places))


def _scores(
    scorers: Sequence[Weighted], rules: Rules, state: BeamState, expansion: Expansion
) -> Float[Tensor, "B K M"]:
    """Weighted totals of all extensions; -inf for what may not be."""
    scores = state.score.unsqueeze(2)
    for weighted, gain in zip(scorers, expansion.gains, strict=True):
        scores = torch.add(scores, gain.view(*state.score.shape, -1), alpha=weighted.weight)
    scores.nan_to_num_(nan=_NEVER, posinf=torch.inf, neginf=_NEVER)
    if rules.max_attention_shift is not None:
        bar_jumps(scores, expansion, state.frames, rules.max_attention_shift)
    if rules.shortest is not None or rules.end_threshold is not None:
        long_enough = None if rules.shortest is None else state.step >= rules.shortest
        bar_ends(scores, expansion, long_enough, rules.end_threshold)
    return scores


def _compared(scores: Float[Tensor, "B K M"], expansion: Expansion, bonus: float) -> Float[Tensor, "B KM"]:
    """What extensions compare by: an end lacks the bonus of a token more, which the others of its step have."""
    if bonus == 0:
        return scores.flatten(1)
    compared = scores.clone()
    compared[:, :, expansion.end] -= bonus
    return compared.flatten(1)
