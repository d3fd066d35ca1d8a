"""Monotonic chunkwise attention equals the papers' sums, in training and in recognition, and stays stable."""

import math

import pytest
import torch
from torch import Tensor

from seq2seq_asr.nn.attention import AttentionConfig, build_attention
from seq2seq_asr.nn.attention.mocha import (
    MonotonicChunkwiseAttention,
    expected_stops,
    next_stop,
    spread_over_chunks,
)

LENGTHS = torch.tensor([9, 4, 1])


def build(chunk: int = 3, noise: float = 0.0) -> MonotonicChunkwiseAttention:
    config = AttentionConfig(kind="mocha", size=5, chunk=chunk, noise=noise)
    attention = build_attention(config, 4, 6).double()
    assert isinstance(attention, MonotonicChunkwiseAttention)
    torch.nn.init.normal_(attention.gain, std=3)
    return attention


def attend(attention: MonotonicChunkwiseAttention, encoded: Tensor, lengths: Tensor, states: Tensor) -> list:
    memory = attention.memory(encoded, lengths)
    trace, found = attention.start(memory), []
    for state in states:
        found.append(attention(state, memory, trace))
        trace = found[-1].trace
    return found


def mlp(attention, state, frame):
    """Logit of stopping at a frame, and its energy within a chunk."""
    inner = torch.tanh(attention.key.weight @ frame + attention.query.weight @ state + attention.query.bias)
    direction = attention.direction / sum(x * x for x in attention.direction) ** 0.5
    return (
        float(attention.gain * (direction @ inner[:5]) + attention.offset),
        float(attention.score.weight[0] @ inner[5:]),
    )


def shared(stops: list[float], energies: list[float], chunk: int) -> list[float]:
    """Each stop's weight by the softmax over the frames of its chunk."""
    alignment = [0.0] * len(stops)
    for stop, weight in enumerate(stops):
        inside = range(max(0, stop - chunk + 1), stop + 1)
        total = sum(math.exp(energies[s]) for s in inside)
        for s in inside:
            alignment[s] += weight * math.exp(energies[s]) / total
    return alignment


def soft_stops(before: list[float], logits: list[float]) -> list[float]:
    """From every last stop on, the probability to pass all frames up to one and to stop there; the last one stops."""
    chances = [1 / (1 + math.exp(-x)) for x in logits[:-1]] + [1.0]
    return [
        sum(before[k] * math.prod(1 - chances[m] for m in range(k, s)) for k in range(s + 1)) * chances[s]
        for s in range(len(logits))
    ]


def hard_stops(before: list[float], logits: list[float]) -> list[float]:
    """The first frame from the last stop on that is more likely to stop than not."""
    place = before.index(1.0)
    while place < len(logits) - 1 and logits[place] <= 0:
        place += 1
    return [float(s == place) for s in range(len(logits))]


@pytest.mark.parametrize("chunk", [1, 3, 20])
@pytest.mark.parametrize(("training", "stops_of"), [(True, soft_stops), (False, hard_stops)])
@torch.no_grad()
def test_it_equals_the_written_out_sums(training, stops_of, chunk):
    attention = build(chunk).train(training)
    encoded, states = 2 * torch.randn(3, 9, 4, dtype=torch.float64), 2 * torch.randn(4, 3, 6, dtype=torch.float64)
    found = attend(attention, encoded, LENGTHS, states)
    for b, length in enumerate(LENGTHS.tolist()):
        stops, places = [1.0] + [0.0] * (length - 1), []
        for step, state in zip(found, states[:, b], strict=True):
            given = [mlp(attention, state, frame) for frame in encoded[b, :length]]
            stops = stops_of(stops, [logit for logit, _ in given])
            alignment = shared(stops, [energy for _, energy in given], chunk)
            torch.testing.assert_close(step.trace[b, :length].tolist(), stops)
            torch.testing.assert_close(step.alignment[b, :length].tolist(), alignment)
            frames = zip(alignment, encoded[b, :length], strict=True)
            torch.testing.assert_close(step.context[b], sum(weight * frame for weight, frame in frames))
            assert (step.alignment[b, length:] == 0).all() and (step.trace[b, length:] == 0).all()
            places.append(int(step.trace[b].argmax()))
        assert training or places == sorted(places)


