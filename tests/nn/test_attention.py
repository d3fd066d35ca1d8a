import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.attention import AnyAttention, AttentionConfig, Memory, build_attention, looks_back
from seq2seq_asr.nn.attention.base import Attended
from seq2seq_asr.nn.attention.config import AttentionKind

LENGTHS = torch.tensor([7, 3, 1])
CONFIGS = [
    *({"kind": kind} for kind in get_args(AttentionKind)),
    {"kind": "location", "cumulative": True},
    {"kind": "location", "window": 2},
    {"kind": "additive", "smoothing": True},
    *({"kind": kind, "heads": 2} for kind in get_args(AttentionKind) if kind != "none"),
    {"kind": "none", "fixed_feeds": "start"},
]
every_attention = pytest.mark.parametrize(
    "settings", CONFIGS, ids=lambda settings: "-".join(map(str, settings.values()))
)


def configured(settings: dict[str, Any]) -> AttentionConfig:
    return AttentionConfig(size=6, filters=2, width=3, mixtures=2, chunk=2, noise=0.0, **settings)


def build(settings: dict[str, Any]) -> AnyAttention:
    return build_attention(configured(settings), 4, 6).double()


def padded(garbage: float = 0.0) -> Tensor:
    encoded = torch.randn(3, 7, 4, dtype=torch.float64)
    for row, length in zip(encoded, LENGTHS.tolist(), strict=True):
        row[length:] = garbage
    return encoded


def steps(attention: AnyAttention, encoded: Tensor, lengths: Tensor, states: Tensor) -> list[Attended]:
    """Attend with one state after the other."""
    memory = attention.memory(encoded, lengths)
    trace, found = attention.start(memory), []
    for state in states:
        found.append(attention(state, memory, trace))
        trace = found[-1].trace
    return found


def written_out(settings: dict[str, Any], weights: dict[str, Tensor], states: list[Tensor], frames: Tensor) -> list:
    """The papers' sums for one utterance and one head, a number at a time: context and alignment of every step."""
    size, last = len(frames), [1.0] + [0.0] * (len(frames) - 1)
    total, means, found = [0.0] * size, [0.0, 0.0], []
    for state in states:
        if settings["kind"] == "gaussian":
            energies = gaussian_energies(weights, state, means, size)
        else:
            energies = [energy(settings, weights, state, frames[s], last, total, s) for s in range(size)]
        if settings.get("smoothing"):
            powers = [1 / (1 + math.exp(-x)) for x in energies]
        else:
            powers = [math.exp(x) for x in energies]
        if settings["kind"] == "forward":
            powers = [power * (last[s] + (last[s - 1] if s else 0.0)) for s, power in enumerate(powers)]
        if settings.get("window"):
            median = next(s for s in range(size) if sum(last[: s + 1]) >= 0.5)
            powers = [power if abs(s - median) <= settings["window"] else 0.0 for s, power in enumerate(powers)]
        last = [power / sum(powers) for power in powers]
        total = [before + now for before, now in zip(total, last, strict=True)]
        found.append((sum(weight * frame for weight, frame in zip(last, frames, strict=True)), last))
    return found


def energy(settings, weights, state, frame, last, total, s) -> float:
    query, key = state, weights["key.weight"] @ frame
    if settings["kind"] != "general":
        query = weights["query.weight"] @ state + weights["query.bias"]
    if settings["kind"] in ("dot", "scaled_dot", "general"):
        scale = math.sqrt(len(query)) if settings["kind"] == "scaled_dot" else 1.0
        return sum(float(q) * float(k) for q, k in zip(query, key, strict=True)) / scale
    inner = [float(q) + float(k) for q, k in zip(query, key, strict=True)]
    if settings["kind"] == "coverage":
        inner = [x + total[s] * float(w) for x, w in zip(inner, weights["covered.weight"][:, 0], strict=True)]
    if settings["kind"] == "location":
        previous = total if settings.get("cumulative") else last
        for channel, taps in enumerate(weights["filters.weight"][:, 0].tolist()):
            seen = [(s + place - 1, tap) for place, tap in enumerate(taps)]
            value = sum(tap * previous[t] for t, tap in seen if 0 <= t < len(previous))
            inner = [x + value * float(row[channel]) for x, row in zip(inner, weights["location.weight"], strict=True)]
    return sum(float(w) * math.tanh(x) for w, x in zip(weights["score.weight"][0], inner, strict=True))


def gaussian_energies(weights: dict[str, Tensor], state: Tensor, means: list[float], size: int) -> list[float]:
    """Logarithms of the mixture at every frame, the first of which is 1; moves the means, which begin at 0."""
    given = (weights["query.weight"] @ state + weights["query.bias"]).tolist()
    for k in range(2):
        means[k] += math.log(1 + math.exp(given[4 + k] + math.log(math.e - 1)))
    widths = [math.log(1 + math.exp(given[2 + k])) for k in range(2)]
    return [
        math.log(sum(math.exp(given[k]) * math.exp(-widths[k] * (means[k] - u) ** 2) for k in range(2)))
        for u in range(1, size + 1)
    ]


