"""The decoder without context: against its scores computed by hand, whatever the attention; and in the sum."""

from typing import Any

import pytest
import torch

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.internal_lm import LOWEST, InternalLanguageModelScorer
from seq2seq_asr.search.scorer import Weighted, joint_scorers
from seq2seq_asr.vocabulary import EOS, SOS

VOCABULARY, ENCODER = 9, 6
ATTENTIONS = [
    AttentionConfig(size=5, filters=2, width=3),
    AttentionConfig(size=6, filters=2, width=3, heads=2),
    *(AttentionConfig(kind=kind, size=5) for kind in ("additive", "dot", "coverage", "gaussian", "none")),
]


def make(attention: AttentionConfig, sharpness: float = 1.0, **settings: Any) -> Decoder:
    decoder = Decoder(DecoderConfig(units=7, embedding=4, **settings), attention, ENCODER, VOCABULARY)
    decoder.double().eval().requires_grad_(False)
    decoder.get_parameter("embedding.weight" if decoder.config.tied else "output.weight").mul_(sharpness)
    return decoder


def by_hand(decoder: Decoder, tokens: tuple[int, ...], ended: bool = True) -> float:
    """Sum of the log probabilities of a GRU that reads zeros in place of the context, none below the lowest."""
    (cell,) = decoder.cells
    hidden, zeros, total = torch.zeros(1, decoder.config.units).double(), torch.zeros(1, ENCODER).double(), 0.0
    if decoder.bridge is not None:
        hidden = decoder.bridge.bias.tanh()[None]
    for last, token in zip((SOS, *tokens), (*tokens, *[EOS] * ended), strict=False):
        embedded = decoder.embedding.weight[last][None]
        hidden = cell(embedded if decoder.parallel else torch.cat([embedded, zeros], 1), hidden)
        log_probs = decoder.scores(hidden, zeros).log_softmax(1)
        total += max(LOWEST, float(log_probs[0, token]))
    return total


DECODERS: list[tuple[AttentionConfig, dict]] = [
    *((attention, {}) for attention in ATTENTIONS),
    (ATTENTIONS[0], {"projection": 4, "tied": True}),
    (ATTENTIONS[0], {"context": "parallel"}),
]


@pytest.mark.parametrize(("attention", "settings"), DECODERS, ids=str)
def test_it_is_the_decoder_that_reads_zeros(attention: AttentionConfig, settings: dict) -> None:
    decoder = make(attention, sharpness=20.0, **settings)
    scorer = InternalLanguageModelScorer(decoder, decoder.no_memory(2))
    said = torch.randint(4, VOCABULARY, (4, 6))
    state, last, totals, rows = scorer.start(2), torch.full((4,), SOS), torch.zeros(4).double(), torch.arange(4)
    for token in said.T:
        rewards, state = scorer.step(last, state)
        assert rewards.min() >= 0 and rewards.max() <= scorer.max_gain
        totals += rewards[rows, token]
        last = token
    assert totals.tolist() == pytest.approx([-by_hand(decoder, tuple(row), ended=False) for row in said.tolist()])
    assert max(-by_hand(decoder, tuple(row), ended=False) for row in said.tolist()) > -LOWEST


def test_its_state_is_reordered_with_the_hypotheses() -> None:
    decoder = make(ATTENTIONS[0])
    scorer, said, parents = (
        InternalLanguageModelScorer(decoder, decoder.no_memory(1)),
        torch.tensor([4, 5, 6]),
        [2, 0, 2],
    )
    _, state = scorer.step(torch.full((3,), SOS), scorer.start(3))
    _, state = scorer.step(said, state)
    found, _ = scorer.step(torch.tensor([7, 8, 4]), state.select(torch.tensor(parents)))
    for row, (parent, token) in enumerate(zip(parents, (7, 8, 4), strict=True)):
        before = by_hand(decoder, (int(said[parent]), token), ended=False)
        after = by_hand(decoder, (int(said[parent]), token, 5), ended=False)
        assert float(found[row, 5]) == pytest.approx(before - after)


def test_subtraction_is_the_sum_made_by_hand() -> None:
    decoder = make(ATTENTIONS[0], sharpness=6.0)
    encoded, lengths = torch.randn(3, 7, ENCODER).double(), torch.tensor([7, 4, 6])
    memory = decoder.memory(encoded, lengths)
    ilm = InternalLanguageModelScorer(decoder, decoder.no_memory(3))
    scorers = [*joint_scorers(AttentionScorer(decoder, memory)), Weighted("ilm", ilm, 0.4, ilm.max_gain)]
    config = BeamConfig(beam=4, nbest=4, length_normalisation="none", max_length_ratio=1.0)
    for nbest in beam_search(scorers, lengths, config):
        for one in nbest:
            total = by_hand(decoder, one.tokens, one.ended)
            assert one.scores["ilm"] == pytest.approx(-total)
            assert one.score == pytest.approx(one.log_prob - 0.4 * total)
    patient = BeamConfig(beam=4, patience=None, max_length_ratio=1.0)
    assert beam_search(scorers, lengths, patient) == beam_search(scorers, lengths, patient, early_stop=False)
