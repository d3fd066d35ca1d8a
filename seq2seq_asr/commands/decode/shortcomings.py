"""Warnings of what is missing from a decoding, was cut, or looked wrong."""

from collections.abc import Sequence

from seq2seq_asr.commands.decode.transcribing import Decoded
from seq2seq_asr.console import say
from seq2seq_asr.data.sources import Source, source_id

NAMED = 3
"""How many utterances a warning names."""


def report_shortcomings(decoded: Decoded, sources: Sequence[Source]) -> None:
    """Say all of it, each in a line."""
    report_skips(decoded, sources)
    report_cut(decoded)
    report_flags(decoded)


def report_skips(decoded: Decoded, sources: Sequence[Source]) -> None:
    """Name everything that could not be decoded, and why."""
    for place, error in sorted(decoded.errors.items()):
        name = source_id(sources[place], place)
        reason = " ".join(str(error).splitlines())
        say(f"skipped {reason if reason.startswith(name) else f'{name}: {reason}'}")
    if decoded.errors:
        say(f"skipped {len(decoded.errors)} of {len(sources)} utterances; results are over the others")


def report_cut(decoded: Decoded) -> None:
    """Warn of transcripts that the search did not see end."""
    cut = [one.id for _, one in sorted(decoded.transcripts.items()) if not one.ended]
    if cut:
        listed = ", ".join(cut[:NAMED]) + (" …" if len(cut) > NAMED else "")
        say(f"warning: {len(cut)} transcripts did not end by themselves and were cut at maximum length: {listed}")


def report_flags(decoded: Decoded) -> None:
    """Warn of transcripts that the guards found wrong."""
    flagged = [one for _, one in sorted(decoded.transcripts.items()) if one.flags]
    if flagged:
        listed = ", ".join(f"{one.id} ({', '.join(one.flags)})" for one in flagged[:NAMED])
        replaced = sum(one.fallback is not None for one in flagged)
        more = " …" if len(flagged) > NAMED else ""
        say(f"warning: {len(flagged)} transcripts looked wrong, {replaced} of them were replaced: {listed}{more}")
