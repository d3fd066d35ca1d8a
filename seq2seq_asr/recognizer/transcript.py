"""What a recogniser says of an utterance."""

from dataclasses import dataclass
from typing import NamedTuple


class Word(NamedTuple):
    """A word and when it was said."""

    text: str
    start: float
    """Seconds from the start of the utterance."""
    end: float
    """Seconds; the end of the encoded frame at which the last piece's attention peaked, or of its frames on the path of
    CTC. Neither measures how long the word lasts. Never beyond the audio, nor beyond the next word's start unless both
    begin in one frame."""
    confidence: float | None = None
    """How probably the word is right, from 0 to 1; None in the lower places of an n-best list."""


class Passage(NamedTuple):
    """What became of one segment of a recording that was too long for one search."""

    start: float
    """Seconds from the start of the recording."""
    end: float
    text: str
    score: float
    """The figure that the segment's transcripts were ranked by."""
    ended: bool
    flags: tuple[str, ...]
    """As `Transcript.flags`; ``quiet`` alone for the middle of a long pause, which was not searched."""
    fallback: str | None


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said, how sure the model is, and when each piece was said."""

    id: str
    """Id of the utterance, the audio file's path, or the place of samples in the list."""
    text: str
    """Transcript; empty when nothing was recognised."""
    score: float
    """The figure transcripts are ranked by."""
    log_prob: float
    """Natural-log probability under the attention decoder, the end of the sentence included; -inf also where it is not
    known, because CTC alone said the text or a segment of it."""
    pieces: tuple[str, ...]
    """SentencePiece pieces of the text."""
    times: tuple[float, ...]
    """Seconds from the start at which the attention peaked for each piece; empty without attention."""
    ended: bool
    """False when the search was cut at its maximum length."""
    scores: dict[str, float]
    """Unweighted total of every scorer."""
    words: tuple[Word, ...] = ()
    """Words of the text with their times, from ``BeamConfig.align``; in order, and none before the one before it. Empty
    where nothing tells times: without attention, and without CTC or with too few frames for it."""
    flags: tuple[str, ...] = ()
    """What the guards found wrong with the search's own transcript: loop, truncated, silence."""
    fallback: str | None = None
    """What replaced it, if something did: ctc_weight (a search with more weight on CTC) or ctc (CTC alone)."""
    nbest: tuple["Transcript", ...] = ()
    """All transcripts found, best first, this one included; empty within the list itself, and for a recording that was
    cut into segments."""
    segments: tuple[Passage, ...] = ()
    """The segments of a recording that was cut, from its start to its end without a gap; else empty."""
