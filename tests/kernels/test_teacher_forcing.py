"""The decoder by kernels equals the decoder step by step in float64: values and every gradient."""

import copy
from functools import partial

import pytest
import torch

pytest.importorskip("triton")
from seq2seq_asr.kernels import teacher_forcing  # noqa: E402
from seq2seq_asr.kernels.places import Place  # noqa: E402
from seq2seq_asr.kernels.tiles import Tiles  # noqa: E402
from seq2seq_asr.nn import fused_decoder  # noqa: E402
from seq2seq_asr.nn.attention import AttentionConfig, Memory  # noqa: E402
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig  # noqa: E402

SINGLE, HALF = 1e-5, 1e-2
SMALL = Tiles(
    frames=16, size=16, summed=16, taps=16, mixed=16, units=16, batch=16, outputs=16, inner=16, splits=2
)  # fmt: skip


def build(encoder=6, units=7, size=6, **options):
    attention = AttentionConfig(size=size, **{"filters": 2, "width": 5} | options)
    return Decoder(DecoderConfig(units=units, embedding=4, dropout=0.0), attention, encoder, 11)


def draw(decoder, batch=2, steps=2, frames=7, lengths=None):
    """Encoded frames, their lengths and embedded tokens."""
    encoded = torch.randn(batch, frames, decoder.encoder_size)
    lengths = lengths or [frames, frames - 3][:batch]
    return encoded, torch.tensor(lengths), torch.randn(batch, steps, 4)


def by_kernels(decoder, embedded, memory, how=None):
    return fused_decoder.unroll(embedded, memory, decoder.cells[0], decoder.attention, how)


def step_by_step(decoder, embedded, memory):
    state, states = decoder.start(memory), []
    for token in embedded.unbind(1):
        state = decoder.advance(token, state, memory)
        states.append((state.output, state.context, state.alignment))
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))


def forward(way, decoder, batch, dtype=None):
    """Results, and a function that gives the gradients of their weighted sum."""
    encoded, lengths, embedded = batch
    given = [x.clone().to(dtype or x.dtype).requires_grad_() for x in (encoded, embedded)]
    results = way(decoder, given[1], decoder.memory(given[0], lengths))
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(r.shape, generator=generator) for r in results]
    loss = sum((w.to(r.dtype) * r).sum() for w, r in zip(weights, results, strict=True))
    wanted = [*given, *decoder.cells.parameters(), *decoder.attention.parameters()]
    return results, lambda: torch.autograd.grad(loss, wanted)


def relative(ours, expected):
    """Distance in the mean square, as a share of what is expected."""
    return float((ours.detach().double() - expected.detach()).norm() / expected.detach().norm().clamp(min=1e-9))


def check(decoder, batch, way=by_kernels):
    assert not fused_decoder.why_not(decoder.memory(*batch[:2]), decoder.attention, batch[2].shape[1])
    ours, our_gradients = forward(way, decoder, batch)
    exact = copy.deepcopy(decoder).double()
    expected, gradients = forward(step_by_step, exact, batch, torch.float64)
    pairs = zip([*ours, *our_gradients()], [*expected, *gradients()], strict=True)
    assert all(relative(*pair) < SINGLE for pair in pairs)


@pytest.mark.parametrize(
    ("kind", "heads"),
    [
        ("location", 1),
        ("additive", 1),
        ("scaled_dot", 2),
        *(pytest.param(*other, marks=pytest.mark.nightly) for other in (("location", 2), ("dot", 1))),
    ],
)
def test_equals_steps(kind, heads):
    decoder = build(kind=kind, heads=heads)
    check(decoder, draw(decoder))


@pytest.mark.parametrize(
    ("shape", "width"),
    [
        ({"batch": 1, "steps": 1, "frames": 1}, 5),
        pytest.param({"batch": 1, "steps": 3, "frames": 35}, 31, marks=pytest.mark.nightly),
        ({"batch": 2, "steps": 2, "frames": 4, "lengths": [2, 4]}, 1),
    ],
    ids=str,
)
def test_any_shape(shape, width):
    decoder = build(width=width)
    check(decoder, draw(decoder, **shape))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("heads", "steps", "lengths", "options"),
    [(1, 1, [17, 1, 16, 15, *range(2, 15)], {"filters": 1, "width": 3}), (2, 3, [17, 3], {"width": 19, "filters": 17})],
    ids=["utterances", "heads, taps and channels"],
)
def test_many_tiles(heads, steps, lengths, options):
    """Two of everything, frames, attention size and units included; the sums are shared."""
    decoder = build(units=17, size=18 * heads, heads=heads, **options)
    check(
        decoder,
        draw(decoder, batch=len(lengths), steps=steps, frames=17, lengths=lengths),
        partial(by_kernels, how=teacher_forcing.How(tiles=SMALL)),
    )


