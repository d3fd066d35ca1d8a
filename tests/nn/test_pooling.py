"""One vector an utterance: equal to loops written out, whatever the padding holds."""

import math

import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.pooling import AttentionPooling, PoolingConfig, build_pooling

LENGTHS = torch.tensor([5, 1, 3])
KINDS = [("last", 2), ("last", 0), ("mean", 0), ("attention", 0)]
every_kind = pytest.mark.parametrize(("kind", "backward"), KINDS)


def build(kind, backward):
    encoder = EncoderConfig(units=2 if backward else 4, bidirectional=backward > 0)
    return build_pooling(PoolingConfig(kind=kind, size=3), encoder).double()


def states():
    return torch.randn(3, 6, 4, dtype=torch.float64)


def written_out(pooling, rows, kind, backward):
    """The pooling of one utterance without padding, value by value."""
    frames = rows.tolist()
    if kind == "last":
        return [frames[-1][i] if i < 4 - backward else frames[0][i] for i in range(4)]
    weights = [1 / len(frames)] * len(frames)
    if kind == "attention":
        hidden, query = pooling.hidden, pooling.query.weight[0].tolist()
        matrix, bias = hidden.weight.tolist(), hidden.bias.tolist()
        energies = []
        for frame in frames:
            units = [
                math.tanh(sum(w * x for w, x in zip(row, frame, strict=True)) + b)
                for row, b in zip(matrix, bias, strict=True)
            ]
            energies.append(math.exp(sum(q * u for q, u in zip(query, units, strict=True))))
        weights = [energy / sum(energies) for energy in energies]
    return [sum(w * frame[i] for w, frame in zip(weights, frames, strict=True)) for i in range(4)]


@every_kind
def test_pooling_equals_loops_over_frames(kind, backward):
    pooling, frames = build(kind, backward), states()
    pooled = pooling(frames, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = torch.tensor(written_out(pooling, frames[row, :length], kind, backward), dtype=torch.float64)
        torch.testing.assert_close(pooled[row], expected)


@every_kind
@pytest.mark.parametrize("noise", [1e6, float("nan"), float("inf")])
def test_the_padding_may_hold_anything(kind, backward, noise):
    pooling, frames = build(kind, backward), states()
    expected = pooling(frames, LENGTHS)
    spoilt = frames.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        spoilt[row, length:] = noise
    assert torch.equal(pooling(spoilt, LENGTHS), expected)
    alone = torch.cat([pooling(frames[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(alone, expected)


@every_kind
def test_gradients(kind, backward):
    pooling = build(kind, backward)
    parameters = list(pooling.parameters())

    def pooled(frames, *_):
        return pooling(frames, LENGTHS)

    frames = states().requires_grad_()
    assert torch.autograd.gradcheck(pooled, (frames, *parameters))
    (gradient,) = torch.autograd.grad(pooled(frames).square().sum(), frames)
    for row, length in enumerate(LENGTHS.tolist()):
        assert (gradient[row, length:] == 0).all() and (gradient[row, 0] != 0).any() | (kind == "last")


def test_attention_weights_sum_to_one_within_the_utterance():
    pooling = AttentionPooling(4, 3).double()
    weights = pooling.weights(states(), LENGTHS)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert all((weights[row, length:] == 0).all() for row, length in enumerate(LENGTHS.tolist()))
    assert (weights[1, 0] == 1).all()


def test_an_impossible_size_is_named():
    with pytest.raises(UsageError, match=r"pooling\.size"):
        PoolingConfig(size=0)
