"""Guards: what cannot be right is found, what can is left alone, and the ladder is climbed step by step."""

import math
from dataclasses import replace

import pytest
import torch

from seq2seq_asr.search.guards import Heard, flags_of, guard, is_loop, listen
from seq2seq_asr.search.hypothesis import NOTHING, Hypothesis
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

SPEECH = Heard((4, 5, 6, 7, 8), (2, 6, 10, 14, 18), -3.0)
SILENCE = Heard((), (), -0.1)


def said(tokens: tuple[int, ...], frames: tuple[int, ...]) -> Hypothesis:
    return Hypothesis(tokens, -1.0, -1.0, {"attention": -1.0}, frames)


GOOD = said((4, 5, 6, 7, 8), (2, 6, 10, 14, 18))
LOOP = said((4, *[5, 6] * 5), (2, *[6] * 10))
SHORT = said((4,), (2,))


@pytest.mark.parametrize(
    ("tokens", "frames", "loops"),
    [
        ([4, 4, 4, 4], [3, 3, 4, 4], True),
        ([4, 4, 4, 4], [3, 7, 11, 15], False),  # "five five five five"
        ([4, 4, 4], [3, 3, 3], False),
        ([5, 6, 7] * 4, [9] * 12, True),
        ([5, 6, 7] * 4, list(range(0, 48, 4)), False),
        ([9, 8, *[5, 6, 7] * 4, 3], [1, 2, *[9] * 12, 30], True),
        ([5, 6, 7] * 3, [9] * 9, False),
        ([4] * 10, list(range(0, 40, 4)), True),
        ([4] * 9, list(range(0, 36, 4)), False),
        ([4] * 9, [], False),
        ([], [], False),
        (list(range(4, 12)) * 4, [9] * 32, True),
        (list(range(4, 13)) * 4, [9] * 36, False),
    ],
)
def test_loops(tokens, frames, loops) -> None:
    assert is_loop(tokens, frames) is loops


@pytest.mark.parametrize(
    ("hypothesis", "heard", "flags"),
    [
        (GOOD, SPEECH, ()),
        (GOOD, None, ()),
        (LOOP, None, ("loop",)),
        (LOOP, SPEECH, ("loop", "truncated")),
        (SHORT, SPEECH, ("truncated",)),
        (said((4, 5), (2, 8)), SPEECH, ()),  # 14 and 18 only: one label may be missed
        (replace(SHORT, ended=False), SPEECH, ()),  # cut at the maximum length
        (NOTHING, SPEECH, ("truncated",)),
        (NOTHING, SILENCE, ()),
        (GOOD, SILENCE, ("silence",)),
        (said((4,), ()), SPEECH, ()),
    ],
)
def test_flags(hypothesis, heard, flags) -> None:
    assert flags_of(hypothesis, heard) == flags


def test_ctc_is_heard_without_blanks_repetitions_and_padding() -> None:
    path = [BLANK, 4, 4, BLANK, 4, 5, BLANK, 6, 6]
    log_probs = torch.full((2, 9, 8), -9.0)
    log_probs[:, range(9), path] = -0.5
    log_probs[:, 0, [SOS, EOS]] = -0.1
    whole, part = listen(log_probs, torch.tensor([9, 6]))
    assert whole == Heard((4, 4, 5, 6), (1, 4, 5, 7), -4.5)
    assert part == Heard((4, 4, 5), (1, 4, 5), -3.0)


def test_the_ladder() -> None:
    asked = []

    def retry(rows: list[int]) -> list[list[Hypothesis]]:
        asked.append(rows)
        return [[GOOD, SHORT] if row == 1 else [LOOP] for row in rows]

    found = guard([[GOOD, SHORT], [SHORT], [LOOP], [GOOD]], [SPEECH, SPEECH, SPEECH, SILENCE], "replace", retry)
    assert asked == [[1, 2, 3]]
    assert [one.flags for one in found[0]] == [(), ("truncated",)] and found[0][0].fallback is None
    assert [(one.tokens, one.flags, one.fallback) for one in found[1]] == [
        (GOOD.tokens, ("truncated",), "ctc_weight"),
        (SHORT.tokens, ("truncated",), "ctc_weight"),
    ]
    ((by_ctc,), (empty,)) = found[2:]
    assert (by_ctc.tokens, by_ctc.frames, by_ctc.fallback) == (SPEECH.tokens, SPEECH.frames, "ctc")
    assert by_ctc.flags == ("loop", "truncated") and by_ctc.scores == {"ctc_path": -3.0} and by_ctc.ended
    assert by_ctc.score == pytest.approx(-3.0 / (len(SPEECH.tokens) + 1)) and by_ctc.log_prob == -math.inf
    assert empty.tokens == () and empty.flags == ("silence",) and empty.fallback == "ctc"


def test_after_a_loop_no_repetition_is_believed() -> None:
    digits = said((4, 4, 4, 4, 5), (2, 6, 10, 14, 18))
    for first, step in ((SHORT, "ctc_weight"), (LOOP, "ctc")):
        ((found,),) = guard([[first]], [SPEECH], "replace", lambda rows: [[digits]])
        assert found.fallback == step


def test_flags_alone_replace_nothing() -> None:
    lists = [[SHORT], [GOOD]]
    assert guard(lists, [SPEECH, SPEECH], "off") == lists
    for flagged in (guard(lists, [SPEECH, SPEECH], "flag"), guard([[LOOP]], None, "replace")):
        assert flagged[0][0].flags and flagged[0][0].fallback is None
        assert flagged[0][0].tokens in (SHORT.tokens, LOOP.tokens)