def test_bfloat16_storage():
    """Keys and frames in half precision, all sums in single: the reference gets the rounded ones."""
    decoder = build(size=16, units=24)
    encoded, lengths, embedded = draw(decoder, frames=12)
    drawn = encoded.bfloat16(), torch.randn(2, 12, 16).bfloat16()
    ours, exact = (
        [x.detach().to(dtype, copy=True).requires_grad_() for x in drawn] for dtype in (torch.bfloat16, torch.float64)
    )
    found = by_kernels(decoder, embedded, Memory(ours[0], lengths, ours[1]))
    expected = step_by_step(decoder.double(), embedded.double(), Memory(exact[0], lengths, exact[1]))
    assert all(relative(*pair) < HALF for pair in zip(found, expected, strict=True))
    weights = [torch.randn(x.shape) for x in found]
    for results in (found, expected):
        sum((w.to(x.dtype) * x).sum() for w, x in zip(weights, results, strict=True)).backward()
    assert all(relative(one.grad, other.grad) < HALF for one, other in zip(ours, exact, strict=True))


@pytest.mark.nightly
def test_autocast():
    decoder = build(size=16, units=24)
    batch = draw(decoder, batch=2, steps=4, frames=12)
    with torch.autocast("cpu", torch.bfloat16):
        ours, our_gradients = forward(by_kernels, decoder, batch)
    assert all(x.dtype == torch.float32 for x in ours)
    expected, gradients = forward(step_by_step, copy.deepcopy(decoder).double(), batch, torch.float64)
    pairs = zip([*ours, *our_gradients()], [*expected, *gradients()], strict=True)
    assert all(relative(*pair) < 2 * HALF for pair in pairs)  # the linear layers around the loop round, too


def one_place(batch, steps, frames, monkeypatch):
    """A place that all batches get, as on a GPU."""
    places = []

    def find(sizes, device, storage, replay):
        if not places:
            rounded = sizes._replace(batch=batch, steps=steps, frames=frames)
            places.append(Place(rounded, device, storage))
        return places[0]

    monkeypatch.setattr(teacher_forcing, "find_place", find)
    return places


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_batch_may_be_smaller_than_its_place(monkeypatch):
    """What an earlier, larger batch has left is not seen, be it finite or not."""
    decoder = build()
    places = one_place(2, 3, 7, monkeypatch)
    encoded, lengths, embedded = draw(decoder, steps=3, lengths=[6, 7])
    results, gradients = forward(by_kernels, decoder, (encoded * torch.nan, lengths, embedded * torch.nan))
    gradients()
    check(decoder, draw(decoder, batch=1, steps=2, frames=5, lengths=[6]))  # the length marks the whole row
    assert len(places) == 1


def test_two_batches_before_their_gradients(monkeypatch):
    decoder = build()
    one_place(1, 2, 4, monkeypatch)
    first, second = (draw(decoder, batch=1, steps=2, frames=4) for _ in range(2))
    together = [forward(by_kernels, decoder, batch)[1] for batch in (first, second)]
    apart = [forward(by_kernels, decoder, batch)[1]() for batch in (first, second)]
    for gradients, expected in zip(together, apart, strict=True):
        for ours, theirs in zip(gradients(), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_weights_may_be_frozen():
    decoder = build()
    decoder.requires_grad_(False)
    encoded, lengths, embedded = draw(decoder)
    encoded.requires_grad_()
    hidden, _, _ = by_kernels(decoder, embedded, decoder.memory(encoded, lengths))
    hidden.sum().backward()
    assert encoded.grad is not None and all(p.grad is None for p in decoder.parameters())


@pytest.mark.parametrize(
    "options",
    [
        *({"kind": kind} for kind in ("general", "coverage", "forward", "gaussian", "mocha", "none")),
        {"cumulative": True},
        {"window": 3},
        {"smoothing": True},
        {"kind": "dot", "heads": 2, "encoder": 5},
    ],
    ids=str,
)
def test_what_is_not_supported(options):
    decoder = build(**options)
    assert fused_decoder.why_not(decoder.memory(*draw(decoder)[:2]), decoder.attention, 4)


def test_double_precision_is_not_supported():
    decoder = build().double()
    encoded, lengths, _ = draw(decoder)
    assert fused_decoder.why_not(decoder.memory(encoded.double(), lengths), decoder.attention, 4)
