"""Greedy search against a plain loop over one utterance."""

import pytest
import torch

from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.vocabulary import EOS


def follow(model, utterance: int, longest: int) -> tuple[tuple[int, ...], bool]:
    """The most probable token, one after the other."""
    tokens: tuple[int, ...] = ()
    while True:
        best = int(model.after(utterance, tokens).argmax())
        if best == EOS or len(tokens) == longest:
            return tokens, best == EOS
        tokens = (*tokens, best)


@pytest.mark.parametrize("end", [-1.0, 0.0, 2.0])
def test_every_utterance_follows_its_own_best(toy, end) -> None:
    model, lengths = toy.scorer(12, 9, seed=3, end=end), torch.arange(12)
    for utterance, hypothesis in enumerate(greedy_search(model, lengths, max_length_ratio=1.5)):
        longest = max(1, round(1.5 * utterance))
        assert (hypothesis.tokens, hypothesis.ended) == follow(model, utterance, longest)
        assert hypothesis.log_prob == pytest.approx(model.rescore(utterance, hypothesis.tokens, hypothesis.ended))
        assert hypothesis.frames == model.look(hypothesis.tokens)


def test_batch_mates_change_nothing(toy) -> None:
    table, lengths = toy.scorer(5, 9, seed=4).table, torch.tensor([3, 30, 1, 8, 12])
    together = greedy_search(toy.of(table), lengths)
    assert [greedy_search(toy.of(table[[row]]), lengths[[row]])[0] for row in range(5)] == together


def test_no_utterances(toy) -> None:
    assert greedy_search(toy.scorer(0, 9, seed=4), torch.zeros(0, dtype=torch.long)) == []
