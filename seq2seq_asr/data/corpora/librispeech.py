"""LibriSpeech (Panayotov et al. 2015): ``<split>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt`` beside FLAC."""

from collections.abc import Iterator
from pathlib import Path

from seq2seq_asr.data.corpora.common import Entry, find_root, write_splits
from seq2seq_asr.data.lines import read_pairs

SPLITS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write a manifest for every split that was unpacked.

    Args:
        raw: ``LibriSpeech``, or the folder that holds it.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, ["LibriSpeech"], *SPLITS)
    return write_splits(out, {split: _entries(root / split) for split in SPLITS if (root / split).is_dir()})


def _entries(folder: Path) -> Iterator[Entry]:
    for transcript in sorted(folder.glob("*/*/*.trans.txt")):
        for name, (_, text) in read_pairs(transcript).items():
            yield Entry(name, text, transcript.parent / f"{name}.flac", transcript.parent.parent.name, "en")
