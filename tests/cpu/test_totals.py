"""Totals and what is chosen of them on a CPU are those of the tensors' way."""

from itertools import product
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map

from seq2seq_asr.search import advance, compiled_advance
from seq2seq_asr.search.advance import BeamState, Rules
from seq2seq_asr.search.expansion import TIE, Expansion
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import EOS

INF = float("inf")
FREE = {"shortest": None, "end_threshold": None, "max_attention_shift": None}


class Looking:
    """The state of a scorer that looked at frames."""

    def __init__(self, peaks: torch.Tensor) -> None:
        self.peaks = peaks


class Silent:
    """A full scorer by its looks; what it says stands in the expansion."""

    def start(self, beam=1): ...
    def step(self, tokens, state): ...


def spoilt(values: torch.Tensor, share: float) -> torch.Tensor:
    """Values, some of which are no numbers or infinite."""
    drawn = torch.rand(values.shape)
    values[drawn < share] = -INF
    values[drawn < share / 2] = torch.nan
    values[drawn < share / 8] = INF
    return values


def world(seed: int, rules: dict, candidates: bool, kind: torch.dtype, scorers: int = 2, vocabulary: int = 9):
    """Random extensions of 3 utterances with 4 hypotheses each, in part dead or without a way on."""
    torch.manual_seed(seed)
    utterances, beam, width = 3, 4, vocabulary * 2 // 3
    rows, shape = utterances * beam, (utterances * beam, width if candidates else vocabulary)
    others = torch.stack([torch.randperm(vocabulary - 1)[: width - 1] for _ in range(rows)])
    tokens = torch.cat([torch.full((rows, 1), EOS), others + (others >= EOS)], 1) if candidates else None
    gains = [spoilt(torch.randn(shape, dtype=kind), share) for share in (0.1, 0.3)]
    gains[0][::5] = -INF
    gains[0][::5, 0 if candidates else EOS] = -1.0  # nothing but an end
    gains[1] = gains[1].double()[:, :1].expand(shape) if seed % 2 else gains[1].double()
    log_probs = spoilt(torch.randn(rows, vocabulary, dtype=kind).log_softmax(1), 0.05)
    looked, before = torch.randint(9, (rows,)), torch.randint(-1, 9, (rows,))
    score = spoilt(torch.randn(utterances, beam, dtype=torch.float64), 0.2).nan_to_num(nan=-INF)
    state = BeamState(score, torch.full((rows,), 4), before, torch.tensor(2), torch.arange(0, rows, beam)[:, None], ())
    expansion = Expansion(tokens, tuple(gains[:scorers]), log_probs, (Looking(looked), None))
    weighted = [Weighted("first", Silent(), 0.7), Weighted("other", Silent(), 0.3)][:scorers]
    limits: dict[str, Any] = {**FREE, **rules}
    return weighted, Rules(beam=beam, candidates=5, length_bonus=0.0, **limits), state, expansion


def in_arrays(state: BeamState) -> compiled_advance.ArrayState:
    """The same for the loops."""
    score, last, frames = (part.numpy() for part in state[:3])
    return compiled_advance.ArrayState(score, last, frames, int(state.step), ())


def totals(weighted, rules, state, expansion) -> torch.Tensor:
    """The totals that the loops write."""
    gains = [gain.contiguous().numpy() for gain in expansion.gains]
    return torch.from_numpy(compiled_advance.weigh(weighted, rules, in_arrays(state), expansion, gains))


LIMITS: list[dict[str, Any]] = [
    {"shortest": torch.tensor([3, 2, 1])},
    {"end_threshold": 1.5},
    {"max_attention_shift": 2},
]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("candidates", [False, True], ids=["all tokens", "candidates"])
@pytest.mark.parametrize("taken", list(product([0, 1], repeat=3)))
def test_totals_are_the_same(taken, candidates, kind) -> None:
    rules = {key: value for limit, take in zip(LIMITS, taken, strict=True) if take for key, value in limit.items()}
    barred = 0
    for seed in range(10):
        given = world(seed, rules, candidates, kind, scorers=1 + seed % 3 % 2)
        fast, slow = totals(*given), advance._scores(*given)
        torch.testing.assert_close(fast, slow, rtol=1e-14, atol=1e-15)  # torch may round once less
        assert torch.equal(fast == -INF, slow == -INF)
        weighted, limits, *others = given
        barred += int((fast == -INF).sum() - (totals(weighted, limits._replace(**FREE), *others) == -INF).sum())
    assert (barred > 0) == any(taken)


def by_sorting(scores: torch.Tensor, count: int, kernels: bool) -> torch.Tensor:
    """`best_places` where it leaves the order open too: of what is impossible, the first come first."""
    lost = torch.arange(scores.shape[1], dtype=torch.float64) * TIE
    return (scores.double() - lost).sort(dim=1, descending=True, stable=True).indices[:, :count]


def both(monkeypatch, weighted, rules, state, expansion):
    """What is chosen by the loops, and by the tensors' way of the same totals."""
    fast = compiled_advance.choose(weighted, rules, in_arrays(state), expansion)
    known = totals(weighted, rules, state, expansion)
    with monkeypatch.context() as patched:
        patched.setattr(advance, "_scores", lambda *_: known)
        patched.setattr(advance, "best_places", by_sorting)
        return tree_map(torch.from_numpy, fast), advance._choose(weighted, rules, state, expansion)


@pytest.mark.parametrize("bonus", [0.0, 0.7, -0.7])
@pytest.mark.parametrize("candidates", [False, True], ids=["all tokens", "candidates"])
@pytest.mark.parametrize("vocabulary", [9, 100])
def test_what_is_chosen_is_the_same(monkeypatch, vocabulary, candidates, bonus) -> None:
    ends, equals = 0, 0
    for seed in range(20):
        weighted, rules, state, expansion = world(seed, {}, candidates, torch.float32, 1 + seed % 2, vocabulary)
        if seed % 4 < 2:  # equals, in and between rows
            expansion = expansion._replace(gains=tuple(gain.round() for gain in expansion.gains))
            state = state._replace(score=state.score.round())
        fast, slow = both(monkeypatch, weighted, rules._replace(length_bonus=bonus), state, expansion)
        torch.testing.assert_close(fast, slow, rtol=0, atol=0, equal_nan=True)
        ends += int((fast.tokens == EOS).sum())
        equals += int((fast.score.diff() == 0).sum())
    assert ends > 0 and equals > 3
