import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.encoder import Encoder, EncoderConfig
from seq2seq_asr.nn.regularisation import RegularisationConfig

LENGTHS = torch.tensor([13, 5, 1, 8])
OPTIONS = [
    {},
    {"cell": "gru"},
    {"layer_norm": False},
    {"convolutions": (2, 3)},
    {"convolutions": (2,), "front_end": "vgg"},
    {"bidirectional": False, "projection": 5},
    {"projection": 3, "layer_norm": False},
    *({"reduce": reduce, "residual": True} for reduce in ("drop", "max", "mean", "convolution")),
    {"cell": "peephole_lstm", "regularisation": RegularisationConfig(zoneout=0.2, zoneout_memory=0.3)},
]
every_option = pytest.mark.parametrize("settings", OPTIONS, ids=str)


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


@pytest.mark.parametrize("reductions", [(2, 2, 2), (3, 1)])
@every_option
def test_states_are_the_same_alone_and_in_any_batch(settings, reductions):
    encoder = build(reductions=reductions, **settings)
    features = padded(LENGTHS, extra=3)
    states, lengths = encoder(features, LENGTHS)
    assert torch.equal(lengths, encoder.encoded_lengths(LENGTHS))
    assert states.shape[2] == encoder.size == encoder.config.size
    for b, length in enumerate(LENGTHS.tolist()):
        alone, _ = encoder(features[b : b + 1, :length], LENGTHS[b : b + 1])
        kept = int(lengths[b])
        torch.testing.assert_close(states[b, :kept], alone[0])
        assert (states[b, kept:] == 0).all()


@every_option
def test_gradients_stay_within_the_utterance_and_reach_every_parameter(settings):
    encoder = build(reductions=(2, 1), dropout=0.0, **settings).train()
    features = padded(LENGTHS, extra=2).requires_grad_()
    states, _ = encoder(features, LENGTHS)
    (own,) = torch.autograd.grad(states[1].square().sum(), features, retain_graph=True)
    assert (own[1, :5] != 0).any()
    assert (own[[0, 2, 3]] == 0).all()
    states.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


@every_option
@pytest.mark.usefixtures("unchecked")
def test_gradients_equal_finite_differences(settings):
    encoder = Encoder(EncoderConfig(units=2, reductions=(1, 2), **settings), 2).double().eval()
    features, lengths = torch.randn(2, 5, 2, dtype=torch.float64), torch.tensor([5, 3])
    keep = (torch.arange(5) < lengths[:, None]).unsqueeze(-1)
    inputs = (features.requires_grad_(), *encoder.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: encoder(x * keep, lengths)[0], inputs, fast_mode=True)


def test_one_direction_does_not_look_ahead():
    encoder = build(bidirectional=False, reductions=(2, 1), projection=3)
    features = padded(torch.tensor([12]))
    states, _ = encoder(features, torch.tensor([12]))
    for heard in (4, 8):
        early, _ = encoder(features[:, :heard], torch.tensor([heard]))
        torch.testing.assert_close(early, states[:, : heard // 2])


def test_projection_residual_and_norm_stand_where_they_should():
    encoder = build(reductions=(1, 1), projection=3, residual=True)
    features = padded(torch.tensor([6]))
    states, first = encoder(features, torch.tensor([6]))[0], None
    for layer, project, norm in zip(encoder.layers, encoder.projections, encoder.norms, strict=True):
        below = features if first is None else first
        projected = layer(below, torch.tensor([6])) @ project.weight.T + project.bias
        first = norm(projected if first is None else projected + first)
    torch.testing.assert_close(states, first)


def test_noise_on_the_weights_is_drawn_anew_each_time_while_training_alone():
    encoder = build(regularisation=RegularisationConfig(weight_noise=0.1), dropout=0.0)
    features = padded(LENGTHS)
    assert torch.equal(encoder(features, LENGTHS)[0], encoder(features, LENGTHS)[0])
    encoder.train()
    assert not torch.equal(encoder(features, LENGTHS)[0], encoder(features, LENGTHS)[0])


def test_variational_dropout_leaves_the_same_features_at_every_step():
    encoder = build(dropout=0.5, regularisation=RegularisationConfig(variational=True)).train()
    states, _ = encoder(padded(torch.tensor([40, 40])), torch.tensor([40, 40]))
    dropped = states == 0
    assert (dropped == dropped[:, :1]).all() and dropped.any() and not dropped.all()


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
        ("projection", {"projection": -1}),
        ("front_end", {"front_end": "vgg"}),
        ("residual", {"residual": True}),
        ("residual", {"residual": True, "reductions": (2,), "reduce": "max"}),
        ("regularisation.zoneout_memory", {"cell": "gru", "regularisation": RegularisationConfig(zoneout_memory=0.1)}),
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
