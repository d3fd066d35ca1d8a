"""The whole classifier: equal to its parts written out, alone and in a batch; encoders of several sizes."""

import math

import pytest
import torch
from torch import nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.classifier import Classifier, build_model
from seq2seq_asr.nn.encoder import Encoder, EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.nn.pooling import PoolingConfig

LENGTHS = torch.tensor([9, 4, 7])


def config(kind="last", smoothing=0.1, **encoder):
    return ModelConfig(
        task="classify",
        features=FeaturesConfig(kind="precomputed", bins=3, normalisation="none"),
        encoder=EncoderConfig(**{"units": 4, "reductions": (2, 1), **encoder}),
        pooling=PoolingConfig(kind=kind, size=3),
        label_smoothing=smoothing,
    )


def features(extra=0):
    inputs = torch.randn(3, 9 + extra, 3)
    for row, length in zip(inputs, LENGTHS.tolist(), strict=True):
        row[length:] = 0
    return inputs


@torch.no_grad()
def test_losses_equal_sums_written_out():
    model, inputs = Classifier(config(smoothing=0.2), 5).eval(), features()
    classes = torch.tensor([[4], [0], [2]])
    losses = model(inputs, LENGTHS, classes, torch.ones(3, dtype=torch.long))
    encoded = model.encode(inputs, LENGTHS)
    for row, (true,) in enumerate(classes.tolist()):
        length = int(encoded.lengths[row])
        last = torch.cat([encoded.states[row, length - 1, :4], encoded.states[row, 0, 4:]]).tolist()
        scores = [
            sum(w * x for w, x in zip(weights, last, strict=True)) + bias
            for weights, bias in zip(model.output.weight.tolist(), model.output.bias.tolist(), strict=True)
        ]
        total = math.log(sum(map(math.exp, scores)))
        nats = [total - score for score in scores]
        assert float(losses.total[row]) == pytest.approx(0.8 * nats[true] + 0.2 * sum(nats) / 5, rel=1e-5)
        assert float(losses.right[row]) == float(nats[true] == min(nats))
    assert losses.tokens.tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["last", "mean", "attention"])
@pytest.mark.parametrize("encoder", [{}, {"bidirectional": False}, {"layer_units": (5, 2)}])
def test_probabilities_are_the_same_alone_and_in_any_batch(kind, encoder):
    model, inputs = Classifier(config(kind, **encoder), 5).eval(), features(extra=4)
    together = model.log_probs(inputs, LENGTHS)
    torch.testing.assert_close(together.exp().sum(dim=1), torch.ones(3))
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model.log_probs(inputs[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["last", "mean", "attention"])
def test_the_gradient_reaches_every_parameter(kind):
    model = Classifier(config(kind), 5)
    losses = model(features(), LENGTHS, torch.tensor([[1], [0], [4]]), torch.ones(3, dtype=torch.long))
    losses.total.sum().backward()
    for name, parameter in model.named_parameters():
        # Softmax over the frames does not see what is added to every score; the query has no bias for that reason.
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


@pytest.mark.parametrize("bidirectional", [True, False])
def test_layers_of_differing_sizes_equal_layers_in_a_row(bidirectional):
    settings = EncoderConfig(
        layer_units=(5, 2, 3), reductions=(1, 1, 1), bidirectional=bidirectional, layer_norm=False, dropout=0.0
    )
    encoder = Encoder(settings, 3).double()
    states = torch.randn(2, 6, 3, dtype=torch.float64)
    found, _ = encoder(states, torch.tensor([6, 6]))
    expected = states
    for units, layer in zip((5, 2, 3), encoder.layers, strict=True):
        twin = nn.LSTM(expected.shape[2], units, batch_first=True, bidirectional=bidirectional).double()
        back = {f"{name}_reverse": value for name, value in layer.back.state_dict().items()} if bidirectional else {}
        twin.load_state_dict({**layer.ahead.state_dict(), **back})
        expected, _ = twin(expected)
    torch.testing.assert_close(found, expected)
    assert encoder.size == settings.size == 3 * (1 + bidirectional)


def test_the_task_decides_what_is_built():
    assert type(build_model(config(), 5)) is Classifier
    assert type(build_model(ModelConfig(encoder=EncoderConfig(units=2)), 5)) is Seq2Seq


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("encoder.layer_units", {"layer_units": (4,)}),
        ("encoder.layer_units", {"layer_units": (4, 0)}),
        ("encoder.residual", {"layer_units": (4, 3), "residual": True, "reductions": (1, 1)}),
        ("encoder.projection", {"projection": 4}),
    ],
)
def test_what_does_not_fit_is_named(field, settings):
    with pytest.raises(UsageError, match=field):
        config(**settings)
