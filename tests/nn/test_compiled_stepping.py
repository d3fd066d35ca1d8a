"""The step of a search by compiled loops says what the decoder says in float64."""

import copy

import pytest
import torch

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.compiled_stepping import CompiledStepping
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.stepping import Stepping, stepping
from seq2seq_asr.nn.two_threads import threads
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.vocabulary import BLANK, SOS

ENCODED = 9


def decoder_of(units: int = 6, size: int = 7, vocabulary: int = 11, filters: int = 3, width: int = 5) -> Decoder:
    attention = AttentionConfig(size=size, filters=filters, width=width)
    decoder = Decoder(DecoderConfig(units=units, embedding=5), attention, ENCODED, vocabulary).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # biases too, and weights that are not small
    return decoder


def utterances(frames: int, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random frames, large ones on padding."""
    encoded = torch.randn(len(lengths), frames, ENCODED)
    for row, length in enumerate(lengths):
        encoded[row, length:] = 100.0
    return encoded, torch.tensor(lengths)


def run(decoder, encoded: torch.Tensor, lengths: torch.Tensor, beam: int) -> list[torch.Tensor]:
    """Log probabilities, alignments and peaks of steps of hypotheses that change places in between and repeat."""
    scorer, found = AttentionScorer(decoder, decoder.memory(encoded, lengths)), []
    state, token = scorer.start(beam), torch.full((len(lengths) * beam,), SOS)
    first, places = torch.arange(len(lengths)).repeat_interleave(beam) * beam, torch.arange(beam).repeat(len(lengths))
    for step in range(4):
        with torch.inference_mode():
            log_probs, state = scorer.step(token, state)
        assert state.peaks is not None
        found += [log_probs, state.alignment, state.peaks]
        state = state.select(first + (places * step + 1) % beam)
        token = (7 * step + 3 * places) % log_probs.shape[1]
        assert state.peaks is not None
        found += [state.alignment, state.peaks]
    return found


@pytest.mark.parametrize(
    ("shape", "frames", "lengths", "beam"),
    [
        ({}, 4, (4, 1, 3), 3),
        ({}, 8, (8, 5), 2),
        ({"units": 33, "size": 35, "vocabulary": 37, "filters": 21, "width": 41}, 35, (35, 33), 2),
        ({"units": 1, "size": 1, "vocabulary": 5, "filters": 1, "width": 1}, 1, (1,), 1),
        ({"filters": 10}, 300, (300, 17), 2),
        ({}, 5, (4, 5), 17),
    ],
    ids="weighed few odd least many beams".split(),
)
def test_it_says_what_the_decoder_says(shape, frames, lengths, beam) -> None:
    decoder = decoder_of(**shape)
    encoded, lengths = utterances(frames, *lengths)
    found = run(CompiledStepping(decoder), encoded, lengths, beam)
    wanted = run(copy.deepcopy(decoder).double(), encoded.double(), lengths, beam)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == (torch.float32 if other.is_floating_point() else torch.long)
        torch.testing.assert_close(one.to(other.dtype), other, rtol=1e-4, atol=1e-4)
    for log_probs in found[::5]:
        assert (log_probs[:, [BLANK, SOS]] == -torch.inf).all()


@pytest.mark.parametrize("frames", [4, 36], ids=["weighed", "not weighed"])
def test_padding_and_company_change_nothing(frames: int) -> None:
    decoder = CompiledStepping(decoder_of())
    encoded, lengths = utterances(frames, frames, 2)
    together, alone = run(decoder, encoded, lengths, 2), run(decoder, encoded[1:, :2], lengths[1:], 2)
    for place, (one, other) in enumerate(zip(together, alone, strict=True)):
        if place % 5 in (1, 3):
            assert (one[2:, 2:] == 0).all()
            torch.testing.assert_close(one.sum(1), torch.ones(4))
            one = one[:, :2]
        torch.testing.assert_close(one[2:], other)
    encoded[1, 2:] = -50.0
    assert all(map(torch.equal, run(decoder, encoded, lengths, 2), together))


@pytest.mark.parametrize("frames", [4, 12])
def test_how_tensors_lie_and_what_they_are_told_changes_nothing(frames: int) -> None:
    decoder = CompiledStepping(decoder_of())
    encoded, lengths = utterances(frames, frames, 3)
    wanted = run(decoder, encoded, lengths, 3)
    turned = encoded.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    apart = torch.stack([lengths, lengths], 1)[:, 0]
    for one, other in zip(run(decoder, turned, apart, 3), wanted, strict=True):
        torch.testing.assert_close(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, run(decoder, encoded, lengths, 3), wanted))
        assert run(decoder, encoded.bfloat16(), lengths, 3)[0].dtype == torch.float32


def test_a_state_is_a_value() -> None:
    decoder = CompiledStepping(decoder_of())
    memory = decoder.memory(*utterances(4, 4, 3))
    state = decoder.start(memory)
    token = torch.tensor([4, 5, 6, 7])[::2]  # every other: not side by side
    first, after = decoder.step(token, state, memory)
    decoder.step(token, after.select(torch.tensor([1, 1])), memory)
    again, _ = decoder.step(token, state, memory)
    assert torch.equal(first, again)
    second, _ = decoder.step(token, after, memory)
    assert torch.equal(second, decoder.step(token, after, memory)[0]) and not torch.equal(first, second)


@pytest.mark.parametrize("name", ["attention.score.weight", "cells.0.weight_hh", "output.bias", "embedding.weight"])
def test_a_spoilt_model_is_noticed(name: str) -> None:
    decoder = decoder_of()
    with torch.no_grad():
        dict(decoder.named_parameters())[name].fill_(torch.nan)
    log_probs = run(CompiledStepping(decoder), *utterances(4, 4, 3), 2)[5]  # the second step's: at first the state is 0
    others = [token for token in range(log_probs.shape[1]) if token not in (BLANK, SOS)]
    assert log_probs[:, others].isnan().all()


@pytest.mark.parametrize("kernels", ["auto", "off"])
def test_it_is_taken_in_float32_on_a_cpu(kernels) -> None:
    decoder = decoder_of()
    decoder.kernels = kernels
    assert type(stepping(decoder)) is CompiledStepping
    assert type(stepping(decoder.double())) is Stepping
    assert type(stepping(decoder.bfloat16())) is Stepping


@pytest.mark.parametrize("frames", [4, 36], ids=["weighed", "not weighed"])
def test_threads_change_nothing(frames: int) -> None:
    decoder = CompiledStepping(decoder_of())
    given = utterances(frames, *[frames, 2, 3, 1, 4, 2, 3] * 3)  # enough for parts, whatever is computed
    with threads(1):
        alone = run(decoder, *given, 17)
    with threads(3):
        assert all(map(torch.equal, run(decoder, *given, 17), alone))
