"""Scores of a decoding against its references."""

from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.commands.decode.classes import write_class_scores
from seq2seq_asr.commands.decode.results import write_scores
from seq2seq_asr.commands.decode.transcribing import Decoded
from seq2seq_asr.console import say
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.evaluation.report import Scored, format_report, make_report
from seq2seq_asr.recognizer import SpeechClassifier, Transcriber


def score(
    folder: Path, recognizer: Transcriber, utterances: Sequence[Utterance], decoded: Decoded, seed: int
) -> str | None:
    """Score what was decoded and has a reference, normalised as in training; None when nothing is left.

    Returns:
        The report as text.
    """
    if not decoded.transcripts:
        return None
    scored = [
        Scored(
            id=utterance.id,
            reference=recognizer.tokenizer.normalise(utterance.text),
            hypothesis=decoded.transcripts[place].text,
            speaker=utterance.speaker,
        )
        for place, utterance in enumerate(utterances)
        if place in decoded.transcripts and utterance.text
    ]
    if len(scored) < len(decoded.transcripts):
        say(f"{len(decoded.transcripts) - len(scored)} utterances have no reference text: transcribed, not scored")
    heard = sum(utterances[place].duration for place in decoded.transcripts if place not in decoded.kept)
    factor = decoded.seconds / heard if heard else None
    if not scored:
        say("real-time factor " + ("not measured" if factor is None else f"{factor:.3g}"))
        return None
    if isinstance(recognizer, SpeechClassifier):
        return write_class_scores(folder, scored, recognizer.tokenizer.names, factor, seed, len(decoded.errors))
    report = make_report(scored, real_time_factor=factor, seed=seed)
    write_scores(folder, scored, report, len(decoded.errors))
    return format_report(report)