ELSEWHERE = ("none", "mocha")
"""Kinds written out in a test of their own."""


@pytest.mark.parametrize(
    "settings", [one for one in CONFIGS if one["kind"] not in ELSEWHERE and "heads" not in one], ids=str
)
@torch.no_grad()
def test_attention_equals_the_written_out_sums(settings):
    attention, encoded, states = build(settings), padded(), torch.randn(3, 3, 6, dtype=torch.float64)
    found = steps(attention, encoded, LENGTHS, states)
    for b, length in enumerate(LENGTHS.tolist()):
        own = dict(attention.named_parameters())
        expected = written_out(settings, own, list(states[:, b]), encoded[b, :length])
        for step, (context, weights) in zip(found, expected, strict=True):
            torch.testing.assert_close(step.alignment[b, :length].tolist(), weights)
            torch.testing.assert_close(step.context[b], context)


@torch.no_grad()
def test_heads_attend_on_their_own():
    attention, encoded, states = build({"kind": "location", "heads": 2}), padded(), torch.randn(3, 3, 6).double()
    found = steps(attention, encoded, LENGTHS, states)
    single = [steps(head, encoded, LENGTHS, states) for head in attention.heads]
    for step, *heads in zip(found, *single, strict=True):
        contexts = [head.context @ value.weight.T for head, value in zip(heads, attention.values, strict=True)]
        torch.testing.assert_close(step.context, torch.cat(contexts, dim=1))
        torch.testing.assert_close(step.alignment, (heads[0].alignment + heads[1].alignment) / 2)


@torch.no_grad()
def test_a_window_stands_around_the_median_of_the_last_alignment():
    """A peak on one frame, far from where most of the weight lies, does not move it."""
    attention = build({"kind": "location", "window": 2})
    trace = torch.zeros(1, 12, dtype=torch.float64)
    trace[0, [2, 9, 10]] = torch.tensor([0.4, 0.35, 0.25], dtype=torch.float64)
    memory = attention.memory(torch.randn(1, 12, 4, dtype=torch.float64), torch.tensor([12]))
    found = attention(torch.randn(1, 6, dtype=torch.float64), memory, trace)
    assert found.alignment[0].nonzero().flatten().tolist() == [7, 8, 9, 10, 11]


@pytest.mark.usefixtures("unchecked")
def test_a_gaussian_tells_late_frames_apart_in_bfloat16():
    attention = build({"kind": "gaussian"}).to(torch.bfloat16)
    torch.nn.init.zeros_(attention.get_parameter("query.weight"))  # every mean moves one frame a step
    encoded = torch.zeros(1, 400, 4, dtype=torch.bfloat16)
    found = steps(attention, encoded, torch.tensor([400]), torch.zeros(301, 1, 6, dtype=torch.bfloat16))
    assert [int(step.alignment.argmax()) for step in found] == list(range(301))


def test_a_fixed_vector_joins_the_last_state_ahead_and_the_first_state_back():
    encoded, state = padded(), torch.randn(1, 3, 6, dtype=torch.float64)
    (found,) = steps(build({"kind": "none"}), encoded, LENGTHS, state)
    for b, length in enumerate(LENGTHS.tolist()):
        assert found.context[b].tolist() == [*encoded[b, length - 1, :2].tolist(), *encoded[b, 0, 2:].tolist()]
        assert found.alignment[b, length - 1] == 1
    one_way = build_attention(AttentionConfig(kind="none"), 4, 6, bidirectional=False)
    (found,) = steps(one_way, encoded, LENGTHS, state)
    assert torch.equal(
        found.context, torch.stack([encoded[b, length - 1] for b, length in enumerate(LENGTHS.tolist())])
    )
    (found,) = steps(build({"kind": "none", "fixed_feeds": "start"}), encoded, LENGTHS, state)
    assert (found.context == 0).all()


@every_attention
def test_all_steps_at_once_are_the_steps_of_a_kind_that_does_not_look_back(settings):
    attention, encoded = build(settings), padded(garbage=1e4)
    states, memory = torch.randn(3, 3, 6, dtype=torch.float64), attention.memory(encoded, LENGTHS)
    if looks_back(configured(settings)):
        first, second = (attention(states[0], memory, trace).alignment for trace in traces(attention, memory, states))
        assert not torch.allclose(first, second), "it says that it looks back"
        return
    contexts, alignments = attention.together(states.transpose(0, 1), memory)
    for u, step in enumerate(steps(attention, encoded, LENGTHS, states)):
        torch.testing.assert_close(contexts[:, u], step.context)
        torch.testing.assert_close(alignments[:, u], step.alignment)


def traces(attention: AnyAttention, memory: Memory, states: Tensor) -> tuple[Tensor, Tensor]:
    """Before the first step, and after it."""
    start = attention.start(memory)
    return start, attention(states[1], memory, start).trace


