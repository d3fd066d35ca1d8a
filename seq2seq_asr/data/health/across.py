"""Checks that compare utterances: doubles within a set, what training shares with a test set, two ways to write."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar
from unicodedata import is_normalized

from seq2seq_asr.data.health.examine import Examined, ExaminedSet
from seq2seq_asr.data.health.findings import Finding
from seq2seq_asr.data.health.signal import Signal

K = TypeVar("K", bound=Hashable)
_NAMED = 3
"""Utterances or speakers that the text of a finding names; it carries the ids of all."""


def check_doubles(examined: ExaminedSet) -> Iterator[Finding]:
    """Utterances of one set with the same audio, or with the same text."""
    for items in _grouped(examined.items, _audio).values():
        texts = sorted({item.spelling.text for item in items})
        check = "duplicate_audio" if len(texts) == 1 else "contradiction"
        yield from _double(check, examined, items, ", ".join(map(repr, texts)))
    for text, items in _grouped(examined.items, _text).items():
        yield from _double("duplicate_text", examined, items, repr(text))


def _double(check: str, examined: ExaminedSet, items: Sequence[Examined], text: str) -> Iterator[Finding]:
    if len(items) > 1:
        ids = tuple(item.utterance.id for item in items)
        yield Finding(check=check, set=examined.name, ids=ids, detail=f"{_listed(ids)}: {text}")


def check_leaks(train: ExaminedSet, test: ExaminedSet) -> Iterator[Finding]:
    """What a test set has in common with training: audio, texts by the same speaker, speakers, texts."""
    for check, key in (("audio_leak", _audio), ("text_leak", _speaker_and_text)):
        known = _grouped(train.items, key)
        for value, items in _grouped(test.items, key).items():
            if value in known:
                tested, trained = ([item.utterance.id for item in group] for group in (items, known[value]))
                detail = f"{_listed(tested)}; in training {_listed(trained)}: {items[0].spelling.text!r}"
                yield Finding(check=check, set=test.name, ids=(*tested, *trained), detail=detail)
    yield from _shared("speaker_overlap", "speakers", train, test, _speaker)
    yield from _shared("text_overlap", "texts", train, test, _text)


def _shared(
    check: str, noun: str, train: ExaminedSet, test: ExaminedSet, key: Callable[[Examined], str | None]
) -> Iterator[Finding]:
    """All that a test set shares with training by one key, as one finding."""
    trained, tested = (_grouped(examined.items, key) for examined in (train, test))
    if shared := sorted(trained.keys() & tested.keys()):
        ids = tuple(item.utterance.id for value in shared for item in tested[value])
        share = f"{len(shared)} of {len(tested)} {noun}, {len(ids)} of {len(test.items)} utterances"
        named = _listed([repr(text) for text in shared] if noun == "texts" else shared)
        yield Finding(check=check, set=test.name, ids=ids, detail=f"{share}: {named}")


def check_composition(sets: Sequence[ExaminedSet]) -> Iterator[Finding]:
    """Texts in which a letter and its mark are two characters, where elsewhere they are one."""
    characters = {one for examined in sets for item in examined.items for one in item.spelling.text}
    if not any(is_normalized("NFC", one) and not is_normalized("NFD", one) for one in characters):
        return
    for examined in sets:
        ids = tuple(item.utterance.id for item in examined.items if not is_normalized("NFC", item.spelling.text))
        if ids:
            detail = f"{len(ids)} of {len(examined.items)} utterances are not in NFC, as others are: {_listed(ids)}"
            yield Finding(check="composition", set=examined.name, ids=ids, detail=detail)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" … ({len(names)})" if len(names) > _NAMED else "")


def _grouped(items: Sequence[Examined], key: Callable[[Examined], K | None]) -> dict[K, list[Examined]]:
    """Items by what ``key`` tells of them; those without are left out."""
    groups: dict[K, list[Examined]] = {}
    for item in items:
        if (value := key(item)) is not None:
            groups.setdefault(value, []).append(item)
    return groups


def _audio(item: Examined) -> bytes | None:
    return item.signal.digest if isinstance(item.signal, Signal) else None


def _text(item: Examined) -> str | None:
    return item.spelling.text or None


def _speaker(item: Examined) -> str | None:
    return item.utterance.speaker


def _speaker_and_text(item: Examined) -> tuple[str, str] | None:
    speaker, text = item.utterance.speaker, item.spelling.text
    return (speaker, text) if speaker is not None and text else None
