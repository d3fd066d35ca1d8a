"""Checks that look at one utterance at a time, or at what its own set is like."""

from collections.abc import Iterator
from typing import Final

from seq2seq_asr.data.audio import TOLERANCE
from seq2seq_asr.data.health.examine import Examined, ExaminedSet
from seq2seq_asr.data.health.findings import Finding
from seq2seq_asr.data.health.signal import Signal
from seq2seq_asr.data.health.target import Target
from seq2seq_asr.errors import AudioError

UNHEARD: Final = 0.1
"""Seconds by which a file may be longer than its manifest says: lossy codecs pad the end."""
CLIPPED: Final = 1e-3
"""Share of clipped samples from which an utterance is named."""
QUIET: Final = 0.9
"""Share of quiet blocks from which an utterance is nearly all silence."""
LOUD: Final = 1.2
"""Largest sample, where full scale is 1, from which an utterance is named: lossy codecs go a little beyond."""
BARELY_AUDIBLE: Final = -45.0
"""Level of the loudest block, in dB of full scale, below which an utterance is barely audible."""


def check_utterances(examined: ExaminedSet, target: Target) -> Iterator[Finding]:
    """Everything that is wrong with single utterances of a set."""
    texts = any(item.utterance.text for item in examined.items)
    for item in examined.items:
        if texts and not item.utterance.text:
            yield Finding(check="empty_text", set=examined.name, ids=(item.utterance.id,), detail="''")
        for check, detail in _check(item, target):
            yield Finding(check=check, set=examined.name, ids=(item.utterance.id,), detail=detail)


def check_kinds(examined: ExaminedSet, target: Target) -> Iterator[Finding]:
    """Sampling rates (or numbers of bins) that few utterances have, or that lack what the model was made for."""
    groups: dict[str, list[Examined]] = {}
    for item in examined.items:
        if isinstance(item.signal, Signal):
            groups.setdefault(item.signal.kind, []).append(item)
    usual = max(groups, key=lambda kind: len(groups[kind]), default=None)
    for kind, items in groups.items():
        signal = items[0].signal
        poor = isinstance(signal, Signal) and items[0].utterance.audio is not None and signal.rate < target.rate
        if kind != usual or poor:
            why = f"the model reads {target.rate} Hz" if poor else f"{usual} is usual"
            ids = tuple(item.utterance.id for item in items)
            detail = f"{len(ids)} of {len(examined.items)} utterances, such as {ids[0]}: {kind}, {why}"
            yield Finding(check="rate", set=examined.name, ids=ids, detail=detail)


def _check(item: Examined, target: Target) -> Iterator[tuple[str, str]]:
    if item.utterance.text and not item.spelling.text:
        yield "no_text", repr(item.utterance.text)
    if item.spelling.unknown and target.classifies:
        yield "label", repr(item.spelling.text)
    elif item.spelling.unknown:
        unknown = target.unknown_characters(item.utterance.text)
        yield "unknown", f"{item.spelling.unknown} of {item.spelling.tokens} pieces: {' '.join(unknown)}"
    if isinstance(item.signal, AudioError):
        yield "unreadable", str(item.signal)
        return
    if (found := "audio" if item.utterance.audio else item.signal.kind) != target.reads:
        yield "input", f"{found}, the model reads {target.reads}"
        return
    yield from _check_length(item, item.signal, target)
    yield from _check_sound(item, item.signal)


def _check_length(item: Examined, signal: Signal, target: Target) -> Iterator[tuple[str, str]]:
    promised, found = item.utterance.duration, signal.seconds
    shorter = TOLERANCE if item.utterance.audio else UNHEARD  # features lose a window's length at their end
    if item.alone and not -shorter <= found - promised <= UNHEARD:
        yield "duration", f"{promised:.3f} s in the manifest, {found:.3f} s in the file"
    frames = target.encoded_frames(signal, features=item.utterance.audio is None)
    if frames == 0:
        yield "unreadable", f"too short: {found:.3f} s do not fill a frame"
    elif item.spelling.frames > frames:
        yield "ctc", f"{item.spelling.tokens} tokens need {item.spelling.frames} frames, {found:.2f} s give {frames}"


def _check_sound(item: Examined, signal: Signal) -> Iterator[tuple[str, str]]:
    if signal.clipped >= CLIPPED:
        yield "clipping", f"{100 * signal.clipped:.2f} % of the samples"
    if signal.peak >= LOUD:
        yield "loud", f"samples reach {signal.peak:.3g} where full scale is 1"
    if item.utterance.audio and signal.level < BARELY_AUDIBLE:
        yield "silence", f"loudest at {signal.level:.0f} dB"
    elif signal.quiet >= QUIET:
        yield "silence", f"{100 * signal.quiet:.0f} % of it is quiet"
