"""Free Spoken Digit Dataset: ``recordings/{digit}_{speaker}_{index}.wav``; takes 0 to 4 of every digit are the test."""

import re
from pathlib import Path

from seq2seq_asr.data.corpora.common import Entry, find_root, write_splits
from seq2seq_asr.errors import ManifestError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAME = re.compile(r"(\d)_(.+)_(\d+)")
_TEST_TAKES = 5


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write the manifests of the official train and test takes.

    Args:
        raw: The repository's folder.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, ["free-spoken-digit-dataset"], "recordings")
    splits: dict[str, list[Entry]] = {"train": [], "test": []}
    for audio in sorted((root / "recordings").glob("*.wav")):
        match = _NAME.fullmatch(audio.stem)
        if not match:
            raise ManifestError(f"{audio}: expected a name like 7_jackson_12.wav")
        entry = Entry(audio.stem, DIGITS[int(match[1])], audio, match[2], "en")
        splits["test" if int(match[3]) < _TEST_TAKES else "train"].append(entry)
    return write_splits(out, splits)
