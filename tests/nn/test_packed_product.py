"""A product with arranged weights is the product."""

import pytest
import torch

from seq2seq_asr.nn.packed_product import PackedProduct

SHAPES = [(1, 1, 1), (3, 7, 5), (8, 256, 131), (130, 33, 64)]


@pytest.fixture(params=["arranged", "plain"])
def _way(request, monkeypatch) -> None:
    if request.param == "plain":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    elif not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch without oneDNN")


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("count", "size", "out"), SHAPES)
def test_it_is_the_product(count, size, out, with_bias) -> None:
    rows, weights = torch.randn(count, size), torch.randn(out, size).t().requires_grad_()
    bias = torch.randn(out) if with_bias else None
    product = PackedProduct(weights, bias)
    wanted = rows.double() @ weights.detach().double() + (0 if bias is None else bias)
    with torch.inference_mode():
        found = product(rows)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(product(rows), found) and found.dtype == torch.float32
        torch.testing.assert_close(product(rows.t().contiguous().t()), found)


@pytest.mark.usefixtures("_way")
def test_it_keeps_the_weights_as_they_were() -> None:
    weights, bias = torch.randn(4, 6).t(), torch.randn(4)
    product, rows = PackedProduct(weights, bias), torch.randn(3, 6)
    wanted = rows @ weights + bias
    weights.zero_(), bias.zero_()
    with torch.inference_mode():
        torch.testing.assert_close(product(rows), wanted)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_a_row_is_the_same_among_others() -> None:
    product, rows = PackedProduct(torch.randn(256, 131), torch.randn(131)), torch.randn(200, 256)
    with torch.inference_mode():
        every = product(rows)
        for count in (1, 3, 8, 16, 33):
            assert torch.equal(product(rows[:count]), every[:count])
        assert torch.equal(product(rows[7:8]), every[7:8])
