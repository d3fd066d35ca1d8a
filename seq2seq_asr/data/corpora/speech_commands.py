"""Speech Commands (Warden 2018): a folder a word, ``validation_list.txt`` and ``testing_list.txt``."""

from pathlib import Path

from seq2seq_asr.data.corpora.common import Entry, find_root, write_splits
from seq2seq_asr.data.lines import fault, read_lines

_LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write the manifests; what neither list names is training data, noise is left out.

    Args:
        raw: Folder of the unpacked archive.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, ["speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02"], _LISTS["test"])
    split_of = {name: split for split, file in _LISTS.items() for name in _listed(root, file)}
    splits: dict[str, list[Entry]] = {"train": [], "dev": [], "test": []}
    for audio in sorted(root.glob("[!_]*/*.wav")):
        word = audio.parent.name
        # The same speaker says many words in files of the same name: the word makes the id.
        entry = Entry(f"{word}-{audio.stem}", word, audio, audio.stem.split("_nohash_")[0], "en")
        splits[split_of.get(f"{word}/{audio.name}", "train")].append(entry)
    return write_splits(out, splits)


def _listed(root: Path, file: str) -> list[str]:
    names = []
    for number, line in read_lines(root / file):
        names.append(line.strip())
        if not (root / names[-1]).is_file():
            raise fault(root / file, number, f"no such recording: {names[-1]}")
    return names
