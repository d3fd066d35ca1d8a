"""Two systems: what is said of their difference."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq_asr.commands.significance.pairs import compare_pairs
from seq2seq_asr.evaluation.significance import smallest_corrected
from tests.commands.significance.conftest import decode, system

errors = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("abcdefgh")), min_size=2, max_size=12)


@settings(max_examples=30)
@given(errors, st.booleans())
def test_swapping_the_systems_turns_the_difference_and_keeps_the_rest(found, known: bool) -> None:
    speakers = [who if known else None for _, _, who in found]
    first, second = (system([row[side] for row in found], speakers) for side in (0, 1))
    (forward,), (backward,) = compare_pairs([first, second]), compare_pairs([second, first])
    assert forward.student.difference == -backward.student.difference
    assert (forward.verdict, forward.reason) == (backward.verdict, backward.reason)
    for name in ("p_value", "over_speakers", "over_utterances"):
        assert getattr(forward, name) == pytest.approx(getattr(backward, name))


@settings(max_examples=30)
@given(errors, st.booleans())
def test_a_system_does_not_differ_from_itself(found, known: bool) -> None:
    one = system([row[0] for row in found], [who if known else None for _, _, who in found])
    (pair,) = compare_pairs([one, one])
    assert (pair.student.difference, pair.p_value, pair.verdict) == (0.0, 1.0, "not significant")


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=2, max_size=4), st.integers(1, 9))
def test_a_verdict_is_what_both_tests_say(found: list[list[int]], speakers: int) -> None:
    names = [f"s{place % speakers}" for place in range(9)]
    pairs = compare_pairs([system(one, names) for one in found])
    for pair in pairs:
        assert pair.p_value >= max(pair.student.p_value, pair.exchange)
        assert (pair.verdict == "significant") == (pair.p_value <= 0.05)
        assert (pair.reason != "") == (pair.verdict == "cannot be told")
        assert (pair.over_speakers is None) == (speakers == 1)
        who, first, second = np.array(names), pair.first.errors, pair.second.errors
        differing = sum(int(first[who == one].sum() != second[who == one].sum()) for one in set(names))
        enough = speakers > 1 and (differing == 0 or smallest_corrected(differing, len(pairs)) <= 0.05)
        assert (pair.over_utterances is None) == enough
        assert pair.verdict != "cannot be told" or not enough or not pair.student.interval.known


def test_five_speakers_cannot_tell(tmp_path: Path, call) -> None:
    """All the difference is one speaker's: utterances tell it, a test over speakers does not."""
    speakers = [f"s{place % 5}" for place in range(100)]
    first = system([0] * 100, speakers)
    (pair,) = compare_pairs([first, system([place % 5 == 0 for place in range(100)], speakers)])
    assert pair.over_utterances is not None and pair.over_utterances < 0.001
    assert pair.verdict == "cannot be told"
    assert pair.reason.startswith("utterances tell them apart, 5 speakers do not (t: p = 0.37")
    even = [1 + (place in (3, 6, 12)) for place in range(100)]
    assert compare_pairs([first, system(even, speakers)])[0].verdict == "significant", "all speakers agree: t tells"
    result = call(decode(tmp_path / "a", 0.1, speakers=5), decode(tmp_path / "b", 0.15, speakers=5, seed=1))
    assert (
        "Where those who differ are too few for an exchange of speakers to reach 0.05, utterances count." in result.out
    )
    assert result.out.count("exchange, ") == 2 and "bootstrap over 5 speakers" in result.out


def test_a_speaker_without_a_difference_does_not_help_to_exchange() -> None:
    """Six speakers of whom one is equal are five: utterances are exchanged, and all six are asked by t."""
    speakers = [f"s{place % 6}" for place in range(120)]
    errors = [int(place % 6 > 0 and place // 6 < 8 + place % 2) for place in range(120)]
    (pair,) = compare_pairs([system([0] * 120, speakers), system(errors, speakers)])
    assert pair.over_speakers == 0.0625 and pair.over_utterances is not None and pair.student.p_value < 0.01
    assert pair.verdict == "significant"


def test_equal_differences_everywhere_hide_their_spread() -> None:
    speakers = [f"s{place % 8}" for place in range(80)]
    (pair,) = compare_pairs([system([0] * 80, speakers), system([1] * 80, speakers)])
    assert pair.verdict == "cannot be told" and "8 speakers differ alike" in pair.reason
    (pair,) = compare_pairs([system([0], ["a"]), system([1], ["a"])])
    assert pair.verdict == "cannot be told" and "single utterance" in pair.reason
    (pair,) = compare_pairs([system([0, 0, 0], [None] * 3), system([1, 1, 2], [None] * 3)])
    assert pair.reason == "exchanging 3 utterances gives no p-value below 0.25"
