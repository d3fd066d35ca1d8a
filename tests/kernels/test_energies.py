"""Additive energies without their tanh layer in memory equal the written-out ones."""

import pytest
import torch

pytest.importorskip("triton")
from seq2seq_asr.kernels.energies import additive_energies  # noqa: E402


def written_out(query, keys, score):
    rows = query.unflatten(0, (len(keys), -1))
    return (torch.tanh(rows.unsqueeze(2) + keys.unsqueeze(1)) @ score).flatten(0, 1)


@pytest.mark.parametrize(
    ("batch", "rows", "frames", "size"), [(1, 1, 1, 1), (2, 3, 5, 6), (2, 1, 33, 33), (1, 5, 40, 17)], ids=str
)
def test_equals_the_written_out_ones(batch, rows, frames, size):
    given = torch.randn(batch * rows, size), torch.randn(batch, frames, size), torch.randn(size)
    outer = torch.randn(batch * rows, frames)
    ours, expected = ([x.to(dtype).requires_grad_() for x in given] for dtype in (torch.float32, torch.float64))
    energies, exact = additive_energies(*ours), written_out(*expected)
    torch.testing.assert_close(energies.double(), exact, rtol=1e-5, atol=1e-5)
    found, wanted = torch.autograd.grad(energies, ours, outer), torch.autograd.grad(exact, expected, outer.double())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


def test_half_precision_keys():
    query, keys, score = torch.randn(4, 16), torch.randn(2, 20, 16).bfloat16().requires_grad_(), torch.randn(16)
    energies = additive_energies(query, keys, score)
    assert energies.dtype == torch.float32
    exact = written_out(query.double(), keys.double(), score.double())
    torch.testing.assert_close(energies.double(), exact, rtol=1e-5, atol=1e-5)
    energies.sum().backward()
    assert keys.grad is not None and keys.grad.dtype == torch.bfloat16
