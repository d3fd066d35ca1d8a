"""Times of tokens and words: forced alignment against all paths, and words out of pieces."""

import itertools

import pytest
import torch

from seq2seq_asr.search.alignment import Span, attention_spans, ctc_spans, word_places, word_spans
from seq2seq_asr.vocabulary import BLANK


def best_path(log_probs: torch.Tensor, tokens: tuple[int, ...]) -> list[Span] | None:
    """The spans of the most probable of all paths that collapse to these tokens."""
    found = []
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        runs = [(label, [frame for frame, _ in run]) for label, run in
                itertools.groupby(enumerate(path), key=lambda pair: pair[1])]  # fmt: skip
        spoken = [(label, Span(frames[0], frames[-1] + 1)) for label, frames in runs if label != BLANK]
        if tuple(label for label, _ in spoken) == tokens:
            total = sum(float(log_probs[frame, label]) for frame, label in enumerate(path))
            found.append((total, [span for _, span in spoken]))
    return max(found)[1] if found else None


@pytest.mark.parametrize(
    "tokens", [(), (1,), (2, 1), (2, 2), (1, 2, 1), (3, 3, 1, 1), (1, 2, 3, 1, 2, 3), (2, 2, 2, 2)]
)
def test_the_alignment_is_the_best_of_all_paths(toy, tokens) -> None:
    (log_probs,) = toy.posteriors(1, 6, 4, seed=len(tokens))
    assert ctc_spans(log_probs, tokens) == best_path(log_probs, tokens)


def test_attention_never_goes_back() -> None:
    assert attention_spans([2, 5, 3, 5, 6]) == [Span(2, 3), Span(5, 6), Span(5, 6), Span(5, 6), Span(6, 7)]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([], []),
        (["▁a", "b", "▁c"], [[0, 1], [2]]),
        (["a", "▁", "b"], [[0], [1, 2]]),
        (["▁", "▁a"], [[0], [1]]),
    ],
)
def test_words_begin_where_a_space_does(pieces, words) -> None:
    assert [list(place) for place in word_places(pieces)] == words


def test_a_word_ends_where_the_next_begins_at_the_latest() -> None:
    spans, words = [Span(1, 2), Span(4, 9), Span(6, 7), Span(6, 8)], [range(0, 2), range(2, 3), range(3, 4)]
    assert word_spans(spans, words) == [Span(1, 6), Span(6, 7), Span(6, 8)]
    assert word_spans([], []) == []
