"""One step of a beam search on a CPU: what ``search.advance`` says, by compiled loops over arrays; imports Numba."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.cpu import totals
from seq2seq_asr.search.advance import Kept, Rules
from seq2seq_asr.search.expansion import TIE, Expansion, expand, select_states
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import EOS, SOS

_NEVER = float("-inf")
_NONE = np.empty(0, np.int64)


class ArrayState(NamedTuple):
    """All that goes from step to step; see ``search.advance.BeamState``."""

    score: Float[np.ndarray, "B K"]
    last: Int[np.ndarray, " BK"]
    frames: Int[np.ndarray, " BK"]
    step: int
    scorers: tuple[Any, ...]


class Chosen(NamedTuple):
    """The extensions that a step keeps, best first; see ``search.advance.Chosen``."""

    parents: Int[np.ndarray, "B K"]
    rows: Int[np.ndarray, " BK"]
    columns: Int[np.ndarray, " BK"]
    tokens: Int[np.ndarray, "B K"]
    score: Float[np.ndarray, "B K"]
    growing: Float[np.ndarray, "B K"]
    gains: tuple[Float[np.ndarray, "B K"], ...]


def unrolled(scorers: Sequence[Weighted], rules: Rules, utterances: int) -> Iterator[Kept]:
    """What each step keeps, for as long as it is asked for."""
    state = start(scorers, utterances, rules.beam)
    while True:
        state, kept = advance(scorers, rules, state)
        yield kept


def start(scorers: Sequence[Weighted], utterances: int, beam: int) -> ArrayState:
    """The state before the first token."""
    score, rows = np.full((utterances, beam), _NEVER), utterances * beam
    score[:, 0] = 0.0  # all beams start equal: only the first may grow, or the beam would fill with copies
    states = tuple(weighted.scorer.start(beam) for weighted in scorers)
    return ArrayState(score, np.full(rows, SOS), np.full(rows, -1), 0, states)


def advance(scorers: Sequence[Weighted], rules: Rules, state: ArrayState) -> tuple[ArrayState, Kept]:
    """Let every growing hypothesis grow by one token or end."""
    expansion = expand(scorers, state.scorers, torch.from_numpy(state.last), rules.candidates)
    parents, rows, columns, tokens, score, growing, gains = choose(scorers, rules, state, expansion)
    states = select_states(scorers, expansion, torch.from_numpy(rows), torch.from_numpy(columns))
    peaks = getattr(states[0], "peaks", None)  # an `AlignedState`, if there are any
    frames = state.frames if peaks is None else _array(peaks)
    kept = Kept(score, parents, tokens, None if peaks is None else frames.reshape(tokens.shape), gains)
    return ArrayState(growing, tokens.reshape(-1), frames, state.step + 1, states), kept


def choose(scorers: Sequence[Weighted], rules: Rules, state: ArrayState, expansion: Expansion) -> Chosen:
    """The best extensions of each utterance."""
    gains = [_array(gain) for gain in expansion.gains]
    scores = weigh(scorers, rules, state, expansion, gains)
    among = _NONE[:, None] if expansion.tokens is None else _array(expansion.tokens)
    return Chosen(*totals.choose(scores, among, gains, expansion.end, EOS, float(rules.length_bonus), TIE))


def weigh(
    scorers: Sequence[Weighted],
    rules: Rules,
    state: ArrayState,
    expansion: Expansion,
    gains: Sequence[Float[np.ndarray, "BK M"]],
) -> Float[np.ndarray, "B K M"]:
    """Weighted totals of all extensions; -inf for what may not be."""
    scores = np.empty(gains[0].shape)
    totals.begin(scores, state.score, gains[0], scorers[0].weight)
    for weighted, gain in zip(scorers[1:], gains[1:], strict=True):
        totals.add(scores, gain, weighted.weight)
    most, looked = rules.max_attention_shift, None if rules.max_attention_shift is None else expansion.frames
    if rules.shortest is not None or looked is not None:
        far = (_NONE, _NONE, 0) if looked is None else (_array(looked), state.frames, most)
        shortest = _NONE if rules.shortest is None else rules.shortest.numpy()
        totals.bar(scores, expansion.end, state.step, shortest, *far)
    if rules.end_threshold is not None:
        log_probs = expansion.log_probs.numpy()
        kind = log_probs.dtype.type
        totals.bar_unsure(scores, expansion.end, log_probs, EOS, kind(rules.end_threshold), kind(_NEVER))
    return scores.reshape(*state.score.shape, -1)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()
