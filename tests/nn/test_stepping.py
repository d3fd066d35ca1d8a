"""The search's quick step says what the decoder says, whatever the frames and the company."""

import dataclasses

import pytest
import torch

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.cells import CellKind
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.regularisation import RegularisationConfig
from seq2seq_asr.nn.stepping import Stepping, stepping, steps_quickly
from seq2seq_asr.vocabulary import SOS

ENCODED = 9
VOCABULARY = 11


def decoder_of(decoder: DecoderConfig | None = None, **attention) -> Decoder:
    torch.manual_seed(3)
    decoder = decoder or DecoderConfig(units=6, embedding=5)
    config = AttentionConfig(**{"size": 7, "filters": 3, "width": 5, **attention})
    return Decoder(decoder, config, encoder_size=ENCODED, vocabulary=VOCABULARY).double().eval()


def utterances(frames: int, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random frames, which are not zero on padding either."""
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(len(lengths), frames, ENCODED, generator=generator, dtype=torch.float64), torch.tensor(lengths)


def run(decoder, encoded: torch.Tensor, lengths: torch.Tensor, beam: int) -> list[torch.Tensor]:
    """Scores and alignments of steps of hypotheses that change places in between, the same for every utterance."""
    memory = decoder.memory(encoded, lengths)
    first = torch.arange(len(lengths)).repeat_interleave(beam)
    places = torch.arange(beam).repeat(len(lengths))
    state, token, seen = decoder.start(memory).select(first), torch.full_like(first, SOS), []
    for step in range(5):
        with torch.inference_mode():
            scores, state = decoder.step(token, state, memory)
        seen += [scores, state.alignment]
        state = state.select(first * beam + (places * step + 1) % beam)
        token = (7 * step + 3 * places) % VOCABULARY
    return seen


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize(
    ("frames", "lengths"), [(1, (1,)), (4, (4, 2)), (8, (8, 1, 5)), (300, (300, 17))], ids="one few many dense".split()
)
def test_it_says_what_the_decoder_says(frames: int, lengths: tuple[int, ...], beam: int) -> None:
    decoder = decoder_of()
    encoded = utterances(frames, *lengths)
    for quick, plain in zip(run(Stepping(decoder), *encoded, beam), run(decoder, *encoded, beam), strict=True):
        torch.testing.assert_close(quick, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frames", [3, 12])
def test_padding_and_company_change_nothing(frames: int) -> None:
    decoder = Stepping(decoder_of())
    encoded, lengths = utterances(frames, frames, 2)
    together = run(decoder, encoded, lengths, beam=2)
    alone = run(decoder, encoded[1:, :2], lengths[1:], beam=2)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[2:, : other.shape[1]], other, rtol=1e-12, atol=1e-12)
    for alignment in together[1::2]:
        torch.testing.assert_close(alignment.sum(1), torch.ones(4, dtype=torch.float64))
        assert (alignment[2:, 2:] == 0).all()


def test_float32_keeps_its_figures() -> None:
    encoded, lengths = utterances(8, 8, 5)
    exact = run(decoder_of(), encoded, lengths, beam=2)
    for quick, plain in zip(run(Stepping(decoder_of().float()), encoded.float(), lengths, 2), exact, strict=True):
        torch.testing.assert_close(quick.double(), plain, rtol=1e-4, atol=1e-5)


def test_autocast_changes_nothing() -> None:
    encoded, lengths = utterances(8, 8, 5)
    decoder = Stepping(decoder_of().float())
    wanted = run(decoder, encoded.float(), lengths, beam=2)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(decoder, encoded.float(), lengths, beam=2)
        run(decoder, encoded.bfloat16(), lengths, beam=2)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        {"layers": 2}, {"cell": "lstm"}, {"layer_norm": True}, {"projection": 4},
        {"tied": True, "projection": 5}, {"regularisation": RegularisationConfig(zoneout=0.3)},
    ],
)  # fmt: skip
def test_other_decoders_step_as_before(other: dict) -> None:
    decoder = decoder_of(dataclasses.replace(DecoderConfig(units=6, embedding=5), **other))
    assert not steps_quickly(decoder) and stepping(decoder) is decoder


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(RegularisationConfig)])
def test_a_search_steps_as_validation_does_whatever_the_regularisation(name: str) -> None:
    regularisation = RegularisationConfig(**{name: True if name == "variational" else 0.3})  # type: ignore[arg-type]
    cell: CellKind = "lstm" if name == "zoneout_memory" else "gru"
    decoder = decoder_of(DecoderConfig(units=6, embedding=5, cell=cell, regularisation=regularisation))
    encoded, lengths = utterances(12, 12, 7)
    quick = run(stepping(decoder), encoded, lengths, beam=2)
    for found, wanted in zip(quick, run(decoder, encoded, lengths, beam=2), strict=True):
        torch.testing.assert_close(found.log_softmax(-1), wanted.log_softmax(-1))


@pytest.mark.parametrize("other", [{"kind": "additive"}, {"cumulative": True}, {"window": 3}, {"smoothing": True}])
def test_other_attentions_step_as_before(other: dict) -> None:
    decoder = decoder_of(**other)
    assert not steps_quickly(decoder) and stepping(decoder) is decoder