@torch.no_grad()
def test_recognition_is_the_same_alone_and_beside_others_and_never_looks_behind_the_chunk():
    attention = build(chunk=2).eval()
    attention.offset.fill_(0.5)
    encoded, states = torch.randn(3, 9, 4, dtype=torch.float64), torch.randn(5, 3, 6, dtype=torch.float64)
    found = attend(attention, encoded, LENGTHS, states)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = attend(attention, encoded[b : b + 1, :length], LENGTHS[b : b + 1], states[:, b : b + 1])
        for step, expected in zip(found, alone, strict=True):
            torch.testing.assert_close(step.context[b], expected.context[0])
            assert step.alignment[b].sum().item() == pytest.approx(1) and (step.alignment[b] > 0).sum() <= 2
    heard = int(found[0].trace[0].argmax()) + 1
    changed = encoded.clone()
    changed[0, heard:] = 7.0
    again = attend(attention, changed, LENGTHS, states)
    assert heard < 9 and torch.equal(again[0].context[0], found[0].context[0])


def test_sure_logits_train_on_what_recognition_does():
    """Where every decision is sure, the mean over all stops is the one stop."""
    logits = 200 * torch.randn(4, 12, dtype=torch.float64)
    before = torch.nn.functional.one_hot(torch.tensor([0, 3, 11, 5]), 12).double()
    last = torch.arange(12).expand(4, -1) == 11
    expected = next_stop(logits, before, last)
    torch.testing.assert_close(expected_stops(logits, before, last), expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 60.0])
def test_expected_stops_stay_probabilities_on_long_utterances(scale):
    logits = scale * torch.randn(2, 3000) - 1
    last = torch.arange(3000).expand(2, -1) == 2999
    stops = torch.zeros(2, 3000)
    stops[:, 0] = 1
    exact = stops.double()
    for _ in range(5):
        stops = expected_stops(logits, stops, last)
        reached, rows = torch.zeros(2, dtype=torch.float64), []
        chances = logits.double().sigmoid().masked_fill(last, 1.0)
        for s in range(3000):  # the recurrence of Raffel et al. 2017, one frame after the other
            reached = reached + exact[:, s]
            rows.append(chances[:, s] * reached)
            reached = reached - rows[-1]
        exact = torch.stack(rows, dim=1)
        assert stops.isfinite().all() and (stops >= 0).all()
        torch.testing.assert_close(stops.double(), exact, rtol=0, atol=1e-3)


def test_gradients_of_long_utterances_are_finite():
    logits = (30 * torch.randn(1, 2000)).requires_grad_()
    before = torch.nn.functional.one_hot(torch.tensor([40]), 2000).float()
    stops = expected_stops(logits, before, torch.arange(2000)[None] == 1999)
    (gradient,) = torch.autograd.grad((stops * torch.arange(2000)).sum(), logits)
    assert gradient.isfinite().all() and (gradient != 0).any()


def test_chunks_of_far_apart_energies_are_each_a_softmax():
    energies = torch.tensor([[0.0, 300.0, 300.0, -300.0, -300.0]])
    found = spread_over_chunks(torch.eye(5), energies.expand(5, -1), 2)
    expected = torch.tensor(
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0.5, 0.5]]
    )
    torch.testing.assert_close(found, expected)


def test_noise_is_drawn_while_training_alone():
    attention, encoded, states = build(noise=1.0), torch.randn(1, 9, 4).double(), torch.randn(2, 1, 6).double()
    twice = [attend(attention, encoded, torch.tensor([9]), states)[1].alignment for _ in range(2)]
    assert not torch.equal(*twice)
    attention.eval()
    twice = [attend(attention, encoded, torch.tensor([9]), states)[1].alignment for _ in range(2)]
    assert torch.equal(*twice)


def test_the_gradient_of_training_reaches_when_to_stop_and_where_to_look():
    attention = build(noise=1.0)
    found = attend(attention, torch.randn(3, 9, 4).double(), LENGTHS, torch.randn(3, 3, 6).double())
    sum(step.context.square().sum() for step in found).backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name
