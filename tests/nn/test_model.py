from itertools import product
from typing import Literal

import pytest
import torch
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.losses import guided_attention
from seq2seq_asr.nn.model import Losses, ModelConfig, Seq2Seq
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

RATE = 8000
VOCABULARY = 9
TOKENS = torch.tensor([[4, 5, 5, 8], [6, 0, 0, 0], [7, 8, 0, 0]])
COUNTS = torch.tensor([4, 1, 2])
every_input = pytest.mark.parametrize("kind", ["fbank", "precomputed", "pitch"])
every_input_and_attention = pytest.mark.parametrize(
    ("kind", "attention"),
    [
        *((kind, "location") for kind in ("fbank", "precomputed", "pitch")),
        *(("precomputed", attention) for attention in ("additive", "dot")),
        # Attention comes after the encoder, which does not tell its inputs.
        *(pytest.param(*one, marks=pytest.mark.nightly) for one in product(("fbank", "pitch"), ("additive", "dot"))),
    ],
)


def build(kind: Literal["fbank", "precomputed", "pitch"] = "precomputed", **settings) -> Seq2Seq:
    attention = settings.pop("attention", "location")
    source: Literal["fbank", "precomputed"] = "precomputed" if kind == "precomputed" else "fbank"
    config = ModelConfig(
        features=FeaturesConfig(kind=source, rate=RATE, bins=12, deltas=1, pitch=kind == "pitch"),
        encoder=EncoderConfig(units=8, reductions=(2, 2), layer_norm=True),
        attention=AttentionConfig(kind=attention, size=6, filters=2, width=5),
        decoder=DecoderConfig(units=10, layers=2, embedding=6),
        **settings,
    )
    return Seq2Seq(config, VOCABULARY).eval()


def batch(kind: str, garbage: float = 0.0) -> tuple[Tensor, Tensor]:
    """Inputs of three utterances and their lengths."""
    lengths = torch.tensor([48, 9, 21]) if kind == "precomputed" else torch.tensor([4000, 900, 1750])
    inputs = torch.randn(3, 50, 12) if kind == "precomputed" else 0.1 * torch.randn(3, 4100)
    for row, length in zip(inputs, lengths.tolist(), strict=True):
        row[length:] = garbage
    return inputs, lengths


