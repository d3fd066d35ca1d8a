"""The kernels' step of a search, in Triton's interpreter, says what the decoder says in float64."""

import copy

import pytest
import torch

pytest.importorskip("triton")
from seq2seq_asr.errors import UsageError  # noqa: E402
from seq2seq_asr.kernels import search_step  # noqa: E402
from seq2seq_asr.nn import fused  # noqa: E402
from seq2seq_asr.nn.attention import AttentionConfig  # noqa: E402
from seq2seq_asr.nn.compiled_stepping import CompiledStepping  # noqa: E402
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig  # noqa: E402
from seq2seq_asr.nn.fused import set_kernels  # noqa: E402
from seq2seq_asr.nn.fused_stepping import FusedStepping  # noqa: E402
from seq2seq_asr.nn.stepping import stepping  # noqa: E402
from seq2seq_asr.search.attention import AttentionScorer  # noqa: E402
from seq2seq_asr.vocabulary import BLANK, SOS  # noqa: E402


def decoder_of(units: int = 6, size: int = 7, vocabulary: int = 11, filters: int = 3, width: int = 5) -> Decoder:
    attention = AttentionConfig(size=size, filters=filters, width=width)
    decoder = Decoder(DecoderConfig(units=units, embedding=5), attention, 9, vocabulary).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # biases too, and weights that are not small
    return decoder


def exactly(decoder: Decoder) -> Decoder:
    return copy.deepcopy(decoder).double()


def utterances(frames: int, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random frames, large ones on padding."""
    encoded = torch.randn(len(lengths), frames, 9)
    for row, length in enumerate(lengths):
        encoded[row, length:] = 100.0
    return encoded, torch.tensor(lengths)


def run(decoder, encoded: torch.Tensor, lengths: torch.Tensor, beam: int, steps: int = 3) -> list[torch.Tensor]:
    """Log probabilities and alignments of steps of hypotheses that change places in between."""
    memory = decoder.memory(encoded, lengths)
    scorer, found = AttentionScorer(decoder, memory), []
    state, token = scorer.start(beam), torch.full((len(lengths) * beam,), SOS)
    first, places = torch.arange(len(lengths)).repeat_interleave(beam), torch.arange(beam).repeat(len(lengths))
    for step in range(steps):
        with torch.inference_mode():
            log_probs, state = scorer.step(token, state)
        found += [log_probs, state.alignment]
        state = state.select(first * beam + (places * step + 1) % beam)
        token = (7 * step + 3 * places) % log_probs.shape[1]
    return found


@pytest.mark.parametrize(
    ("shape", "frames", "lengths", "beam", "steps"),
    [
        ({}, 8, (8, 1, 5), 3, 3),
        ({"units": 33, "size": 35, "vocabulary": 37, "filters": 17, "width": 41}, 35, (35, 33), 2, 2),
        ({"units": 1, "size": 1, "vocabulary": 5, "filters": 1, "width": 1}, 1, (1,), 1, 2),
        pytest.param({}, 5, (4, 5), 17, 3, marks=pytest.mark.nightly),
    ],
    ids="small odd least beams".split(),
)
def test_it_says_what_the_decoder_says(shape, frames, lengths, beam, steps) -> None:
    decoder = decoder_of(**shape)
    encoded = utterances(frames, *lengths)
    found = run(FusedStepping(decoder), *encoded, beam, steps)
    wanted = run(exactly(decoder), encoded[0].double(), encoded[1], beam, steps)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
    for log_probs in found[::2]:
        assert (log_probs[:, [BLANK, SOS]] == -torch.inf).all()


def test_many_rows_are_cut_up_in_other_ways(monkeypatch) -> None:
    decoder = decoder_of(units=7)
    encoded = utterances(4, 4, 3)
    wanted = run(FusedStepping(decoder), *encoded, 2, steps=2)
    monkeypatch.setattr(search_step, "_MANY", 4)
    for one, other in zip(run(FusedStepping(decoder), *encoded, 2, steps=2), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_padding_and_company_change_nothing() -> None:
    decoder = FusedStepping(decoder_of())
    encoded, lengths = utterances(36, 36, 2)
    together, alone = run(decoder, encoded, lengths, 2, 2), run(decoder, encoded[1:, :2], lengths[1:], 2, 2)
    for one, other in zip(together[1::2], alone[1::2], strict=True):
        assert (one[2:, 2:] == 0).all()
        torch.testing.assert_close(one.sum(1), torch.ones(4))
        torch.testing.assert_close(one[2:, :2], other)
    encoded[1, 2:] = -50.0
    assert all(map(torch.equal, run(decoder, encoded, lengths, 2, 2), together))


def test_it_is_taken_where_kernels_are_required_and_never_on_a_cpu_by_itself() -> None:
    decoder = decoder_of()
    kinds: list[tuple[fused.Kernels, type]] = [
        ("require", FusedStepping),
        ("auto", CompiledStepping),
        ("off", CompiledStepping),
    ]
    for kernels, kind in kinds:
        set_kernels(decoder, kernels)
        assert type(stepping(decoder)) is kind


@pytest.mark.parametrize("word", ["float64", "not installed"])
def test_where_it_cannot_be_taken_it_is_said_why(word, monkeypatch) -> None:
    decoder = decoder_of().double() if word == "float64" else decoder_of()
    if word != "float64":
        monkeypatch.setattr("seq2seq_asr.nn.fused_energies.find_spec", lambda name: None)
    set_kernels(decoder, "require")
    with pytest.raises(UsageError, match=f"model.kernels: require.*search step.*{word}"):
        stepping(decoder)


def test_autocast_changes_nothing() -> None:
    encoded, lengths = utterances(4, 4, 3)
    decoder = FusedStepping(decoder_of())
    wanted = run(decoder, encoded, lengths, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, run(decoder, encoded, lengths, 2, 2), wanted))
        assert all(one.dtype == torch.float32 for one in run(decoder, encoded.bfloat16(), lengths, 2, 1))


def test_on_a_gpu_it_is_said_once(monkeypatch, capsys) -> None:
    monkeypatch.setattr(fused, "_SAID", set())
    for _ in range(2):
        assert fused.chosen("auto", torch.device("cuda"), "search step", None)
    assert capsys.readouterr().err == "search step: Triton kernel\n"
