"""Measures of alignments against written-out references and alignments whose measures are known."""

import math

import pytest
import torch
from torch import Tensor

from seq2seq_asr.nn.attention.health import BAND, COVERED, Health, attention_health


def measured(alignment: Tensor) -> dict[str, float]:
    """The health of one alignment ``(U, S)`` without padding."""
    tokens, frames = alignment.shape
    found = attention_health(alignment[None].double(), torch.tensor([tokens]), torch.tensor([frames]))
    return {name: float(value) for name, value in found._asdict().items()}


def written_out(alignment: Tensor) -> dict[str, float]:
    """The same, one weight at a time."""
    tokens, frames = alignment.shape
    rows = [[value / sum(row) for value in row] for row in alignment.double().tolist()]
    peaks = [row.index(max(row)) for row in rows]
    near = [[abs((u + 0.5) / tokens - (s + 0.5) / frames) <= BAND for s in range(frames)] for u in range(tokens)]
    entropy = sum(-value * math.log(value) for row in rows for value in row if value > 0) / tokens
    onward = [later >= earlier for earlier, later in zip(peaks, peaks[1:], strict=False)]
    return {
        "monotonicity": sum(onward) / len(onward) if onward else 1.0,
        "coverage": sum(sum(row[s] for row in rows) > COVERED for s in range(frames)) / frames,
        "entropy": entropy,
        "entropy_share": entropy / math.log(frames) if frames > 1 else 0.0,
        "diagonal": sum(rows[u][s] for u in range(tokens) for s in range(frames) if near[u][s]) / tokens,
        "diagonal_uniform": sum(map(sum, near)) / tokens / frames,
        "focus": sum(map(max, rows)) / tokens,
    }


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 1), (4, 23), (9, 9), (12, 5)])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 8.0])
def test_measures_are_those_written_out(shape, sharpness):
    alignment = (sharpness * torch.randn(*shape)).softmax(dim=1)
    assert measured(alignment) == pytest.approx(written_out(alignment), abs=1e-6)


def test_measures_do_not_depend_on_batch_and_padding():
    tokens, frames = torch.tensor([4, 7, 1]), torch.tensor([9, 12, 3])
    alignments = torch.full((3, 8, 14), float("nan"), dtype=torch.float64)
    for row, (u, s) in enumerate(zip(tokens.tolist(), frames.tolist(), strict=True)):
        alignments[row, :u, :s] = torch.randn(u, s).double().softmax(dim=1)
    together = attention_health(alignments, tokens, frames)
    for row, (u, s) in enumerate(zip(tokens.tolist(), frames.tolist(), strict=True)):
        alone = measured(alignments[row, :u, :s])
        assert {name: float(value[row]) for name, value in together._asdict().items()} == pytest.approx(alone)


def test_a_diagonal_is_all_that_a_healthy_alignment_is():
    health = measured(torch.eye(10).repeat_interleave(2, dim=1) / 2)
    assert health["monotonicity"] == health["coverage"] == health["diagonal"] == pytest.approx(1.0)
    assert health["entropy"] == pytest.approx(math.log(2)) and health["focus"] == 0.5


def test_backwards_is_not_monotonic_and_off_the_diagonal():
    health = measured(torch.eye(10).flip(1))
    assert health["monotonicity"] == 0.0 and health["coverage"] == 1.0
    assert health["diagonal"] == pytest.approx(0.2)  # tokens 5 and 6 of 10 alone cross the band
    assert health["entropy"] == 0.0 and health["focus"] == 1.0


def test_equal_weights_have_the_mass_of_uniform_ones_and_the_largest_entropy():
    health = measured(torch.full((6, 50), 1 / 50))
    assert health["diagonal"] == pytest.approx(health["diagonal_uniform"])
    assert health["entropy_share"] == pytest.approx(1.0) and health["entropy"] == pytest.approx(math.log(50))
    assert health["monotonicity"] == 1.0  # its largest weight stands still: the diagonal tells it, not this
    assert 0.3 < health["diagonal_uniform"] < 0.4


def test_standing_on_one_frame_covers_it_alone():
    alignment = torch.zeros(8, 20)
    alignment[:, 3] = 1.0
    health = measured(alignment)
    assert health["coverage"] == pytest.approx(1 / 20) and health["monotonicity"] == 1.0
    assert health["diagonal"] < 0.5


def test_weights_that_sum_to_less_than_one_count_as_their_shares():
    alignment = torch.rand(5, 11)
    assert measured(alignment) == pytest.approx(measured(7 * alignment))
    gone = alignment.clone()
    gone[2] = 0.0
    uniform = alignment.clone()
    uniform[2] = 1 / 11
    assert measured(gone) == pytest.approx(measured(uniform))


def test_no_gradient_is_asked_for():
    alignments = torch.rand(2, 3, 4, requires_grad=True)
    health = attention_health(alignments, torch.tensor([3, 2]), torch.tensor([4, 4]))
    assert isinstance(health, Health) and not any(value.requires_grad for value in health)
