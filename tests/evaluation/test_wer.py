import functools
import math

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.evaluation.wer import ErrorCounts, align, character_errors, characters, word_errors

WORDS = st.lists(st.sampled_from(["a", "b", "c", "ab", "ba", "é", "你", "好"]), max_size=9)
COUNTS = st.builds(
    ErrorCounts,
    **{name: st.integers(0, 99) for name in ("substitutions", "deletions", "insertions", "reference_length")},
)


def cheapest_triples(reference, hypothesis):
    """Oracle: every (substitutions, deletions, insertions) that a shortest edit script can have."""

    @functools.cache
    def best(i, j):
        if i == 0 or j == 0:
            return frozenset({(0, i, j)})
        differs = int(reference[i - 1] != hypothesis[j - 1])
        found = {(s + differs, d, n) for s, d, n in best(i - 1, j - 1)}
        found |= {(s, d + 1, n) for s, d, n in best(i - 1, j)}
        found |= {(s, d, n + 1) for s, d, n in best(i, j - 1)}
        fewest = min(map(sum, found))
        return frozenset(triple for triple in found if sum(triple) == fewest)

    return best(len(reference), len(hypothesis))


def triple(counts):
    return counts.substitutions, counts.deletions, counts.insertions


@given(WORDS, WORDS)
def test_word_counts_are_those_of_a_shortest_edit_script(reference, hypothesis):
    counts = word_errors(" ".join(reference), " ".join(hypothesis))
    assert triple(counts) in cheapest_triples(tuple(reference), tuple(hypothesis))
    assert counts.reference_length == len(reference)


@given(st.text("ab é", max_size=9), st.text("ab é", max_size=9))
def test_character_counts_are_those_of_a_shortest_edit_script(reference, hypothesis):
    counts = character_errors(reference, hypothesis)
    assert triple(counts) in cheapest_triples(" ".join(reference.split()), " ".join(hypothesis.split()))


@given(WORDS, WORDS)
def test_the_alignment_spells_both_texts_and_shows_the_counted_errors(reference, hypothesis):
    edits = align(reference, hypothesis)
    assert [edit.reference for edit in edits if edit.reference is not None] == reference
    assert [edit.hypothesis for edit in edits if edit.hypothesis is not None] == hypothesis
    kinds = [edit.kind for edit in edits]
    counts = word_errors(" ".join(reference), " ".join(hypothesis))
    assert tuple(map(kinds.count, ("substitution", "deletion", "insertion"))) == triple(counts)
    for kind, ref, hyp in edits:
        assert (kind == "correct") == (ref == hyp)
        assert (kind == "deletion", kind == "insertion") == (hyp is None, ref is None)


@given(st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=5))
def test_a_corpus_rate_equals_jiwers(pairs):
    texts = [(" ".join(reference), " ".join(hypothesis)) for reference, hypothesis in pairs]
    total = sum((word_errors(*pair) for pair in texts), ErrorCounts())
    assert total.rate == pytest.approx(jiwer.wer([ref for ref, _ in texts], [hyp for _, hyp in texts]))


@given(COUNTS, COUNTS, COUNTS)
def test_counts_add_up_in_any_order(first, second, third):
    assert (first + second) + third == third + (second + first)
    assert first + ErrorCounts() == first
    assert (first + second).errors == first.errors + second.errors


def test_an_empty_reference_counts_its_insertions_and_never_divides_by_zero():
    assert word_errors("", "").rate == 0.0
    assert word_errors(" \t", "two words").insertions == 2
    assert word_errors("", "word").rate == math.inf
    assert (word_errors("", "two words") + word_errors("a b c d", "a b c d")).rate == 0.5


def test_an_empty_hypothesis_is_all_deletions():
    assert word_errors("a b c", "") == ErrorCounts(deletions=3, reference_length=3)


def test_white_space_of_any_kind_and_length_is_one_space():
    assert word_errors("one\u3000two  three", " one\ttwo\nthree ").errors == 0
    assert character_errors("one  two", "one\ttwo") == ErrorCounts(reference_length=len("one two"))


def test_a_joined_word_costs_one_character():
    assert character_errors("ice cream", "icecream") == ErrorCounts(deletions=1, reference_length=9)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("而 对 楼市 成交", "而对楼市成交"),
        ("打 开 the  door 门", "打开the door门"),
        ("これ は ペン", "これはペン"),
        ("時 々 OK 〇 年", "時々OK〇年"),
        ("한국 말", "한국 말"),
        ("ein Satz", "ein Satz"),
    ],
)
def test_spaces_count_only_where_the_script_writes_them(text, counted):
    assert characters(text) == counted
    assert character_errors(text, counted).errors == 0
