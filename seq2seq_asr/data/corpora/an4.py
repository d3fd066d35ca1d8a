"""CMU AN4 (Acero 1990): ``etc/an4_<split>.fileids`` and ``.transcription``, recordings in ``wav``."""

import re
from collections.abc import Iterator
from pathlib import Path

from seq2seq_asr.data.corpora.common import Entry, find_root, write_splits
from seq2seq_asr.data.lines import fault, read_lines

_TRANSCRIPT = re.compile(r"(?:<s>)?\s*(.*?)\s*(?:</s>)?\s*\(([^()]+)\)\s*")
_SUFFIXES = (".sph", ".wav", ".flac")


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write the manifests of the published train and test parts.

    Args:
        raw: ``an4``, or the folder that holds it; recordings as NIST sphere, WAV or FLAC.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, ["an4"], "etc/an4_train.fileids")
    return write_splits(out, {split: _entries(root, split) for split in ("train", "test")})


def _entries(root: Path, split: str) -> Iterator[Entry]:
    fileids = root / f"etc/an4_{split}.fileids"
    texts = _transcripts(fileids.with_suffix(".transcription"))
    for number, fileid in read_lines(fileids):
        location = Path(fileid.strip())
        if location.name not in texts:
            raise fault(fileids, number, f"{location.name!r} has no transcript")
        yield Entry(
            location.name, texts[location.name], _recording(root / "wav" / location), location.parent.name, "en"
        )


def _transcripts(path: Path) -> dict[str, str]:
    texts = {}
    for number, line in read_lines(path):
        match = _TRANSCRIPT.fullmatch(line)
        if not match or not match[1]:
            raise fault(path, number, "expected <s> WORDS </s> (id)")
        texts[match[2]] = match[1]
    return texts


def _recording(stem: Path) -> Path:
    found = [path for suffix in _SUFFIXES if (path := stem.with_name(stem.name + suffix)).exists()]
    return found[0] if found else stem.with_name(stem.name + _SUFFIXES[0])
