import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.encoder import Encoder, EncoderConfig, join_frames
from seq2seq_asr.nn.masks import ceil_division

LENGTHS = torch.tensor([13, 5, 1, 8])


def build(**settings) -> Encoder:
    """A small encoder whose normalisation, if any, is as it may be after training."""
    encoder = Encoder(EncoderConfig(units=4, **settings), 3).double().eval()
    for norm in encoder.norms:
        for parameter in norm.parameters():
            nn.init.normal_(parameter)
    return encoder


def padded(lengths: torch.Tensor, extra: int = 0) -> torch.Tensor:
    """Random features, zero past each length."""
    features = torch.randn(len(lengths), int(lengths.max()) + extra, 3, dtype=torch.float64)
    for row, length in zip(features, lengths.tolist(), strict=True):
        row[length:] = 0
    return features


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 3), st.integers(1, 4))
def test_joining_equals_a_loop(lengths, extra, factor):
    size = max(lengths) + extra
    frames = torch.randn(len(lengths), size, 2)
    joined, shorter = join_frames(frames, torch.tensor(lengths), factor)
    groups = -(-size // factor)
    expected = torch.zeros(len(lengths), groups, factor * 2)
    for b in range(len(lengths)):
        for t in range(size):
            place = t % factor * 2
            expected[b, t // factor, place : place + 2] = frames[b, t]
    assert torch.equal(joined, expected)
    assert shorter.tolist() == [len(range(0, length, factor)) for length in lengths]
    assert torch.equal(ceil_division(torch.tensor(lengths), factor), shorter)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_encoder_equals_packed_layers_with_the_same_weights(cell, layer_norm):
    encoder = build(cell=cell, reductions=(1, 2, 3), layer_norm=layer_norm)
    features = padded(LENGTHS).requires_grad_()
    states, lengths = encoder(features, LENGTHS)

    expected, left = features, LENGTHS
    for factor, layer, norm in zip((1, 2, 3), encoder.layers, encoder.norms, strict=True):
        groups = -(-expected.shape[1] // factor)
        expected = nn.functional.pad(expected, (0, 0, 0, groups * factor - expected.shape[1]))
        expected = torch.cat([expected[:, i::factor] for i in range(factor)], dim=2)
        left = torch.tensor([-(-length // factor) for length in left.tolist()])
        twin = getattr(nn, cell.upper())(expected.shape[2], 4, batch_first=True, bidirectional=True).double()
        back = {f"{name}_reverse": value for name, value in layer.back.state_dict().items()}
        twin.load_state_dict({**layer.ahead.state_dict(), **back})
        packed = pack_padded_sequence(expected, left, batch_first=True, enforce_sorted=False)
        rows = pad_packed_sequence(twin(packed)[0], batch_first=True)[0]
        valid = [norm(row[:length]) for row, length in zip(rows, left.tolist(), strict=True)]
        expected = nn.utils.rnn.pad_sequence(valid, batch_first=True)
    torch.testing.assert_close(states, expected)
    assert torch.equal(lengths, left)

    weights = torch.randn_like(states)
    (gradient,) = torch.autograd.grad((states * weights).sum(), features, retain_graph=True)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), features)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("reductions", [(2, 2, 2), (1,), (3, 2)])
@pytest.mark.parametrize("settings", [{}, {"cell": "gru"}, {"layer_norm": True}, {"convolutions": (2, 3)}])
def test_states_are_the_same_alone_and_in_any_batch(settings, reductions):
    encoder = build(reductions=reductions, **settings)
    features = padded(LENGTHS, extra=3)
    states, lengths = encoder(features, LENGTHS)
    assert torch.equal(lengths, encoder.encoded_lengths(LENGTHS))
    for b, length in enumerate(LENGTHS.tolist()):
        alone, _ = encoder(features[b : b + 1, :length], LENGTHS[b : b + 1])
        kept = int(lengths[b])
        torch.testing.assert_close(states[b, :kept], alone[0])
        assert (states[b, kept:] == 0).all()


@pytest.mark.parametrize("settings", [{}, {"convolutions": (3,), "reductions": (2, 1)}])
def test_gradients_stay_within_the_utterance_and_reach_every_parameter(settings):
    encoder = build(layer_norm=True, **settings).train()
    features = padded(LENGTHS, extra=2).requires_grad_()
    states, _ = encoder(features, LENGTHS)
    (own,) = torch.autograd.grad(states[1].square().sum(), features, retain_graph=True)
    assert (own[1, :5] != 0).any()
    assert (own[[0, 2, 3]] == 0).all()
    states.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


def test_dropout_works_while_training_alone():
    encoder, features = build(dropout=0.5), padded(LENGTHS)
    assert torch.equal(encoder(features, LENGTHS)[0], encoder(features, LENGTHS)[0])
    encoder.train()
    zeros = [float((encoder(features, LENGTHS)[0][0] == 0).double().mean()) for _ in range(20)]
    assert 0.3 < sum(zeros) / len(zeros) < 0.7


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("reductions", {"reductions": ()}),
        ("reductions", {"reductions": (2, 0)}),
        ("convolutions", {"convolutions": (4, 0)}),
        ("units", {"units": 0}),
        ("dropout", {"dropout": 1.0}),
        ("dropout", {"dropout": -0.1}),
    ],
)
def test_impossible_settings_are_named(field, settings):
    with pytest.raises(UsageError, match=f"encoder.{field}"):
        EncoderConfig(**settings)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2))
def test_reduction_is_how_many_frames_one_state_spans(reductions, convolutions):
    config = EncoderConfig(units=1, reductions=tuple(reductions), convolutions=(1,) * convolutions)
    encoder = Encoder(config, 1)
    whole = torch.tensor([7 * config.reduction, 7 * config.reduction + 1])
    assert encoder.encoded_lengths(whole).tolist() == [7, 8]
