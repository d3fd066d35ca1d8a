"""An outline has a model's shapes, takes no memory, and needs none of torch's compiler."""

from typing import get_args

import pytest
import torch

from seq2seq_asr.nn.cells import CellKind
from seq2seq_asr.nn.classifier import build_model
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.model import ModelConfig
from seq2seq_asr.nn.outline import outlined


@pytest.mark.parametrize("cell", get_args(CellKind))
def test_shapes_are_the_models(cell):
    encoder = EncoderConfig(cell=cell, units=8, reductions=(2,), convolutions=(4,))
    config = ModelConfig(encoder=encoder, decoder=DecoderConfig(cell=cell, units=8, embedding=4))
    model = build_model(config, 7)
    with outlined():
        parts = {"encoder": type(model.encoder)(config.encoder, 80), "decoder": None}
        parts["decoder"] = Decoder(config.decoder, config.attention, parts["encoder"].size, 7)
    for name, part in parts.items():
        assert all(parameter.is_meta for parameter in part.parameters())
        shapes = {key: value.shape for key, value in part.state_dict().items()}
        assert shapes == {key: value.shape for key, value in getattr(model, name).state_dict().items()}
    assert not torch.nn.Linear(2, 2).weight.is_meta, "only within"


def test_a_model_beyond_all_memory_has_an_outline():
    with outlined():
        layer = torch.nn.Embedding(10**9, 10**6)
    assert layer.weight.shape == (10**9, 10**6)


def test_the_first_values_are_left_out(monkeypatch):
    """Drawing on the meta device goes through `torch._refs`, which imports torch's compiler."""
    drawn = []
    monkeypatch.setattr(torch.nn.init, "_no_grad_normal_", lambda *_: drawn.append("normal"))
    with outlined():
        torch.nn.Embedding(3, 2)
    assert drawn == []
    torch.nn.Embedding(3, 2)
    assert drawn == ["normal"], "this is what would be called"
