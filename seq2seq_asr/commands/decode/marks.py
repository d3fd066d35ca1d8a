"""What a folder's transcripts were made of, as a line of its ``decode.yaml`` notes it."""

import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.sources import Source, source_id
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.recognizer.confidence import CALIBRATION
from seq2seq_asr.recognizer.restoring import weights_file
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.run_folder import CheckpointChoice
from seq2seq_asr.whole_file import digest_of

MARK = "# sha256: "
"""How the line of ``decode.yaml`` begins that holds the fingerprint."""


def fingerprint(config: DecodeConfig, sources: Sequence[Source], folder: Path) -> str:
    """What transcripts in a folder depend on besides the settings, as one line: weights, other files, utterances."""
    assert config.run is not None
    calibration = config.run / CALIBRATION
    files = {
        "weights": weights_file(config.run, config.checkpoint),
        "lm": config.lm,
        "ngram": config.ngram,
        "hotwords": config.hotwords,
        **{f"model{place}": weights_file(one, config.checkpoint) for place, one in enumerate(config.ensemble, start=2)},
        "confidence": calibration if calibration.is_file() else None,
    }
    digests = [f"{name} {digest_of(path)}" for name, path in files.items() if path is not None]
    return f"{MARK}{', '.join([*digests, *utterances_digests(sources, folder)])}"


def utterances_digests(sources: Sequence[Source], folder: Path) -> tuple[str, str]:
    """SHA-256 of what is decoded, ids, paths and places in the files: by their full paths, and as seen from the folder.

    One of the two stays when a project is moved, with its audio or without. Older folders have the first alone.
    """
    full, seen = ([_named(one, place, start) for place, one in enumerate(sources)] for start in (None, folder))
    return f"utterances {_sha256(full)}", f"seen {_sha256(seen)}"


def of_these(mark: str, sources: Sequence[Source], folder: Path) -> bool:
    """Whether a folder's fingerprint names these utterances."""
    return any(digest in mark for digest in utterances_digests(sources, folder))


def alike(found: str, mark: str) -> bool:
    """Whether two fingerprints are of the same weights, files and utterances, wherever these lie."""
    files, _, digests = mark.partition("utterances ")
    return found.partition("utterances ")[0] == files and any(one in found for one in digests.split(", "))


def free_folder(folder: Path, sources: Sequence[Source]) -> Path:
    """The folder, or ``-2``, ``-3`` … of it, the first without transcripts of other utterances; says which."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    free = next(one for one in itertools.chain([folder], numbered) if not is_of_others(one, sources))
    if free != folder:
        say(f"{folder}: holds transcripts of other utterances: these go to {free.name}")
    return free


def is_of_others(folder: Path, sources: Sequence[Source]) -> bool:
    """Whether a folder holds transcripts, and those of other utterances."""
    mark = mark_of(folder)
    return bool(mark) and not of_these(mark, sources, folder)


def is_otherwise(folder: Path, config: DecodeConfig, mark: str) -> bool:
    """Whether a folder holds transcripts that another search made, or other weights or files."""
    found = mark_of(folder)
    try:
        return bool(found) and not (alike(found, mark) and same_search(folder, config))
    except UsageError:  # settings of another version
        return True


def made_of(folder: Path, run: Path, checkpoint: CheckpointChoice, sources: Sequence[Source]) -> bool:
    """Whether a folder's transcripts are those of a run's weights, as they are now, of these utterances."""
    mark, weights = mark_of(folder), weights_file(run, checkpoint)
    return f"weights {digest_of(weights)}" in mark and of_these(mark, sources, folder)


def mark_of(folder: Path) -> str:
    """The fingerprint of the transcripts in a folder; empty where there are none."""
    try:
        with (folder / "decode.yaml").open(encoding="utf-8", errors="replace") as file:
            marks = [line.rstrip("\n") for line in itertools.islice(file, 9) if line.startswith(MARK)]
        return marks[0] if marks and (folder / "hyp.jsonl").stat().st_size else ""
    except OSError:
        return ""


def same_search(folder: Path, config: DecodeConfig) -> bool:
    """Whether a folder's transcripts were searched as is configured.

    Raises:
        UsageError: Its settings cannot be read.
    """
    before = load_yaml(folder / "decode.yaml", DecodeConfig)
    return (before.search, before.segment) == (config.search, config.segment)


def _sha256(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _named(source: Source, place: int, start: Path | None) -> str:
    name = source_id(source, place)
    if not isinstance(source, Utterance):
        return name
    path = str(source.audio or source.features)
    path = (path if start is None else os.path.relpath(path, start)).encode(errors="backslashreplace").decode()
    return f"{name}\t{path}\t{source.offset}\t{source.duration}"
