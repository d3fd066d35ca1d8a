"""What the corpora share: finding their folder, measuring recordings and writing one manifest a split."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from seq2seq_asr.console import say
from seq2seq_asr.data.audio import audio_duration
from seq2seq_asr.data.manifest import is_manifest_of, write_manifest
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError, ManifestError, UsageError
from seq2seq_asr.whole_file import writing

_READERS = 8
"""Threads that read headers: the wait is for the disk."""
_REPORT_EVERY = 20_000
_FIRST_FEW = 5
"""Utterances left out that are named."""


class Entry(NamedTuple):
    """An utterance whose recording is yet to be measured; a whole file."""

    id: str
    text: str
    audio: Path
    speaker: str
    lang: str


def find_root(raw: Path, names: Sequence[str], *wanted: str) -> Path:
    """The folder that holds a corpus: `raw` itself, or the folder in it that the corpus's archive unpacks to.

    Args:
        raw: Folder given by the user.
        names: Names of the archive's top folder.
        wanted: Files or folders below the root, any one of which tells the corpus.

    Raises:
        UsageError: `raw` is not a folder.
        ManifestError: Nothing that is wanted is in any of them.
    """
    if not raw.is_dir():
        raise UsageError(f"raw: no such folder: {raw}")
    for root in [raw, *(raw / name for name in names)]:
        if any((root / name).exists() for name in wanted):
            return root
    places = " or in ".join(["there", *names])
    raise ManifestError(f"{raw}: expected {' or '.join(wanted)} {places}")


def write_splits(
    out: Path, splits: Mapping[str, Iterable[Entry]], *, leave_out_unreadable: bool = False
) -> dict[str, Path]:
    """Measure every recording and write ``<split>.jsonl`` for every split that has any.

    Args:
        out: Folder for the manifests.
        splits: Utterances by split.
        leave_out_unreadable: Go on without recordings that cannot be read, and tell which; not without all of a split.

    Raises:
        AudioError: A recording is missing or damaged.
        ManifestError: There is no utterance in any split, one split has an id twice, or `out` cannot be written.
        UsageError: A manifest of that name is there and holds something else, such as another corpus.
    """
    with writing(out, ManifestError):
        _try_writing(out)
    # All is measured before anything is written: an error leaves no manifest of half the corpus.
    measured = {split: _measure(split, list(entries), leave_out_unreadable) for split, entries in splits.items()}
    manifests = {split: out / f"{split}.jsonl" for split, utterances in measured.items() if utterances}
    if not manifests:
        raise ManifestError(f"{out}: no utterances found for {', '.join(splits)}")
    for split, manifest in manifests.items():
        with writing(manifest, ManifestError):
            if manifest.exists() and not is_manifest_of(manifest, measured[split]):
                raise UsageError(f"{manifest}: holds something else: give another --out, or remove it")
    for split, manifest in manifests.items():
        with writing(manifest, ManifestError):
            write_manifest(manifest, measured[split])
    return manifests


def _try_writing(folder: Path) -> None:
    """Write a file that has no name in the folder, or where that is to be made; nothing stays."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        error.filename = str(folder)
        raise


def tell_left_out(split: str, why: Sequence[str]) -> None:
    """Say how many utterances of a split are left out, and of the first few why; nothing where there are none."""
    if why:
        more = ", …" if len(why) > _FIRST_FEW else ""
        say(f"{split}: {len(why)} left out: {', '.join(why[:_FIRST_FEW])}{more}")


def _measure(split: str, entries: list[Entry], leave_out_unreadable: bool) -> list[Utterance]:
    _require_distinct(split, entries)
    utterances, unreadable = [], []
    with ThreadPoolExecutor(_READERS) as pool:
        for number, (entry, duration) in enumerate(zip(entries, pool.map(_duration, entries), strict=True), start=1):
            if isinstance(duration, AudioError):
                unreadable.append(duration)
                if not leave_out_unreadable or len(unreadable) == len(entries):
                    raise duration
            else:
                utterances.append(Utterance(**entry._asdict(), duration=duration))
            if number % _REPORT_EVERY == 0:
                say(f"{split}: {number} of {len(entries)} recordings read")
    tell_left_out(split, [str(error) for error in unreadable])
    return utterances


def _duration(entry: Entry) -> float | AudioError:
    try:
        return audio_duration(entry.audio)
    except AudioError as error:
        return error


def _require_distinct(split: str, entries: list[Entry]) -> None:
    seen: dict[str, Path] = {}
    for entry in entries:
        if entry.id in seen:
            raise ManifestError(f"{split}: {entry.audio} and {seen[entry.id]} have the same id {entry.id!r}")
        seen[entry.id] = entry.audio
