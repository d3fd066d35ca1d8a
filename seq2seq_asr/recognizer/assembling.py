"""From what the search found to a transcript: text, pieces, times in seconds, words with their confidence."""

from collections.abc import Sequence
from dataclasses import replace

from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.recognizer.transcript import Transcript, Word
from seq2seq_asr.search.alignment import Span, word_places, word_spans
from seq2seq_asr.search.hypothesis import Hypothesis


def assemble(
    id: str,
    hypotheses: Sequence[Hypothesis],
    spans: Sequence[Sequence[Span]],
    sure: Sequence[float],
    tokenizer: Tokenizer,
    shift: float,
    seconds: float,
) -> Transcript:
    """The transcript of an utterance.

    Args:
        id: Of the utterance.
        hypotheses: Best first.
        spans: Encoded frames of each token of each hypothesis; empty where they are not known.
        sure: Confidence of each word of the best one; the others have none.
        tokenizer: Spells the tokens.
        shift: Seconds between two encoded frames.
        seconds: Length of the audio, which the last frame may reach beyond; no time does.
    """
    known = [sure, *[()] * (len(hypotheses) - 1)]
    parts = zip(hypotheses, spans, known, strict=True)
    nbest = tuple(_single(id, *part, tokenizer, shift, seconds) for part in parts)
    return replace(nbest[0], nbest=nbest)


def _single(
    id: str,
    hypothesis: Hypothesis,
    spans: Sequence[Span],
    sure: Sequence[float],
    tokenizer: Tokenizer,
    shift: float,
    seconds: float,
) -> Transcript:
    return Transcript(
        id=id,
        text=tokenizer.decode(hypothesis.tokens),
        score=hypothesis.score,
        log_prob=hypothesis.log_prob,
        pieces=tuple(tokenizer.pieces(hypothesis.tokens)),
        times=tuple(round(min((frame + 0.5) * shift, seconds), 3) for frame in hypothesis.frames),
        ended=hypothesis.ended,
        scores=hypothesis.scores,
        words=_words(hypothesis.tokens, spans, sure, tokenizer, shift, seconds),
        flags=hypothesis.flags,
        fallback=hypothesis.fallback,
    )


def _words(
    tokens: Sequence[int],
    spans: Sequence[Span],
    sure: Sequence[float],
    tokenizer: Tokenizer,
    shift: float,
    seconds: float,
) -> tuple[Word, ...]:
    if not spans:
        return ()
    places = word_places(tokenizer.pieces(tokens))
    texts = [tokenizer.decode(tokens[place.start : place.stop]).strip() for place in places]
    timed = zip(texts, word_spans(spans, places), sure if sure else (None,) * len(places), strict=True)
    return tuple(
        Word(text, round(a * shift, 3), round(min(b * shift, seconds), 3), None if how is None else round(how, 4))
        for text, (a, b), how in timed
        if text
    )
