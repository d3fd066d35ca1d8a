"""The loop finds what a stable sort finds, with NaN before all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq_asr.cpu.best import find_tokens
from seq2seq_asr.vocabulary import EOS

TIE = 1e-12


def by_sorting(scores: torch.Tensor, count: int) -> torch.Tensor:
    lost = torch.arange(scores.shape[1], dtype=torch.float64) * TIE
    return (scores.double() - lost).sort(dim=1, descending=True, stable=True).indices[:, :count]


def ended(scores: torch.Tensor) -> torch.Tensor:
    """An end behind the last column."""
    return torch.cat([scores, scores.new_zeros(len(scores), 1)], 1)


def find_best(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Of columns none of which is the end."""
    return find_tokens(ended(scores), count, TIE, scores.shape[1])[:, 1:]


@pytest.mark.parametrize(
    ("columns", "count"), [(1, 1), (7, 3), (8, 8), (31, 30), (33, 32), (64, 33), (500, 20), (4000, 8)]
)
@pytest.mark.parametrize("levels", [1, 3, 1000, 10**9], ids=["all equal", "many equal", "some equal", "hardly any"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_best_in_order_and_among_equals_the_first(columns, count, levels, dtype):
    scores = torch.randint(levels, (5, columns)).to(dtype) - levels // 2
    assert torch.equal(find_best(scores, count), by_sorting(scores, count))


@settings(max_examples=150)
@given(st.data())
def test_any_numbers(data):
    number = st.one_of(st.sampled_from([-torch.inf, torch.inf, torch.nan, 0.0, -0.0, 1.0, -1e300]), st.floats())
    columns, rows = data.draw(st.integers(1, 100)), data.draw(st.integers(1, 2))
    few = data.draw(st.lists(number, min_size=1, max_size=5))
    places = data.draw(st.binary(min_size=rows * columns, max_size=rows * columns))  # quicker than one after the other
    drawn = torch.tensor([few[place % len(few)] for place in places], dtype=torch.float64)
    scores, count = drawn.view(rows, columns), data.draw(st.integers(1, columns))
    assert torch.equal(find_best(scores, count), by_sorting(scores, count))


@pytest.mark.parametrize("alike", [-torch.inf, torch.nan, torch.inf])
@pytest.mark.parametrize("count", [2, 5, 40])
def test_of_what_cannot_be_ordered_the_first_come_first(alike, count):
    scores = torch.full((1, 90), alike)
    scores[0, [40, 70]] = torch.tensor([-1.0, 1.0])
    assert torch.equal(find_best(scores, count), by_sorting(scores, count))


@pytest.mark.parametrize("share", [0.005, 0.02, 0.05, 0.5])
@pytest.mark.parametrize("columns", [70, 500])
def test_some_are_no_numbers(share, columns):
    scores = torch.randn(300, columns)
    scores[torch.rand(scores.shape) < share] = torch.nan
    assert torch.equal(find_best(scores, 20), by_sorting(scores, 20))


def test_scores_closer_than_a_tie_count_as_equal():
    scores = torch.tensor([[0.0, 1e-13, 5e-12]], dtype=torch.float64)
    assert find_best(scores, 3).tolist() == [[2, 0, 1]]


def test_what_a_place_loses_is_rounded_as_in_tensors():
    scores = torch.randint(3, (20, 3000)) * -300 + torch.randint(40, (20, 3000)).double() * TIE * 50
    assert torch.equal(find_best(scores, 30), by_sorting(scores, 30))


def test_rows_know_nothing_of_each_other():
    scores = torch.randn(9, 77)
    scores[3], scores[5] = torch.nan, -torch.inf
    together = find_best(scores, 6)
    assert all(torch.equal(find_best(row[None], 6)[0], found) for row, found in zip(scores, together, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_view_is_read_as_it_looks(dtype):
    scores = torch.randn(6, 40).to(dtype)
    wanted, given = by_sorting(scores, 3), ended(scores)
    for laid in (given.t().contiguous().t(), given.repeat_interleave(2, 1)[:, ::2], given.requires_grad_()):
        assert torch.equal(find_tokens(laid, 3, TIE, 40)[:, 1:], wanted)


@pytest.mark.parametrize("columns", [5, 32, 40, 500])
@pytest.mark.parametrize("levels", [2, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tokens_are_the_end_and_the_best_others(columns, levels, dtype):
    scores = -torch.randint(levels, (7, columns)).to(dtype)
    scores[0, EOS], scores[1, EOS], scores[2, 4:], scores[3] = 9.0, torch.nan, -torch.inf, -torch.inf
    scores[4, 1::2] = torch.nan
    for count in {1, 4, min(20, columns - 1), columns - 1}:
        order = by_sorting(scores, columns)
        wanted = torch.stack([row[row != EOS][:count] for row in order])
        found = find_tokens(scores, count, TIE, EOS)
        assert (found[:, 0] == EOS).all() and torch.equal(found[:, 1:], wanted)
