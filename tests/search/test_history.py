"""What is read from a history written by hand."""

import math

import pytest
import torch

from seq2seq_asr.search.advance import Kept
from seq2seq_asr.search.history import collect
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.ranking import Ranking
from seq2seq_asr.vocabulary import EOS

NEVER = -math.inf
SUM = Ranking(normalisation="none", alpha=1.0, bonus=0.0)


def kept(score: list[float], parents: list[int], tokens: list[int], gains: list[float]) -> Kept:
    """A step of one utterance that looked at frame 10 times the place."""
    frames = torch.tensor([[10 * place for place in range(len(score))]])
    values = torch.tensor([score], dtype=torch.float64)
    return Kept(values, torch.tensor([parents]), torch.tensor([tokens]), frames, (torch.tensor([gains]),))


def read(history: list[Kept], longest: int, last: int, nbest: int = 3) -> list[Hypothesis]:
    (found,) = collect(history, torch.tensor([longest]), torch.tensor([last]), ["attention"], SUM, nbest)
    return found


def test_a_path_is_followed_back_through_its_parents() -> None:
    history = [
        kept([-1.0, -2.0], [0, 0], [4, 5], [-1.0, -2.0]),
        kept([-2.5, -3.0], [1, 0], [6, 7], [-0.5, -2.0]),
        kept([-3.5, -3.75], [0, 1], [EOS, EOS], [-1.0, -0.75]),
    ]
    best, second = read(history, longest=9, last=2)
    assert (best.tokens, best.score, best.frames, best.ended) == ((5, 6), -3.5, (10, 0), True)
    assert best.scores == {"attention": pytest.approx(-3.5)} and best.log_prob == best.scores["attention"]
    assert (second.tokens, second.score, second.frames) == ((4, 7), -3.75, (0, 10))


def test_what_ended_after_the_last_step_that_counts_is_not_there() -> None:
    history = [
        kept([-1.0, -2.0], [0, 0], [4, EOS], [-1.0, -2.0]),
        kept([-1.5, NEVER], [0, 1], [EOS, 4], [-0.5, 0.0]),
    ]
    assert [one.tokens for one in read(history, longest=9, last=1)] == [(4,), ()]
    assert [one.tokens for one in read(history, longest=9, last=0)] == [()]


def test_at_the_maximum_length_only_possible_ends_take_their_transcript() -> None:
    """The end of the first, though kept, is impossible; that of the second is not; the third's is not kept."""
    history = [
        kept([-1.0, -2.0, -3.0], [0, 0, 0], [4, 5, 6], [-1.0, -2.0, -3.0]),
        kept([-2.5, -4.0, NEVER], [1, 2, 0], [EOS, 5, EOS], [-0.5, -1.0, 0.0]),
    ]
    found = read(history, longest=1, last=1)
    assert [(one.tokens, one.ended, one.score) for one in found] == [
        ((5,), True, -2.5), ((4,), False, -1.0), ((6,), False, -3.0),
    ]  # fmt: skip
    assert found[1].log_prob == pytest.approx(-1.0), "an end that was not reached adds nothing"


def test_among_equals_the_first_is_best() -> None:
    history = [kept([-1.0, -1.0, -1.0], [0, 0, 0], [EOS, 4, EOS], [-1.0] * 3), kept([-1.0], [1], [EOS], [0.0])]
    history[1] = kept([-1.0, NEVER, NEVER], [1, 0, 0], [EOS, 4, 4], [0.0] * 3)
    assert [one.tokens for one in read(history, longest=9, last=1)] == [(), (), (4,)]


def test_among_many_equals_the_first_are_best() -> None:
    """Sorts that are not stable are, of few."""
    places = list(range(300))
    history = [
        kept([-1.0] * 300, [0] * 300, [place + 100 for place in places], [-1.0] * 300),
        kept([-2.0] * 300, places, [EOS] * 300, [-1.0] * 300),
    ]
    assert [one.tokens for one in read(history, longest=9, last=1)] == [(100,), (101,), (102,)]


def test_what_ended_at_the_maximum_length_is_not_cut() -> None:
    history = [
        kept([-1.0, -2.0], [0, 0], [4, EOS], [-1.0, -2.0]),
        kept([-1.5, NEVER], [0, 1], [EOS, 4], [-0.5, 0.0]),
    ]
    assert [(one.tokens, one.ended) for one in read(history, longest=1, last=1)] == [((4,), True), ((), True)]


def test_of_an_utterance_closed_before_its_maximum_length_nothing_is_cut() -> None:
    history = [
        kept([-1.0, -2.0], [0, 0], [4, EOS], [-1.0, -2.0]),
        kept([-1.5, -3.0], [0, 0], [5, EOS], [-0.5, -2.0]),
        kept([-2.5, -3.5], [0, 0], [4, 5], [-0.5, -2.0]),
    ]
    assert [one.ended for one in read(history, longest=2, last=1)] == [True, True]
