"""A look at what ended says on a CPU what it says in tensors' way, to the bit."""

import pytest
import torch

from seq2seq_asr.search import closing
from seq2seq_asr.search.advance import Kept
from seq2seq_asr.search.ranking import Ranking
from seq2seq_asr.vocabulary import EOS

INF = float("inf")
LONGEST = torch.tensor([12, 9, 5, 12, 1])


def history(seed: int) -> list[Kept]:
    """Steps of 5 utterances with 3 hypotheses each: totals that fall, ends among them, dead ones."""
    torch.manual_seed(seed)
    scores = -torch.rand(13, 5, 3, dtype=torch.float64).cumsum(0).sort(2).values
    scores[torch.rand(scores.shape) < 0.1] = -INF
    scores[seed % 13 :, 3] = -INF  # nothing grows any more
    tokens = torch.where(torch.rand(scores.shape) < 0.2, EOS, 7)
    return [Kept(score, token, token, None, ()) for score, token in zip(scores, tokens, strict=True)]


@pytest.mark.parametrize("patience", [None, 1, 8])  # 8: two looks exactly
@pytest.mark.parametrize("gain", [None, 0.0, 0.3])
@pytest.mark.parametrize("kind", ["none", "length", "gnmt"])
@pytest.mark.parametrize("nbest", [1, 4])
def test_looks_are_the_same(monkeypatch, kind, gain, patience, nbest) -> None:
    rules, closed = closing.Stopping(Ranking(normalisation=kind, alpha=0.8, bonus=0.1), 12, gain, patience), set()
    for seed in range(6):
        kept, progress = history(seed), closing.open_all(LONGEST, nbest)
        for step in range(3, 12, 4):
            given = progress, kept[step - 3 : step + 1], step, rules
            found = closing.look(*given)
            with monkeypatch.context() as patched:
                patched.setattr(closing, "_COMPILED", "nowhere")
                wanted = closing.look(*given)
            assert all(map(torch.equal, found, wanted))
            assert all(one.dtype == other.dtype for one, other in zip(found, wanted, strict=True))
            progress = found
            closed |= set(progress.last[~progress.open].tolist())
    assert len(closed) > 3  # by what was seen, not by the maximum length alone


def test_a_look_leaves_what_was_seen_before() -> None:
    before = closing.open_all(LONGEST, 2)
    kept = [part.clone() for part in before]
    ranking = Ranking(normalisation="none", alpha=1.0, bonus=0.0)
    closing.look(before, history(1)[:4], 3, closing.Stopping(ranking, 12, 0.0, 1))
    assert all(map(torch.equal, before, kept))
