"""The kernel finds what a stable sort finds."""

import pytest
import torch

pytest.importorskip("triton")
from seq2seq_asr.kernels import best  # noqa: E402
from seq2seq_asr.search.expansion import best_places, best_tokens  # noqa: E402


def by_sorting(scores: torch.Tensor, count: int) -> torch.Tensor:
    return scores.double().sort(dim=1, descending=True, stable=True).indices[:, :count]


@pytest.mark.parametrize(("columns", "count"), [(1, 1), (7, 3), (8, 8), (100, 8), (1025, 9), (2500, 2)])
@pytest.mark.parametrize("levels", [2, 1000], ids=["many equal", "hardly any"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_best_in_order_and_among_equals_the_first(columns, count, levels, dtype):
    scores = torch.randint(levels, (3, columns)).to(dtype)
    assert torch.equal(best_places(scores, count, kernels=True), by_sorting(scores, count))


@pytest.mark.parametrize("chunk", [pytest.param(16, marks=pytest.mark.nightly), 32])
def test_many_chunks_are_looked_through_again_and_again(chunk, monkeypatch):
    monkeypatch.setattr(best, "_CHUNK", chunk)
    scores = torch.randn(2, 300)
    assert torch.equal(best.find_best(scores, 5, 1e-12), by_sorting(scores, 5))


def test_what_is_impossible_or_no_number_comes_last_and_nothing_twice():
    scores = torch.tensor([[-torch.inf, 1.0, torch.nan, -torch.inf, 0.0], [-torch.inf] * 5])
    assert best.find_best(scores, 5, 1e-12).tolist() == [[1, 4, 0, 2, 3], [0, 1, 2, 3, 4]]


def test_scores_closer_than_a_tie_count_as_equal():
    scores = torch.tensor([[0.0, 1e-13, 5e-12]], dtype=torch.float64)
    for kernels in (True, False):
        assert best_places(scores, 3, kernels).tolist() == [[2, 0, 1]]


def test_a_view_is_read_as_it_looks():
    scores = torch.randn(6, 4)
    assert torch.equal(best.find_best(scores.t(), 3, 1e-12), by_sorting(scores.t(), 3))


def test_candidates_are_those_found_without():
    log_probs = torch.randn(3, 40).log_softmax(1)
    log_probs[1, 5:] = -torch.inf  # of which any may come
    for count in (1, 4):
        assert torch.equal(best_tokens(log_probs, count, kernels=True), best_tokens(log_probs, count))
