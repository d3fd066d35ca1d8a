from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.nn.masks import ceil_division
from seq2seq_asr.nn.reduction import Reduction, ReductionKind

every_kind = pytest.mark.parametrize("kind", get_args(ReductionKind))


def written_out(reduction, frames):
    """One utterance ``(T, F)``, a group at a time."""
    factor, out = reduction.factor, []
    for start in range(0, len(frames), factor):
        group = [frames[t] for t in range(start, min(start + factor, len(frames)))]
        match reduction.kind:
            case "concatenate":
                out.append(torch.cat([*group, *[torch.zeros_like(frames[0])] * (factor - len(group))]))
            case "drop":
                out.append(group[0])
            case "max":
                out.append(torch.stack(group).max(dim=0).values)
            case "mean":
                out.append(sum(group) / len(group))
            case "convolution":
                total = reduction.convolution.bias if factor > 1 else group[0]
                for tap in range(2 * factor - 1) if factor > 1 else ():
                    t = start + tap - factor + 1
                    if 0 <= t < len(frames):
                        total = total + reduction.convolution.weight[:, :, tap] @ frames[t]
                out.append(total)
    return torch.stack(out) if out else torch.zeros(0, reduction.size, dtype=frames.dtype)


@every_kind
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 3), st.integers(1, 4))
def test_equals_a_loop_for_each_utterance_of_a_batch(kind, lengths, extra, factor):
    reduction = Reduction(kind, factor, 2).double()
    frames = torch.randn(len(lengths), max(lengths) + extra + 1, 2, dtype=torch.float64) - 3
    for row, length in zip(frames, lengths, strict=True):
        row[length:] = 0
    fewer, shorter = reduction(frames, torch.tensor(lengths))
    assert shorter.tolist() == [len(range(0, length, factor)) for length in lengths]
    assert torch.equal(ceil_division(torch.tensor(lengths), factor), shorter)
    assert fewer.shape == (len(lengths), -(-frames.shape[1] // factor), reduction.size)
    for row, short, length, whole in zip(fewer, shorter.tolist(), lengths, frames, strict=True):
        torch.testing.assert_close(row[:short], written_out(reduction, whole[:length]))
        assert (row[short:] == 0).all()


@every_kind
def test_gradients_equal_finite_differences(kind):
    reduction = Reduction(kind, 2, 2).double()
    frames = torch.randn(2, 5, 2, dtype=torch.float64)
    frames[1, 3:] = 0
    lengths = torch.tensor([5, 3])
    inputs = (frames.requires_grad_(), *reduction.parameters())
    keep = (torch.arange(5) < lengths[:, None]).unsqueeze(-1)  # the padding is zero, whatever the values around
    assert torch.autograd.gradcheck(lambda x, *_: reduction(x * keep, lengths)[0], inputs)


@every_kind
def test_a_factor_of_one_changes_nothing_and_has_no_weights(kind):
    reduction, frames = Reduction(kind, 1, 3), torch.randn(2, 4, 3)
    assert reduction(frames, torch.tensor([4, 2]))[0] is frames
    assert not list(reduction.parameters()) and reduction.size == 3
