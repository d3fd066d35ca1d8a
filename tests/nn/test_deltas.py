import math

import pytest
import torch

from seq2seq_asr.nn.deltas import add_deltas


def slope(values: list[float], t: int) -> float:
    """Slope of the least-squares line through five values around t, the ends repeated; recursion not needed."""
    window = [values[min(max(t + j, 0), len(values) - 1)] for j in range(-2, 3)]
    return sum(j * v for j, v in zip(range(-2, 3), window, strict=True)) / 10


def second_slope(values: list[float], t: int) -> float:
    """Slope of slopes; as in Kaldi only the features are repeated past the ends, not the first slopes."""
    extended = [values[0]] * 8 + values + [values[-1]] * 8
    slopes = [slope(extended, i) for i in range(len(extended))]
    return slope(slopes, t + 8)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 12])
def test_deltas_equal_the_written_out_sums(length):
    features = torch.randn(1, length, 3, dtype=torch.float64)
    result = add_deltas(features, torch.tensor([length]), 2)
    assert torch.equal(result[:, :, :3], features)
    for f in range(3):
        values = features[0, :, f].tolist()
        first = torch.tensor([slope(values, t) for t in range(length)], dtype=torch.float64)
        second = torch.tensor([second_slope(values, t) for t in range(length)], dtype=torch.float64)
        torch.testing.assert_close(result[0, :, 3 + f], first)
        torch.testing.assert_close(result[0, :, 6 + f], second)


def test_first_order_agrees_with_torchaudio():
    functional = pytest.importorskip("torchaudio.functional")
    features = torch.randn(2, 20, 5)
    expected = functional.compute_deltas(features.transpose(1, 2), win_length=5, mode="replicate").transpose(1, 2)
    torch.testing.assert_close(add_deltas(features, torch.tensor([20, 20]), 1)[:, :, 5:], expected)


def test_padding_and_batch_mates_have_no_influence():
    lengths = torch.tensor([11, 4, 1, 0])
    features = torch.full((4, 13, 2), math.nan)
    for row, length in zip(features, lengths.tolist(), strict=True):
        row[:length] = torch.randn(length, 2)
    result = add_deltas(features, lengths, 2)
    for b, length in enumerate(lengths.tolist()):
        alone = add_deltas(features[b : b + 1, :length], lengths[b : b + 1], 2)
        torch.testing.assert_close(result[b, :length], alone[0])
        assert (result[b, length:, 2:] == 0).all()


def test_a_ramp_has_slope_one_and_no_curvature_inside():
    ramp = torch.arange(15.0)[None, :, None]
    result = add_deltas(ramp, torch.tensor([15]), 2)[0, 4:-4]
    torch.testing.assert_close(result[:, 1], torch.ones(7))
    torch.testing.assert_close(result[:, 2], torch.zeros(7), rtol=0, atol=1e-6)


def test_order_zero_changes_nothing():
    features = torch.randn(1, 6, 4)
    assert torch.equal(add_deltas(features, torch.tensor([6]), 0), features)
