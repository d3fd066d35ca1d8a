"""Candidates: the best tokens, in an order that equal scores cannot upset."""

import pytest
import torch

from seq2seq_asr.search.ctc_fused import ctc_prefix_scorer
from seq2seq_asr.search.expansion import best_tokens, expand
from seq2seq_asr.search.limits import confident_end
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import EOS, SOS


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_best_tokens_are_the_end_and_those_of_a_stable_sort(levels, count) -> None:
    scores = -torch.randint(levels, (50, 20)).float()
    scores[::3, 5:9] = float("-inf")
    others = scores.clone()
    others[:, EOS] = float("-inf")
    wanted = others.sort(dim=1, descending=True, stable=True).indices[:, :count]
    found = best_tokens(scores, count)
    assert found.shape == (50, 1 + min(count, 19)) and (found[:, 0] == EOS).all()
    possible = others.gather(1, wanted[:, :19]) > float("-inf")
    assert torch.equal(found[:, 1:][possible], wanted[:, :19][possible])
    assert (others.gather(1, found[:, 1:])[~possible] == float("-inf")).all() and (found[:, 1:] != EOS).all()


def test_the_end_must_beat_the_best_other_token_by_the_threshold() -> None:
    """With log probability -1 for the best other, 1.5 lets the end pass down to -1.5."""
    log_probs = torch.tensor([[-5.0, -1.0, -5.0, end, -3.0] for end in (-0.5, -1.0, -1.4, -1.6, -9.0)])
    assert confident_end(log_probs, 1.5).tolist() == [True, True, True, False, False]
    assert confident_end(log_probs, 1.0).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("weights", [(0.7,), (0.7, 0.4), (0.5, 0.1, 2.0)])
def test_candidates_are_the_best_of_the_weighted_sum(toy, weights) -> None:
    models = [toy.scorer(2, 12, seed=seed) for seed in range(len(weights))]
    full = [Weighted(f"{place}", model, weights[place]) for place, model in enumerate(models)]
    partial = Weighted("ctc", ctc_prefix_scorer(toy.posteriors(2, 6, 12, seed=9), torch.tensor([6, 4])), 0.3)
    states, last = [one.scorer.start(1) for one in (*full, partial)], torch.tensor([SOS, SOS])
    found = expand([*full, partial], states, last, 3).tokens
    told = [model.step(last, state)[0] for model, state in zip(models, states[:-1], strict=True)]
    summed = torch.einsum("n, nrv -> rv", torch.tensor(weights).double(), torch.stack(told)).index_fill(
        1, torch.tensor([EOS]), -torch.inf
    )
    assert found is not None and torch.equal(found[:, 1:], summed.topk(3).indices)