@every_input_and_attention
def test_all_an_utterance_yields_is_the_same_alone_and_in_any_batch(kind, attention):
    model = build(kind, attention=attention)
    inputs, lengths = batch(kind, garbage=0.7)
    encoded, losses = model.encode(inputs, lengths), model(inputs, lengths, TOKENS, COUNTS)
    for b, (length, count) in enumerate(zip(lengths.tolist(), COUNTS.tolist(), strict=True)):
        one = slice(b, b + 1)
        alone = model.encode(inputs[one, :length], lengths[one])
        kept = int(alone.lengths)
        assert int(encoded.lengths[b]) == kept == -(-int(model.features(inputs[one, :length], lengths[one])[1]) // 4)
        torch.testing.assert_close(encoded.states[one, :kept], alone.states, rtol=1e-4, atol=1e-5)
        expected = model(inputs[one, :length], lengths[one], TOKENS[one, :count], COUNTS[one])
        for name in ("total", "attention", "ctc", "right", "tokens"):
            result = getattr(losses, name)[one]
            torch.testing.assert_close(result, getattr(expected, name), rtol=1e-4, atol=1e-5)
        alignments = losses.alignments[one, : count + 1, :kept]
        torch.testing.assert_close(alignments, expected.alignments, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_batch_is_the_sum_of_its_utterances_gradients():
    model = build()
    inputs, lengths = batch("precomputed")
    parameters = list(model.parameters())
    together = torch.autograd.grad(model(inputs, lengths, TOKENS, COUNTS).total.sum(), parameters)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for b, length in enumerate(lengths.tolist()):
        one = slice(b, b + 1)
        loss = model(inputs[one, :length], lengths[one], TOKENS[one, : int(COUNTS[b])], COUNTS[one]).total.sum()
        for total, gradient in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
            total += gradient
    for gradient, expected in zip(together, sums, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


@every_input
@pytest.mark.parametrize("sampling", [0.0, 0.5])
def test_every_parameter_gets_a_finite_gradient_while_training(kind, sampling):
    model = build(kind).train()
    model(*batch(kind), TOKENS, COUNTS, sampling).total.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and (parameter.grad != 0).any(), name


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9])
def test_total_weighs_attention_and_ctc(weight):
    losses = build(ctc_weight=weight)(*batch("precomputed"), TOKENS, COUNTS)
    torch.testing.assert_close(losses.total, (1 - weight) * losses.attention + weight * losses.ctc)
    assert (losses.attention > 0).all() and bool((losses.ctc > 0).all()) == (weight > 0)
    assert losses.tokens.tolist() == [count + 1 for count in COUNTS.tolist()]
    assert ((losses.right >= 0) & (losses.right <= losses.tokens)).all()


def test_a_guided_model_adds_what_lies_off_the_diagonal():
    plain, guided = build(), build(guided_weight=2.0, guided_width=0.1)
    guided.load_state_dict(plain.state_dict())
    inputs = batch("precomputed")
    before, after = (model(*inputs, TOKENS, COUNTS) for model in (plain, guided))
    lengths = plain.encode(*inputs).lengths
    expected = guided_attention(before.alignments, COUNTS + 1, lengths, 0.1)
    assert (before.guided == 0).all() and (expected > 0).all()
    torch.testing.assert_close(after.guided, expected)
    torch.testing.assert_close(after.total, before.total + 2 * expected)


def test_losses_are_those_of_the_transcript_said_step_by_step():
    model = build(label_smoothing=0.0)
    inputs, lengths = batch("precomputed")
    losses = model(inputs, lengths, TOKENS, COUNTS)
    for b, (length, count) in enumerate(zip(lengths.tolist(), COUNTS.tolist(), strict=True)):
        encoded = model.encode(inputs[b : b + 1, :length], lengths[b : b + 1])
        memory, said = model.memory(encoded), [*TOKENS[b, :count].tolist(), EOS]
        state, read, total, right = model.decoder.start(memory), SOS, 0.0, 0
        for token in said:
            logits, state = model.decoder.step(torch.tensor([read]), state, memory)
            total -= logits[0].log_softmax(0)[token].item()
            right, read = right + int(logits[0].argmax() == token), token
        assert losses.attention[b].item() == pytest.approx(total, rel=1e-4)
        assert (int(losses.right[b]), int(losses.tokens[b])) == (right, len(said))
        log_probs = model.ctc_log_probs(encoded).transpose(0, 1)
        ctc = torch.nn.functional.ctc_loss(
            log_probs, TOKENS[b : b + 1, :count], encoded.lengths, COUNTS[b : b + 1], blank=BLANK, reduction="sum"
        )
        assert losses.ctc[b].item() == pytest.approx(ctc.item(), rel=1e-4)


def test_ctc_posteriors_are_distributions_and_need_a_head():
    model = build()
    encoded = model.encode(*batch("precomputed"))
    log_probs = model.ctc_log_probs(encoded)
    assert log_probs.shape == (*encoded.states.shape[:2], VOCABULARY)
    torch.testing.assert_close(log_probs.exp().sum(2), torch.ones(log_probs.shape[:2]))
    with pytest.raises(UsageError, match="no CTC head"):
        build(ctc_weight=0.0).ctc_log_probs(encoded)


def differences(losses: Losses, expected: Losses) -> Tensor:
    return ((losses.total - expected.total) / expected.total).abs()


@every_input_and_attention
def test_bfloat16_autocast_gives_finite_and_almost_equal_losses(kind, attention):
    model = build(kind, attention=attention)
    inputs = batch(kind)
    exact = model(*inputs, TOKENS, COUNTS)
    with torch.autocast("cpu", torch.bfloat16):
        losses, sampled = model(*inputs, TOKENS, COUNTS), model(*inputs, TOKENS, COUNTS, 1.0)
    assert losses.total.dtype == torch.float32 and losses.alignments.dtype == torch.float32
    assert (differences(losses, exact) < 0.02).all() and sampled.total.isfinite().all()
    torch.testing.assert_close(losses.alignments.sum(2), torch.ones(3, 5))
    (losses.total + sampled.total).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_frame_shift_is_the_time_between_two_encoded_frames():
    model = build("fbank")
    seconds = 3
    encoded = model.encode(0.1 * torch.randn(1, seconds * RATE), torch.tensor([seconds * RATE]))
    assert int(encoded.lengths) == pytest.approx(seconds / model.frame_shift, abs=1)


@pytest.mark.parametrize("settings", [{"ctc_weight": 1.0}, {"ctc_weight": -0.1}, {"label_smoothing": 1.0}])
def test_impossible_settings_are_named(settings):
    with pytest.raises(UsageError, match=f"model.{next(iter(settings))}"):
        ModelConfig(**settings)


NONE, DOT = AttentionConfig(kind="none"), AttentionConfig(kind="dot")


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("guided_weight", {"guided_weight": -1.0}),
        ("guided_weight", {"guided_weight": float("inf")}),
        ("guided_width", {"guided_width": 0.0}),
        ("guided_weight", {"guided_weight": 1.0, "attention": NONE}),
        ("decoder.tied", {"decoder": DecoderConfig(tied=True)}),
        ("decoder.tied", {"decoder": DecoderConfig(tied=True, projection=64)}),
        ("decoder.context", {"decoder": DecoderConfig(context="parallel")}),
        *(
            ("decoder.context", {"decoder": DecoderConfig(context="parallel"), "attention": AttentionConfig(kind=kind)})
            for kind in ("coverage", "forward", "gaussian")
        ),
        ("encoder.projection", {"encoder": EncoderConfig(projection=64), "attention": NONE}),
    ],
)
def test_impossible_combinations_are_named(named, settings):
    with pytest.raises(UsageError, match=named) as told:
        ModelConfig(**settings)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": DecoderConfig(tied=True, projection=128)},
        {"decoder": DecoderConfig(tied=True, units=100, embedding=300), "encoder": EncoderConfig(units=100)},
        {"decoder": DecoderConfig(context="parallel"), "attention": DOT},
        {"decoder": DecoderConfig(context="parallel"), "attention": NONE},
        {"encoder": EncoderConfig(projection=64, bidirectional=False), "attention": NONE},
    ],
)
def test_what_fits_is_built(settings):
    model = Seq2Seq(ModelConfig(features=FeaturesConfig(kind="precomputed", bins=12), **settings), VOCABULARY)
    assert model(*batch("precomputed"), TOKENS, COUNTS).total.isfinite().all()
