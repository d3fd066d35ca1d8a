"""Dropout keeps the mean, drops the stated share independently, and follows torch's seed."""

import pytest
import torch

from seq2seq_asr.nn.dropout import Dropout


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_share_and_mean(probability):
    values = Dropout(probability)(torch.ones(200_000))
    assert (values == 0).double().mean().item() == pytest.approx(probability, abs=0.006)
    assert values.double().mean().item() == pytest.approx(1.0, abs=0.03)
    assert len(values.unique()) == 2


def test_almost_all_may_drop():
    values = Dropout(0.999999)(torch.ones(400_000))
    assert set(values.unique().tolist()) <= {0.0, 2.0**16}


def test_neighbours_drop_independently():
    dropped = (Dropout(0.5)(torch.ones(400_000)) == 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8):  # four values share 64 random bits
        assert abs((dropped[lag:] * dropped[:-lag]).mean().item()) < 0.003


def test_gradient_goes_where_values_stay():
    x = torch.randn(3, 5, 7, requires_grad=True)
    out = Dropout(0.4)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(out, x * gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_dtype_stay(dtype):
    for shape in [(0,), (1,), (3, 1, 5), (2, 0)]:
        out = Dropout(0.3)(torch.ones(shape, dtype=dtype))
        assert out.shape == shape and out.dtype == dtype


def test_seed_decides():
    def draw():
        torch.manual_seed(5)
        return Dropout(0.5)(torch.ones(50))

    assert torch.equal(draw(), draw())


def test_nothing_drops_in_evaluation_or_at_zero():
    x = torch.randn(100)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
