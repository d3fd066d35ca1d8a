"""AISHELL-1 (Bu et al. 2017): ``wav/<split>/<speaker>/*.wav`` and one transcript for all."""

from pathlib import Path

from seq2seq_asr.console import say
from seq2seq_asr.data.corpora.common import Entry, find_root, write_splits
from seq2seq_asr.data.lines import read_pairs

_TRANSCRIPT = "transcript/aishell_transcript_v0.8.txt"


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write the manifests of train, dev and test.

    The blanks of the transcript separate words as a tool saw them and are dropped, as usual: errors are counted in
    characters. A few recordings have no transcript; they are left out, and how many is told.

    Args:
        raw: ``data_aishell``, or the folder that holds it; the speakers' archives unpacked.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, ["data_aishell"], _TRANSCRIPT)
    texts = {name: "".join(words.split()) for name, (_, words) in read_pairs(root / _TRANSCRIPT).items()}
    return write_splits(out, {split: _entries(root / "wav" / split, texts) for split in ("train", "dev", "test")})


def _entries(folder: Path, texts: dict[str, str]) -> list[Entry]:
    recordings = sorted(folder.glob("*/*.wav"))
    entries = [
        Entry(audio.stem, texts[audio.stem], audio, audio.parent.name, "zh")
        for audio in recordings
        if audio.stem in texts
    ]
    if len(entries) < len(recordings):
        say(f"{folder.name}: {len(recordings) - len(entries)} recordings without a transcript left out")
    return entries
