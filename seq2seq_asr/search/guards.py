"""Guards: transcripts that cannot be right, found by what CTC hears, and replaced by what CTC would rather say.

An attention decoder can loop, stop in the middle of the speech, or talk in silence, above all where the audio is longer
than what it learnt from (Chorowski et al. 2015 show it). The best path of CTC hardly can: its labels stand in the order
of the frames. So it is the witness; a model without CTC has only its loops found.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Literal, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

Guarding = Literal["off", "flag", "replace"]
Flag = Literal["loop", "truncated", "silence"]

LONGEST_LOOP = 8
"""Tokens of the longest n-gram whose repetition is noticed."""
COPIES = 4
"""Copies in a row that are a loop, when the attention stands still."""
MANY_COPIES = 10
"""Copies in a row that are a loop in any case."""
UNSAID = 3
"""CTC labels behind the last token's frame that tell of truncation."""
MARGIN = 3
"""Encoded frames by which the attention may lag behind CTC."""


class Heard(NamedTuple):
    """The best path of CTC: labels without repetitions and blanks, and the frame where each begins."""

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    log_prob: float
    """Natural-log probability of the path."""


def listen(log_probs: Float[Tensor, "B S V"], lengths: Int[Tensor, " B"]) -> list[Heard]:
    """The best path of CTC in every utterance; start and end are no labels."""
    possible = log_probs.clone()
    possible[:, :, [SOS, EOS]] = float("-inf")
    values, labels = possible.max(2)
    return [
        _collapse(row[:length], sum(value[:length]))
        for row, value, length in zip(labels.tolist(), values.double().tolist(), lengths.tolist(), strict=True)
    ]


def _collapse(path: Sequence[int], log_prob: float) -> Heard:
    runs = [(label, next(run)[0]) for label, run in groupby(enumerate(path), key=lambda pair: pair[1])]
    spoken = [(label, frame) for label, frame in runs if label != BLANK]
    return Heard(tuple(label for label, _ in spoken), tuple(frame for _, frame in spoken), log_prob)


def flags_of(hypothesis: Hypothesis, heard: Heard | None) -> tuple[Flag, ...]:
    """What is wrong with a transcript.

    Args:
        hypothesis: The transcript, with the frames that the attention looked at.
        heard: What CTC hears; None for a model without CTC.
    """
    found: list[Flag] = []
    if is_loop(hypothesis.tokens, hypothesis.frames):
        found.append("loop")
    if heard is not None and is_truncated(hypothesis, heard):
        found.append("truncated")
    if heard is not None and hypothesis.tokens and not heard.tokens:
        found.append("silence")
    return tuple(found)


def is_loop(tokens: Sequence[int], frames: Sequence[int]) -> bool:
    """Whether an n-gram repeats itself while the attention advances by less than a frame a token.

    Who says "five five five five" moves on in the audio, and is no loop; ten copies are one wherever they stand.
    """
    for period in range(1, LONGEST_LOOP + 1):
        repeated = 0
        for place in range(period, len(tokens)):
            repeated = repeated + 1 if tokens[place] == tokens[place - period] else 0
            span = repeated + period
            stands = len(frames) == len(tokens) and frames[place] - frames[place - span + 1] < span - 1
            if span >= MANY_COPIES * period or (stands and span >= COPIES * period):
                return True
    return False


def is_truncated(hypothesis: Hypothesis, heard: Heard) -> bool:
    """Whether CTC hears several labels behind the frame that the attention looked at last.

    What the maximum length cut did not stop by itself, and says so already: ``Hypothesis.ended``.
    """
    if hypothesis.tokens and not hypothesis.ended:
        return False
    last = max(hypothesis.frames, default=-1 if not hypothesis.tokens else None)
    return last is not None and sum(frame > last + MARGIN for frame in heard.frames) >= UNSAID


def guard(
    found: Sequence[list[Hypothesis]],
    heard: Sequence[Heard] | None,
    guarding: Guarding,
    retry: Callable[[list[int]], list[list[Hypothesis]]] | None = None,
) -> list[list[Hypothesis]]:
    """Flag every transcript, and replace the degenerate best ones by steps: another search, then CTC alone.

    Args:
        found: N-best lists, one an utterance.
        heard: What CTC hears in each; None without CTC, which leaves nothing to replace by.
        guarding: ``off`` does nothing, ``flag`` only flags.
        retry: Searches the utterances at these places again, with more weight on CTC; None skips that step.

    Returns:
        The lists; what replaces a transcript bears its flags and ``fallback``, the name of the step.
    """
    if guarding == "off":
        return list(found)
    lists = [_flagged(nbest, heard[place] if heard else None) for place, nbest in enumerate(found)]
    wrong = [place for place, nbest in enumerate(lists) if nbest[0].flags]
    if guarding == "flag" or heard is None or not wrong:
        return lists
    again = retry(wrong) if retry is not None else [None] * len(wrong)
    for place, nbest in zip(wrong, again, strict=True):
        flags, step = lists[place][0].flags, "ctc_weight"
        if nbest is None or _still_wrong(nbest[0], heard[place], flags):
            nbest, step = [_said_by_ctc(heard[place])], "ctc"
        lists[place] = [replace(one, flags=flags, fallback=step) for one in nbest]
    return lists


def _still_wrong(hypothesis: Hypothesis, heard: Heard, before: Sequence[str]) -> bool:
    """Whether a second search did no better; after a loop, any repetition is one, wherever the attention goes."""
    still = [0] * len(hypothesis.tokens)
    return bool(flags_of(hypothesis, heard)) or ("loop" in before and is_loop(hypothesis.tokens, still))


def _flagged(nbest: Sequence[Hypothesis], heard: Heard | None) -> list[Hypothesis]:
    return [replace(one, flags=flags_of(one, heard)) for one in nbest]


def _said_by_ctc(heard: Heard) -> Hypothesis:
    """The best path as a transcript, scored per token and end as the search's are by default.

    Its log probability under the attention is not known.
    """
    score, unknown = heard.log_prob / (len(heard.tokens) + 1), float("-inf")
    return Hypothesis(heard.tokens, score, unknown, {"ctc_path": heard.log_prob}, heard.frames)
