"""Operations a second of audio against the same computed by hand."""

import pytest

from seq2seq_asr.commands.compare import cost
from seq2seq_asr.commands.compare.cost import flops_a_second
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.cells import CellKind
from seq2seq_asr.nn.decoder import DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.nn.two_threads import threads

SECONDS = 2
"""In place of 10: the counter looks at every single operation."""
GATES = {"lstm": 4, "gru": 3, "elman": 1, "peephole_lstm": 4, "light_gru": 2}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SECONDS", SECONDS)


@pytest.mark.parametrize("cell", GATES)
def test_operations_are_those_of_the_formula(cell: CellKind) -> None:
    bins, units, decoder, embedding, size, vocabulary = 5, 6, 7, 4, 8, 11
    config = ModelConfig(
        features=FeaturesConfig(kind="precomputed", bins=bins),
        encoder=EncoderConfig(cell=cell, units=units, reductions=(2, 1)),
        attention=AttentionConfig(kind="additive", size=size),
        decoder=DecoderConfig(cell=cell, units=decoder, embedding=embedding),
    )
    model = Seq2Seq(config, vocabulary).train()
    frames, tokens, gates = 100 * SECONDS // 2, 3 * SECONDS + 1, GATES[cell]
    products = 2 * frames * gates * units * (2 * bins + units)  # two directions, two frames joined
    products += 2 * frames * gates * units * (2 * units + units)
    products += frames * 2 * units * vocabulary  # CTC head
    products += frames * 2 * units * size  # keys
    each = gates * decoder * (embedding + 2 * units + decoder)
    each += decoder * size + frames * size + frames * 2 * units  # query, energies, context
    each += (decoder + 2 * units) * vocabulary
    with threads(2):  # the counter sees one of them
        counted = flops_a_second(model, 3.0)
    assert counted == pytest.approx(2 * (products + tokens * each) / SECONDS, rel=1e-3)
    assert model.training, "left as it was"


def test_both_energies_of_monotonic_attention_are_counted() -> None:
    """Of stopping and within a chunk, each with keys, a query and a sum of its own."""
    size, frames, steps = 8, 100 * SECONDS // 4, 3 * SECONDS + 1
    encoder, decoder = EncoderConfig(units=6, reductions=(4,)), DecoderConfig(units=7, embedding=4)

    def counted(attention: AttentionConfig) -> float:
        return flops_a_second(Seq2Seq(ModelConfig(encoder=encoder, attention=attention, decoder=decoder), 11), 3.0)

    one, two = (counted(AttentionConfig(kind=kind, size=size)) for kind in ("additive", "mocha"))
    more = frames * 12 * size + steps * (7 * size + frames * size)
    assert two - one == pytest.approx(2 * more / SECONDS)


def test_waveforms_are_counted_too_and_longer_transcripts_cost_more() -> None:
    model = Seq2Seq(ModelConfig(encoder=EncoderConfig(units=8), decoder=DecoderConfig(units=8)), 12)
    assert flops_a_second(model, 10.0) > flops_a_second(model, 2.0) > 1e5
