"""What a decoding has left: references and hypotheses, the same utterances of all folders."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq_asr.errors import ManifestError, UsageError
from seq2seq_asr.evaluation.report import Scored
from seq2seq_asr.evaluation.trn import TrnLine, read_trn

SCORES = ("wer.json", "accuracy.json")
"""What `decode` writes last, of a recogniser and of a classifier; other toolkits write neither."""
_SHOWN = 40
"""Characters of a text that an error shows, at most."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What one folder holds."""

    folder: Path
    scored: tuple[Scored, ...]
    """In the order of ``ref.trn``."""
    skipped: int
    """Utterances that `decode` could not decode, which the files lack; 0 where nothing is known of that."""
    classifies: bool | None
    """Whether `decode` ran a classifier; None of another toolkit's."""


def read_decoding(folder: Path) -> Decoding:
    """Read a folder.

    Raises:
        ManifestError: A file is missing or damaged, or both do not have the same utterances.
    """
    try:
        there = {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ManifestError(f"{folder}: no such folder") from error
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be read ({error.strerror})") from error
    for name in ("ref.trn", "hyp.trn"):
        if name not in there:
            raise ManifestError(f"{folder}: has no {name}, which `decode` writes of what has references")
    references, hypotheses = (_lines(folder / name) for name in ("ref.trn", "hyp.trn"))
    if not references:
        raise ManifestError(f"{folder / 'ref.trn'}: no utterances")
    for one, others, place in ((references, hypotheses, "hyp"), (hypotheses, references, "ref")):
        lacking = next((line.id for key, line in one.items() if key not in others), None)
        if lacking is not None:
            raise ManifestError(f"{folder / place}.trn: has no utterance {lacking!r}, unlike the other trn file there")
    scored = (
        Scored(id=line.id, reference=line.text, hypothesis=hypotheses[key].text, speaker=line.speaker)
        for key, line in references.items()
    )
    return Decoding(
        folder=folder,
        scored=tuple(scored),
        skipped=_skipped(folder),
        classifies=SCORES[1] in there if there & {*SCORES} else None,
    )


def same_utterances(decodings: Sequence[Decoding], *, common: bool = False) -> list[list[Scored]]:
    """The utterances of each decoding, the same in the same order; a speaker that one folder names is that of all.

    Utterances are known by their ids or, where different speakers have the same, by both.

    Args:
        decodings: Two or more.
        common: Leave out what one of them lacks.

    Raises:
        UsageError: One lacks an utterance, has another reference or another speaker; or nothing is common to all.
    """
    alone = all(len({one.id for one in decoding.scored}) == len(decoding.scored) for decoding in decodings)
    found = [{one.id if alone else (one.speaker, one.id): one for one in decoding.scored} for decoding in decodings]
    if not common:
        _refuse_missing(decodings, found)
    keys = [key for key in found[0] if all(key in others for others in found)]
    if not keys:
        raise UsageError(f"{decodings[1].folder}: has no utterance that all the other folders have")
    speakers = {key: next((one[key].speaker for one in found if one[key].speaker), None) for key in keys}
    for decoding, others in zip(decodings, found, strict=True):
        for key in keys:
            _refuse_another(decodings[0], found[0][key], decoding, others[key], speakers[key])
    return [
        [
            Scored(id=one.id, reference=one.reference, hypothesis=one.hypothesis, speaker=speakers[key])
            for key, one in ((key, others[key]) for key in keys)
        ]
        for others in found
    ]


def names_of(folders: Sequence[Path]) -> list[str]:
    """A short name for each folder: the end of its path as far as they differ."""
    parts = [Path(os.path.realpath(folder)).parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        ends = [part[-length:] for part in parts]
        if len(set(ends)) == len(ends):
            break
    while len({end[-1] for end in ends}) == 1 and min(map(len, ends)) > 1:
        ends = [end[:-1] for end in ends]
    return ["/".join(end) for end in ends]


def _lines(path: Path) -> dict[tuple[str | None, str], TrnLine]:
    """Transcripts by speaker and id: no two of a file have the same."""
    return {(line.speaker, line.id): line for line in read_trn(path)}


def _skipped(folder: Path) -> int:
    for path in (folder / name for name in SCORES):
        if path.is_file():
            try:
                skipped = json.loads(path.read_text("utf-8")).get("skipped", 0)
            except (OSError, ValueError, AttributeError, RecursionError) as error:
                raise ManifestError(f"{path}: damaged, not what `decode` writes ({error})") from error
            if not isinstance(skipped, int) or skipped < 0:
                raise ManifestError(f"{path}: damaged, `skipped` is no number of utterances")
            return skipped
    return 0


def _refuse_missing(decodings: Sequence[Decoding], found: Sequence[Mapping[Any, Scored]]) -> None:
    """Raise for the first utterance that one folder has and another lacks."""
    first, seen = decodings[0], found[0]
    for other, theirs in zip(decodings[1:], found[1:], strict=True):
        for with_it, lines, without, known in ((first, seen, other, theirs), (other, theirs, first, seen)):
            missing = next((one for key, one in lines.items() if key not in known), None)
            if missing is not None:
                skipped = f"; {without.skipped} were skipped in decoding" if without.skipped else ""
                raise UsageError(
                    f"{without.folder}: has no utterance {missing.id!r}, which {with_it.folder} has{skipped} "
                    "(--common compares what all have)"
                )


def _refuse_another(first: Decoding, expected: Scored, other: Decoding, one: Scored, speaker: str | None) -> None:
    """Raise where an utterance has another reference or another speaker than in the first folder."""
    if one.reference != expected.reference:
        raise UsageError(
            f"{other.folder}: the reference of utterance {one.id!r} is {_cut(one.reference)}, in {first.folder} it is "
            f"{_cut(expected.reference)}: both need the same references, normalised alike"
        )
    if one.speaker not in (None, speaker):
        raise UsageError(
            f"{other.folder}: utterance {one.id!r} is of speaker {one.speaker!r}, elsewhere of {speaker!r}"
        )


def _cut(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