@every_attention
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_alignment_sums_to_one_and_is_exactly_zero_on_padding(settings, dtype):
    attention = build(settings).to(dtype)
    found = steps(attention, padded(garbage=50.0).to(dtype), LENGTHS, torch.randn(3, 3, 6, dtype=dtype))
    for step in found:
        assert step.context.dtype == dtype
        torch.testing.assert_close(step.alignment.float().sum(1), torch.ones(3))
        assert (step.alignment >= 0).all()
        for row, length in zip(step.alignment, LENGTHS.tolist(), strict=True):
            assert (row[length:] == 0).all()


@every_attention
def test_result_is_the_same_alone_and_beside_others_whatever_the_padding(settings):
    attention, encoded, states = build(settings), padded(garbage=1e4), torch.randn(3, 3, 6, dtype=torch.float64)
    found = steps(attention, encoded, LENGTHS, states)
    for b, length in enumerate(LENGTHS.tolist()):
        one = slice(b, b + 1)
        alone = steps(attention, encoded[one, :length], LENGTHS[one], states[:, one])
        for step, expected in zip(found, alone, strict=True):
            torch.testing.assert_close(step.context[one], expected.context)
            torch.testing.assert_close(step.alignment[one, :length], expected.alignment)


@every_attention
def test_no_gradient_reaches_the_padding_and_every_parameter_gets_one(settings):
    attention, encoded = build(settings), padded().requires_grad_()
    found = steps(attention, encoded, LENGTHS, torch.randn(3, 3, 6, dtype=torch.float64))
    if settings.get("fixed_feeds") == "start":
        return  # what feeds the start alone gives a step nothing
    sum(step.context.square().sum() for step in found).backward()
    for row, length in zip(encoded.grad, LENGTHS.tolist(), strict=True):
        assert (row[:length] != 0).any() and (row[length:] == 0).all()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


@every_attention
@pytest.mark.usefixtures("unchecked")
def test_gradients_are_those_of_finite_differences(settings):
    attention, encoded = build(settings), padded()
    states = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)

    def attend(states: Tensor, encoded: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        return tuple(part for step in steps(attention, encoded, LENGTHS, states) for part in step[:2])

    inputs = [states, encoded.requires_grad_(), *attention.parameters()]
    assert torch.autograd.gradcheck(attend, inputs, fast_mode=settings["kind"] != "none")  # whose zeros it cannot take


@pytest.mark.parametrize("kind", ["location", "additive", "dot", "forward"])
def test_it_starts_on_the_first_frame(kind):
    attention = build({"kind": kind})
    memory = attention.memory(padded(), LENGTHS)
    start = attention.start(memory)
    assert start.dtype == memory.encoded.dtype
    assert start.tolist() == [[1.0] + [0.0] * 6] * 3


@pytest.mark.parametrize("settings", [{"kind": "coverage"}, {"kind": "location", "cumulative": True}])
def test_a_sum_of_alignments_is_of_those_there_were(settings):
    """Zero at first, and 1 after the first step (See et al. 2017, equation 10)."""
    attention = build(settings)
    memory = attention.memory(padded(), LENGTHS)
    start = attention.start(memory)
    assert not start.any() and start.dtype == memory.encoded.dtype
    state = torch.zeros(3, attention.query.in_features, dtype=start.dtype)
    _, alignment, trace = attention(state, memory, start)
    assert torch.equal(trace, alignment)


def test_select_reorders_and_repeats_everything():
    memory = build({"kind": "dot"}).memory(padded(), LENGTHS)
    chosen = memory.select(torch.tensor([2, 0, 0, 1]))
    assert isinstance(chosen, Memory)
    for part, whole in zip(chosen, memory, strict=True):
        assert torch.equal(part, torch.stack([whole[2], whole[0], whole[0], whole[1]]))


@every_attention
def test_hypotheses_that_share_a_memory_find_what_they_would_in_copies_of_it(settings):
    attention, states = build(settings), torch.randn(2, 9, 6, dtype=torch.float64)
    memory = attention.memory(padded(), LENGTHS)
    thrice = torch.arange(3).repeat_interleave(3)
    copies = memory.select(thrice)
    shared = apart = attention.start(copies)
    for state in states:
        together, alone = attention(state, memory, shared), attention(state, copies, apart)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one, other)
        shared, apart = together.trace, alone.trace


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("size", {"size": 0}),
        ("filters", {"filters": 0}),
        ("width", {"width": 4}),
        ("width", {"width": -1}),
        ("chunk", {"chunk": 0}),
        ("noise", {"noise": -0.1}),
        ("noise", {"noise": float("inf")}),
        ("smoothing", {"kind": "mocha", "smoothing": True}),
        ("smoothing", {"kind": "forward", "smoothing": True}),
        ("smoothing", {"kind": "gaussian", "smoothing": True}),
        ("heads", {"heads": 3}),
        ("window", {"kind": "dot", "window": 3}),
        ("cumulative", {"kind": "forward", "cumulative": True}),
        ("window", {"window": 3, "cumulative": True}),
        ("heads", {"kind": "none", "heads": 2}),
    ],
)
def test_impossible_settings_are_named(field, settings):
    with pytest.raises(UsageError, match=f"attention.{field}"):
        AttentionConfig(**settings)
