"""One transcript of a long recording out of those of its segments."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from seq2seq_asr.recognizer.transcript import Passage, Transcript, Word
from seq2seq_asr.unspaced import CJK_PUNCTUATION, UNSPACED

QUIET = Transcript(
    id="", text="", score=0.0, log_prob=0.0, pieces=(), times=(), ended=True, scores={}, flags=("quiet",)
)
"""Stands for a segment that is not searched."""
_UNSPACED = re.compile(f"[{UNSPACED}{CJK_PUNCTUATION}]{{2}}")
"""Two characters of scripts that write no space between them, or their punctuation."""


def stitch(id: str, parts: Sequence[Transcript], spans: Sequence[tuple[float, float]]) -> Transcript:
    """Join the transcripts of touching segments.

    Scores and log probabilities add up; the latter is not known (-inf) where CTC alone said a segment. The ranking
    score is the mean over the segments, each weighted by its tokens and its end. Every time counts from the start of
    the recording.

    Args:
        id: Of the recording.
        parts: In order; `QUIET` for those that were not searched.
        spans: Start and end of each segment in seconds.

    Returns:
        The transcript, with its segments and without an n-best list.
    """
    searched = [part for part in parts if part is not QUIET]
    moved = [replace(part, words=_words(part, *span)) for part, span in zip(parts, spans, strict=True)]
    times = [time + span[0] for part, span in zip(parts, spans, strict=True) for time in part.times]
    weights = [len(part.pieces) + 1 for part in searched]
    return Transcript(
        id=id,
        text=joined([part.text for part in searched if part.text]),
        score=_mean([part.score for part in searched], weights),
        log_prob=math.fsum(part.log_prob for part in searched),
        pieces=tuple(piece for part in searched for piece in part.pieces),
        times=tuple(round(time, 3) for time in times),
        ended=all(part.ended for part in searched),
        scores=_added([part.scores for part in searched]),
        words=tuple(word for part in moved for word in part.words),
        flags=tuple(dict.fromkeys(flag for part in searched for flag in part.flags)),
        fallback=next((part.fallback for part in searched if part.fallback is not None), None),
        segments=tuple(_passage(part, *span) for part, span in zip(parts, spans, strict=True)),
    )


def joined(texts: Sequence[str]) -> str:
    """Texts, none of them empty, with a space in between where their scripts write one."""
    text = "".join(texts[:1])
    for following in texts[1:]:
        text += ("" if _UNSPACED.fullmatch(text[-1] + following[0]) else " ") + following
    return text


def _words(part: Transcript, start: float, end: float) -> tuple[Word, ...]:
    """The words in the recording's time; the last encoded frame may reach beyond the segment, its words do not."""
    return tuple(
        word._replace(start=round(start + word.start, 3), end=round(min(start + word.end, end), 3))
        for word in part.words
    )


def _passage(part: Transcript, start: float, end: float) -> Passage:
    return Passage(round(start, 3), round(end, 3), part.text, part.score, part.ended, part.flags, part.fallback)


def _mean(scores: Sequence[float], weights: Sequence[int]) -> float:
    total = sum(weights)
    return sum(score * weight for score, weight in zip(scores, weights, strict=True)) / total if total else 0.0


def _added(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in scores for name in one)
    return {name: math.fsum(one.get(name, 0.0) for one in scores) for name in names}
