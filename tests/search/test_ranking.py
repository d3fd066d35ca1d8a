"""Ranking scores and their bound."""

import pytest
import torch

from seq2seq_asr.search.ranking import Ranking, length_limit


@pytest.mark.parametrize("normalisation", ["none", "length", "gnmt"])
@pytest.mark.parametrize("bonus", [-0.5, 0.0, 0.7])
@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_no_completion_exceeds_the_bound_and_one_reaches_it(normalisation, bonus, gain) -> None:
    ranking = Ranking(normalisation=normalisation, alpha=0.8, bonus=bonus)
    totals, longest = -torch.rand(20, dtype=torch.float64) * 9, torch.randint(6, 15, (20,))
    bound = ranking.bound(totals, 5, longest, 14, gain)
    best = torch.full_like(totals, -torch.inf)
    for length in range(5, 15):
        completed = ranking.score(totals + gain * (length - 5 + 1), torch.full((20,), length))
        best = torch.where(length <= longest, torch.maximum(best, completed), best)
    torch.testing.assert_close(bound, best, rtol=0, atol=1e-12)


def test_normalisers() -> None:
    total, length = torch.tensor([-6.0], dtype=torch.float64), torch.tensor([2])
    scores = [Ranking(normalisation=kind, alpha=1.0, bonus=0.5).score(total, length) for kind in
              ("none", "length", "gnmt")]  # fmt: skip
    assert [float(score) for score in scores] == pytest.approx([-5.0, -5.0 / 3, -5.0 * 6 / 8])


def test_limits_are_ratios_of_frames() -> None:
    assert length_limit(torch.tensor([0, 10, 100]), 0.29).tolist() == [0, 3, 29]
