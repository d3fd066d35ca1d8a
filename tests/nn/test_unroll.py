"""The decoder in one piece equals the decoder step by step, values and gradients."""

import sys

import pytest
import torch

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.unroll import unroll


@pytest.fixture(autouse=True, params=[128, 3], ids=["few", "many"])
def frames_that_are_few(request, monkeypatch):
    """Alignments are filtered by a product up to so many frames, by a convolution beyond."""
    monkeypatch.setattr(sys.modules[unroll.__module__], "_FEW", request.param)


def make(frames=9, batch=3, steps=4, width=5):
    attention = AttentionConfig(size=6, filters=3, width=width)
    decoder = Decoder(DecoderConfig(units=7, embedding=4, dropout=0.0), attention, 5, 11).double()
    encoded = torch.randn(batch, frames, 5, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([frames, 1, frames - 2])[:batch]
    embedded = torch.randn(batch, steps, 4, dtype=torch.float64, requires_grad=True)
    return decoder, encoded, lengths, embedded


def in_one_piece(decoder, embedded, memory):
    return unroll(embedded, memory, decoder.cells[0], decoder.attention)


def step_by_step(decoder, embedded, memory):
    state, states = decoder.start(memory), []
    for token in embedded.unbind(1):
        state = decoder.advance(token, state, memory)
        states.append((state.hidden[:, -1], state.context, state.alignment))
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))


def gradients(way, outputs, decoder, encoded, lengths, embedded):
    results = way(decoder, embedded, decoder.memory(encoded, lengths))
    weights = [torch.linspace(-1, 2, r.numel(), dtype=r.dtype).reshape(r.shape) for r in results]
    loss = sum((weights[i] * results[i]).sum() for i in outputs)
    wanted = [encoded, embedded, *decoder.cells.parameters(), *decoder.attention.parameters()]
    return torch.autograd.grad(loss, wanted)


@pytest.mark.parametrize(("frames", "width", "steps"), [(9, 5, 4), (4, 31, 3), (12, 1, 1)])
def test_equals_steps(frames, width, steps):
    decoder, encoded, lengths, embedded = make(frames=frames, width=width, steps=steps)
    memory = decoder.memory(encoded, lengths)
    pairs = zip(in_one_piece(decoder, embedded, memory), step_by_step(decoder, embedded, memory), strict=True)
    for ours, expected in pairs:
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("outputs", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_gradients_equal_those_of_steps(outputs):
    given = make()
    pairs = zip(gradients(in_one_piece, outputs, *given), gradients(step_by_step, outputs, *given), strict=True)
    for ours, expected in pairs:
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("unchecked")
def test_gradient_equals_finite_differences():
    decoder, encoded, lengths, embedded = make(frames=4, steps=3)
    assert torch.autograd.gradcheck(
        lambda e, x: in_one_piece(decoder, x, decoder.memory(e, lengths)), (encoded, embedded), fast_mode=True
    )


def test_weights_may_be_frozen():
    decoder, encoded, lengths, embedded = make()
    decoder.requires_grad_(False)
    hidden, _, _ = in_one_piece(decoder, embedded, decoder.memory(encoded, lengths))
    hidden.sum().backward()
    assert encoded.grad is not None and all(p.grad is None for p in decoder.parameters())


def test_autocast_stays_near_float32():
    decoder, encoded, lengths, embedded = make()
    decoder, encoded, embedded = decoder.float(), encoded.float(), embedded.float()
    exact = in_one_piece(decoder, embedded, decoder.memory(encoded, lengths))
    with torch.autocast("cpu", torch.bfloat16):
        coarse = in_one_piece(decoder, embedded, decoder.memory(encoded, lengths))
    for ours, expected in zip(coarse, exact, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0.03)
