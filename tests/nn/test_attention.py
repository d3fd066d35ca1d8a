import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.attention import Attention, AttentionConfig, Memory, build_attention

Kind = Literal["location", "additive", "dot"]
LENGTHS = torch.tensor([7, 3, 1])
every_kind = pytest.mark.parametrize("kind", ["location", "additive", "dot"])


def build(kind: Kind) -> Attention:
    return build_attention(AttentionConfig(kind=kind, size=5, filters=2, width=3), 4, 6).double()


def inputs(attention: Attention, garbage: float = 0.0) -> tuple[Tensor, Memory, Tensor]:
    """Decoder states, memory and an alignment of the step before; the padding of the memory holds ``garbage``."""
    encoded = torch.randn(3, 7, 4, dtype=torch.float64)
    previous = torch.rand(3, 7, dtype=torch.float64)
    for row, weights, length in zip(encoded, previous, LENGTHS.tolist(), strict=True):
        row[length:] = garbage
        weights[length:] = 0
    previous = previous / previous.sum(1, keepdim=True)
    return torch.randn(3, 6, dtype=torch.float64), attention.memory(encoded, LENGTHS), previous


def energy(attention: Attention, kind: str, query: Tensor, key: Tensor, previous: list[float], s: int) -> float:
    """The papers' sums for one frame, a number at a time."""
    if kind == "dot":
        return sum(float(q) * float(k) for q, k in zip(query, key, strict=True)) / math.sqrt(len(query))
    weights = dict(attention.named_parameters())
    inner = [float(q) + float(k) for q, k in zip(query, key, strict=True)]
    if kind == "location":
        for channel, taps in enumerate(weights["filters.weight"][:, 0].tolist()):
            seen = [(s + place - 1, tap) for place, tap in enumerate(taps)]
            value = sum(tap * previous[t] for t, tap in seen if 0 <= t < len(previous))
            inner = [x + value * float(row[channel]) for x, row in zip(inner, weights["location.weight"], strict=True)]
    return sum(float(w) * math.tanh(x) for w, x in zip(weights["score.weight"][0], inner, strict=True))


@every_kind
@torch.no_grad()
def test_attention_equals_the_written_out_sums(kind):
    attention = build(kind)
    state, memory, previous = inputs(attention)
    context, alignment = attention(state, memory, previous)
    for b, length in enumerate(LENGTHS.tolist()):
        query = attention.query.weight @ state[b] + attention.query.bias
        keys = [attention.key.weight @ frame for frame in memory.encoded[b]]
        row = previous[b].tolist()
        powers = [math.exp(energy(attention, kind, query, keys[s], row, s)) for s in range(length)]
        weights = [power / sum(powers) for power in powers]
        expected = sum(weight * memory.encoded[b, s] for s, weight in enumerate(weights))
        torch.testing.assert_close(alignment[b, :length].tolist(), weights)
        torch.testing.assert_close(context[b], expected)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_alignment_sums_to_one_and_is_exactly_zero_on_padding(kind, dtype):
    attention = build(kind)
    state, memory, previous = inputs(attention, garbage=50.0)
    attention.to(dtype)
    memory = attention.memory(memory.encoded.to(dtype), LENGTHS)
    context, alignment = attention(state.to(dtype), memory, previous.to(dtype))
    assert context.dtype == dtype and alignment.dtype == torch.float32
    torch.testing.assert_close(alignment.sum(1), torch.ones(3))
    assert (alignment >= 0).all()
    for row, length in zip(alignment, LENGTHS.tolist(), strict=True):
        assert (row[length:] == 0).all()


@every_kind
def test_result_is_the_same_alone_and_beside_others_whatever_the_padding(kind):
    attention = build(kind)
    state, memory, previous = inputs(attention, garbage=1e4)
    context, alignment = attention(state, memory, previous)
    for b, length in enumerate(LENGTHS.tolist()):
        one = slice(b, b + 1)
        alone = attention.memory(memory.encoded[one, :length], LENGTHS[one])
        expected = attention(state[one], alone, previous[one, :length])
        torch.testing.assert_close(context[one], expected[0])
        torch.testing.assert_close(alignment[one, :length], expected[1])


@every_kind
def test_no_gradient_reaches_the_padding_and_every_parameter_gets_one(kind):
    attention = build(kind)
    state, memory, previous = inputs(attention)
    encoded = memory.encoded.detach().requires_grad_()
    context, _ = attention(state, attention.memory(encoded, LENGTHS), previous)
    context.square().sum().backward()
    for row, length in zip(encoded.grad, LENGTHS.tolist(), strict=True):
        assert (row[:length] != 0).all() and (row[length:] == 0).all()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


@every_kind
def test_gradients_are_those_of_finite_differences(kind):
    attention = build(kind)
    state, memory, previous = inputs(attention)

    def attend(state: Tensor, encoded: Tensor, previous: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        names = [name for name, _ in attention.named_parameters()]
        own = dict(zip(names, weights, strict=True))
        keys = encoded @ own["key.weight"].T
        return torch.func.functional_call(attention, own, (state, Memory(encoded, LENGTHS, keys), previous))

    leaves = [x.detach().requires_grad_() for x in (state, memory.encoded, previous, *attention.parameters())]
    assert torch.autograd.gradcheck(attend, leaves)


@every_kind
def test_it_starts_on_the_first_frame(kind):
    attention = build(kind)
    _, memory, _ = inputs(attention)
    start = attention.start(memory)
    assert start.dtype == memory.encoded.dtype
    assert start.tolist() == [[1.0] + [0.0] * 6] * 3


def test_select_reorders_and_repeats_everything():
    _, memory, _ = inputs(build("dot"))
    chosen = memory.select(torch.tensor([2, 0, 0, 1]))
    assert isinstance(chosen, Memory)
    for part, whole in zip(chosen, memory, strict=True):
        assert torch.equal(part, torch.stack([whole[2], whole[0], whole[0], whole[1]]))


@pytest.mark.parametrize(
    ("field", "settings"), [("size", {"size": 0}), ("filters", {"filters": 0}), ("width", {"width": 4})]
)
def test_impossible_settings_are_named(field, settings):
    with pytest.raises(UsageError, match=f"attention.{field}"):
        AttentionConfig(**settings)
