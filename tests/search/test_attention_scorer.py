"""The attention decoder behind the scorer interface."""

from dataclasses import replace

import pytest
import torch

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.search.guards import Heard, flags_of
from seq2seq_asr.search.scorer import joint_scorers
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

LENGTHS = torch.tensor([6, 3, 5])


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder(DecoderConfig(units=12, embedding=6), AttentionConfig(), encoder_size=7, vocabulary=9).eval()
    with torch.no_grad():
        decoder.get_parameter("output.weight").mul_(8)  # an untrained decoder is nearly indifferent
    return decoder


def memory_of(decoder: Decoder):
    return decoder.memory(torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(1)), LENGTHS)


def test_scores_and_frames_equal_teacher_forcing(decoder) -> None:
    memory = memory_of(decoder)
    found = beam_search(
        joint_scorers(AttentionScorer(decoder, memory)), LENGTHS, BeamConfig(beam=4, nbest=4, max_length_ratio=1.5)
    )
    for utterance, hypothesis in ((row, one) for row, nbest in enumerate(found) for one in nbest):
        inputs = torch.tensor([[SOS, *hypothesis.tokens]])
        with torch.no_grad():
            logits, alignments = decoder(inputs, memory.select(torch.tensor([utterance])))
        targets = torch.tensor([*hypothesis.tokens, *[EOS] * hypothesis.ended])
        log_probs = logits[0].log_softmax(1)[torch.arange(len(targets)), targets]
        assert hypothesis.log_prob == pytest.approx(float(log_probs.sum()), abs=1e-4)
        assert hypothesis.frames == tuple(alignments[0].argmax(1)[: len(hypothesis.tokens)].tolist())
        assert all(frame < LENGTHS[utterance] for frame in hypothesis.frames)


def test_one_beam_is_greedy(decoder) -> None:
    scorer = AttentionScorer(decoder, memory_of(decoder))
    beam = beam_search(joint_scorers(scorer), LENGTHS, BeamConfig(beam=1))
    assert [one.tokens for (one,) in beam] == [one.tokens for one in greedy_search(scorer, LENGTHS)]


def test_blank_and_start_are_never_emitted_and_the_rest_is_not_renormalised(decoder) -> None:
    memory = memory_of(decoder)
    scorer, tokens = AttentionScorer(decoder, memory), torch.full((3,), SOS)
    with torch.inference_mode():
        log_probs, _ = scorer.step(tokens, scorer.start())
        logits, _ = decoder.step(tokens, decoder.start(memory), memory)
    assert log_probs[:, [BLANK, SOS]].isneginf().all()
    others = [token for token in range(9) if token not in (BLANK, SOS)]
    torch.testing.assert_close(log_probs[:, others], logits.log_softmax(1)[:, others])


def test_half_precision_logits_are_normalised_in_float32(decoder) -> None:
    decoder = decoder.bfloat16()
    memory = decoder.memory(torch.randn(3, 6, 7, dtype=torch.bfloat16), LENGTHS)
    scorer = AttentionScorer(decoder, memory)
    with torch.inference_mode():
        log_probs, _ = scorer.step(torch.full((3,), SOS), scorer.start())
    assert log_probs.dtype == torch.float32


def test_a_vector_of_fixed_length_looks_nowhere() -> None:
    decoder = Decoder(DecoderConfig(units=4, embedding=3), AttentionConfig(kind="none"), encoder_size=7, vocabulary=9)
    decoder.eval().get_parameter("output.bias").data[5] = 50.0  # it says "five five five five"
    scorer, search = AttentionScorer(decoder, memory_of(decoder)), BeamConfig(beam=3, max_length_ratio=0.7)
    found = [nbest[0] for nbest in beam_search(joint_scorers(scorer), LENGTHS, search)]
    heard = Heard((5, 5, 5, 5), (0, 2, 3, 5), -1.0)
    for one in [*found, *greedy_search(scorer, LENGTHS, max_length_ratio=0.7)]:
        assert set(one.tokens) == {5} and one.frames == () and flags_of(one, heard) == ()
    assert len(found[0].tokens) == 4
    limited = beam_search(joint_scorers(scorer), LENGTHS, replace(search, max_attention_shift=1))
    assert [nbest[0] for nbest in limited] == found
