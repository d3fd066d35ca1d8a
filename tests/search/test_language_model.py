"""Shallow fusion against sums made by hand, and language models that do not belong."""

from pathlib import Path

import pytest
import torch

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.nn.lm import LanguageModel, LanguageModelConfig
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.language_model import LanguageModelScorer, language_model_record, restore_language_model
from seq2seq_asr.search.scorer import Weighted, joint_scorers
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

CONFIG = LanguageModelConfig(embedding=5, units=7, layers=2)


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel(CONFIG, 9).double().eval().requires_grad_(False)


def test_fusion_is_the_sum_made_by_hand(toy, model) -> None:
    attention, lengths = toy.scorer(3, 9, seed=2), torch.tensor([6, 4, 7])
    with torch.no_grad():
        model.output.weight.mul_(5)
    lm = Weighted("lm", LanguageModelScorer(model, 3), 0.6)
    config = BeamConfig(beam=4, nbest=4, length_normalisation="none", max_length_ratio=1.0)
    found = beam_search([*joint_scorers(attention), lm], lengths, config)
    for utterance, one in ((row, one) for row, nbest in enumerate(found) for one in nbest):
        said = [*one.tokens, *[EOS] * one.ended]
        log_probs = model(torch.tensor([[SOS, *one.tokens]]))[0].log_softmax(1)
        total = sum(float(log_probs[place, token]) for place, token in enumerate(said))
        assert one.scores["lm"] == pytest.approx(total)
        assert one.score == pytest.approx(attention.rescore(utterance, one.tokens, one.ended) + 0.6 * total)


def test_blank_and_start_are_never_said(model) -> None:
    scorer = LanguageModelScorer(model, 2)
    log_probs, _ = scorer.step(torch.tensor([SOS, SOS]), scorer.start())
    assert log_probs[:, [BLANK, SOS]].isneginf().all() and log_probs[:, 3:].isfinite().all()


def contents(model: LanguageModel, **record: object) -> dict:
    return {
        "seq2seq_asr": {**language_model_record(model, "hash"), **record},
        "state_dict": model.state_dict(),
    }


def test_what_is_restored_scores_the_same(model) -> None:
    restored = restore_language_model(contents(model.float()), Path("lm.ckpt"), "hash", 9)
    tokens = torch.tensor([[SOS, 5, 4]])
    assert restored.config == CONFIG and not restored.training
    assert torch.equal(restored(tokens), model(tokens))


@pytest.mark.parametrize(
    ("record", "vocabulary", "why"),
    [
        ({"kind": None}, 9, "not a language model of seq2seq_asr.fit_lm"),
        ({"tokenizer": "another"}, 9, "a language model of another tokenizer"),
        ({}, 10, "cannot be built"),
        ({"config": {"unitz": 3}}, 9, "cannot be built.*unitz"),
        ({"config": None}, 9, "cannot be built"),
        ({"config": {"units": 10**7, "layers": 2}}, 9, "cannot be built"),
        ({"config": {"layers": 10**9}}, 9, "cannot be built.*more layers"),
    ],
)
def test_what_does_not_belong_is_told(model, record, vocabulary, why) -> None:
    with pytest.raises(CheckpointError, match=rf"lm\.ckpt: .*{why}"):
        restore_language_model(contents(model, **record), Path("lm.ckpt"), "hash", vocabulary)
