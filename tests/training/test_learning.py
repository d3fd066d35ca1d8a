"""Every cell and every attention learns a toy by heart: patterns of features that stand for tokens."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.attention.config import AttentionKind
from seq2seq_asr.nn.cells import CellKind
from seq2seq_asr.nn.decoder import DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.nn.regularisation import RegularisationConfig
from seq2seq_asr.nn.specaugment import SpecAugmentConfig
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.strict_yaml import from_mapping, to_mapping

BINS, VOCABULARY, REPEATS = 6, 8, 4
TEXTS = [(4, 5, 6), (7, 4), (5, 5, 7, 6), (6,), (7, 6, 5), (4, 4)]
CASES: list[dict[str, Any]] = [{"cell": cell} for cell in get_args(CellKind)]
CASES += [{"kind": kind} for kind in get_args(AttentionKind) if kind != "location"]
CASES += [{"kind": "scaled_dot", "heads": 2}]
REGULARISED = RegularisationConfig(
    variational=True, recurrent_dropout=0.05, zoneout=0.05, zoneout_memory=0.05, weight_noise=0.01
)
OPTIONS: dict[str, dict[str, Any]] = {
    "parallel": {"kind": "additive", "decoder": {"context": "parallel", "layers": 2, "residual": True}},
    "tied": {"decoder": {"projection": 8, "tied": True, "layer_norm": True}},
    "guided": {"guided_weight": 1.0},
    "regularised": {
        "cell": "lstm",
        "encoder": {"regularisation": REGULARISED, "dropout": 0.05},
        "decoder": {"regularisation": REGULARISED, "dropout": 0.05},
    },
    "vgg, one way": {"encoder": {"convolutions": (2,), "front_end": "vgg", "reductions": (1,), "bidirectional": False}},
    **{
        reduce: {"encoder": {"reduce": reduce, "projection": 16, "residual": True}}
        for reduce in ("drop", "max", "mean", "convolution")
    },
}
CASES += [{"name": name, **option} for name, option in OPTIONS.items()]


def toy() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features in which each token is its own pattern for four frames, and the tokens."""
    patterns = torch.randn(VOCABULARY, BINS)
    rows = [patterns[list(text)].repeat_interleave(REPEATS, dim=0) for text in TEXTS]
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in TEXTS], batch_first=True)
    inputs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return inputs + 0.1 * torch.randn(inputs.shape), lengths, tokens, torch.tensor([len(text) for text in TEXTS])


TWINS = ("drop", "max", "mean")
"""Ways to join frames that differ from others in a line of `nn/reduction.py`, which has tests of its own."""
every_case = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.nightly) if case.get("name") in TWINS else case for case in CASES],
    ids=lambda case: case.get("name", "-".join(map(str, case.values()))),
)


def build(case: dict[str, Any]) -> Seq2Seq:
    cell = case.get("cell", "gru")
    attention = AttentionConfig(
        kind=case.get("kind", "location"),
        heads=case.get("heads", 1),
        size=16,
        filters=2,
        width=5,
        chunk=2,
        noise=case.get("noise", 4.0),  # enough for sure decisions within a hundred steps
    )
    config = ModelConfig(
        features=FeaturesConfig(kind="precomputed", bins=BINS),
        specaugment=SpecAugmentConfig(frequency_masks=0, time_masks=0),
        encoder=EncoderConfig(
            **{"cell": cell, "units": 24, "reductions": (2, 1), "dropout": 0.0, **case.get("encoder", {})}
        ),
        attention=attention,
        decoder=DecoderConfig(**{"cell": cell, "units": 32, "embedding": 8, "dropout": 0.0, **case.get("decoder", {})}),
        label_smoothing=0.0,
        guided_weight=case.get("guided_weight", 0.0),
    )
    return Seq2Seq(config, VOCABULARY)


@every_case
def test_bfloat16_stays_near_float32(case):
    model, batch = build({**case, "noise": 0.0}), toy()
    model.train("regularised" not in case.values())  # its noise would not be the same twice
    exact = model(*batch).total
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*batch).total
    torch.testing.assert_close(rough, exact, rtol=0.03, atol=0.05)
    rough.sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def transcribe(model: Seq2Seq, inputs: Tensor, lengths: Tensor) -> list[tuple[int, ...]]:
    model.eval()
    with torch.inference_mode():
        encoded = model.encode(inputs, lengths)
        found = greedy_search(AttentionScorer(model.decoder, model.memory(encoded)), encoded.lengths)
    model.train()
    return [hypothesis.tokens for hypothesis in found]


@every_case
def test_a_toy_is_learnt_by_heart(case):
    model = build(case)
    inputs, lengths, tokens, counts = toy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for step in range(150):
        if step % 10 == 0 and transcribe(model, inputs, lengths) == TEXTS:
            return
        losses = model(inputs, lengths, tokens, counts)
        optimizer.zero_grad()
        (losses.total.sum() / losses.tokens.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert transcribe(model, inputs, lengths) == TEXTS


@every_case
def test_it_is_saved_and_loaded(case, tmp_path):
    model, (inputs, lengths, tokens, counts) = build(case).eval(), toy()
    torch.save(model.state_dict(), tmp_path / "weights")
    config = from_mapping(ModelConfig, to_mapping(model.config))
    loaded = Seq2Seq(config, VOCABULARY).eval()
    loaded.load_state_dict(torch.load(tmp_path / "weights", weights_only=True))
    assert config == model.config
    assert torch.equal(loaded(inputs, lengths, tokens, counts).total, model(inputs, lengths, tokens, counts).total)
    assert len({value.data_ptr() for value in model.state_dict().values()}) == len(model.state_dict()), (
        "export wants it"
    )
