"""Whether a kernel is used: on a GPU, when it can be, and never against the user's word."""

import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn import fused
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.classifier import build_model
from seq2seq_asr.nn.decoder import DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.model import ModelConfig
from seq2seq_asr.nn.recurrent import BidirectionalLayer
from seq2seq_asr.nn.regularisation import RegularisationConfig
from seq2seq_asr.nn.specaugment import SpecAugmentConfig

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LENGTHS = torch.tensor([4, 2])


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(fused, "_SAID", set())


def model(**settings):
    config = ModelConfig(
        features=FeaturesConfig(kind="precomputed", bins=3),
        encoder=EncoderConfig(units=4, reductions=(1, 2)),
        **settings,
    )
    return build_model(config, 7)


@pytest.mark.parametrize("kernels", ["auto", "off", "require"])
@pytest.mark.parametrize("task", [{}, {"task": "classify"}])
def test_the_models_choice_reaches_every_recurrent_layer(kernels, task):
    layers = [one for one in model(kernels=kernels, **task).modules() if isinstance(one, BidirectionalLayer)]
    assert [one.kernels for one in layers] == [kernels] * 2


def test_no_other_choice():
    with pytest.raises(Exception, match="kernels"):
        model(kernels="perhaps")


@pytest.mark.parametrize("kernels", ["auto", "off"])
def test_a_cpu_keeps_to_pytorch_and_says_nothing(kernels, monkeypatch, capsys):
    monkeypatch.setattr(fused, "_plan", lambda *given: pytest.fail("asked for a plan"))
    layer, frames = BidirectionalLayer("lstm", 3, 4), torch.randn(2, 4, 3)
    layer.kernels = kernels
    assert fused.recurrent_states([layer.ahead, layer.back], frames, LENGTHS, kernels) is None
    assert layer(frames, LENGTHS).shape == (2, 4, 8)
    assert capsys.readouterr().err == ""


def test_without_triton_it_is_said_why(monkeypatch):
    monkeypatch.setattr(fused, "find_spec", lambda name: None)
    layer = BidirectionalLayer("lstm", 3, 4)
    layer.kernels = "require"
    with pytest.raises(UsageError, match="model.kernels: require, but .*recurrent layers.*Triton is not installed"):
        layer(torch.randn(2, 4, 3), LENGTHS)


def assert_refused(reason, layer, frames):
    pytest.importorskip("triton")
    layer.kernels = "require"
    with pytest.raises(UsageError, match=reason):
        layer(frames, LENGTHS)


def test_a_cell_without_a_kernel_is_refused():
    assert_refused("none for this cell", BidirectionalLayer("light_gru", 3, 4), torch.randn(2, 4, 3))


@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm", "elman"])
def test_what_happens_between_steps_is_refused(cell):
    layer = BidirectionalLayer(cell, 3, 4, None, RegularisationConfig(zoneout=0.1))
    assert_refused("between its steps", layer, torch.randn(2, 4, 3))


def test_double_precision_is_refused():
    assert_refused("float64", BidirectionalLayer("lstm", 3, 4).double(), torch.randn(2, 4, 3, dtype=torch.float64))


def test_a_cpu_is_refused(monkeypatch):
    recurrent = pytest.importorskip("seq2seq_asr.kernels.recurrent")
    monkeypatch.setattr(recurrent, "INTERPRETED", False)  # as it is outside of tests
    assert_refused("the device is cpu", BidirectionalLayer("lstm", 3, 4), torch.randn(2, 4, 3))


def test_on_a_gpu_it_is_said_once_what_computes(capsys):
    for _ in range(2):
        assert fused.chosen("auto", GPU, "recurrent layers", None)
        assert not fused.chosen("auto", GPU, "recurrent layers", "2000 hidden units, more than 1024")
        assert not fused.chosen("off", GPU, "recurrent layers", None)
    assert capsys.readouterr().err.splitlines() == [
        "recurrent layers: Triton kernel",
        "recurrent layers: PyTorch, not the Triton kernel: 2000 hidden units, more than 1024",
    ]


def test_another_process_speaks(monkeypatch, capsys):
    monkeypatch.setattr(fused, "_is_follower", lambda: True)
    assert fused.chosen("auto", GPU, "recurrent layers", None)
    assert capsys.readouterr().err == ""


def test_products_are_computed_as_autocast_says():
    values = torch.randn(2)
    assert fused.compute_dtype(values) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert fused.compute_dtype(values) == torch.bfloat16


@pytest.mark.parametrize(
    ("cell", "reductions"),
    [
        ("lstm", (1, 2)),
        ("gru", (1,)),
        *(pytest.param(*cell, marks=pytest.mark.nightly) for cell in (("peephole_lstm", (1,)), ("elman_relu", (1, 2)))),
    ],
)
def test_a_recogniser_trains_with_kernels_as_without(cell, reductions):
    pytest.importorskip("triton")
    config = EncoderConfig(cell=cell, units=4, reductions=reductions, dropout=0.0, bidirectional=reductions != (1,))
    features = FeaturesConfig(kind="precomputed", bins=3)
    small = {
        "decoder": DecoderConfig(units=6, embedding=4),
        "attention": AttentionConfig(size=5, filters=2, width=3),
        "specaugment": SpecAugmentConfig(frequency_masks=0, time_masks=0),
    }
    net = build_model(ModelConfig(features=features, encoder=config, **small), 7)
    given = torch.randn(2, 6, 3), torch.tensor([6, 3]), torch.tensor([[4, 5], [6, 0]]), torch.tensor([2, 1])
    found = []
    for kernels in ("require", "off"):
        fused.set_kernels(net.eval(), kernels)
        loss = net(*given).total.sum()
        found.append([loss, *torch.autograd.grad(loss, list(net.parameters()))])
    for mine, reference in zip(*found, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=1e-4)
