"""Mozilla Common Voice (Ardila et al. 2020): ``train.tsv``, ``dev.tsv``, ``test.tsv`` and ``clips/*.mp3``."""

from collections.abc import Iterator
from pathlib import Path

from seq2seq_asr.data.corpora.common import Entry, find_root, tell_left_out, write_splits
from seq2seq_asr.data.lines import fault, read_lines

_COLUMNS = ("client_id", "path", "sentence", "locale")


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write the manifests of train, dev and test.

    Releases hold a few empty clips and sentences; these are left out, and which is told.

    Args:
        raw: Folder of one language, such as ``cv-corpus-17.0-2024-03-15/nl``.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, [], "train.tsv")
    splits = {split: _entries(root, split) for split in ("train", "dev", "test")}
    return write_splits(out, splits, leave_out_unreadable=True)


def _entries(root: Path, split: str) -> Iterator[Entry]:
    table = root / f"{split}.tsv"
    header: list[str] = []
    wordless: list[str] = []
    for number, line in read_lines(table):
        cells = line.split("\t")  # The tables quote nothing: a quotation mark belongs to the sentence.
        if not header:
            header = cells
            missing = [column for column in _COLUMNS if column not in header]
            if missing:
                raise fault(table, number, f"no column {', '.join(missing)}")
            continue
        if len(cells) != len(header):
            raise fault(table, number, f"expected {len(header)} columns, found {len(cells)}")
        entry = _entry(root, table, number, dict(zip(header, cells, strict=True)))
        if any(map(str.isalnum, entry.text)):
            yield entry
        else:
            wordless.append(f"{table.name}:{number}: no words in {entry.text!r}")
    tell_left_out(split, wordless)


def _entry(root: Path, table: Path, number: int, row: dict[str, str]) -> Entry:
    client, clip, sentence, locale = (row[column].strip() for column in _COLUMNS)
    if not (client and clip and locale):
        raise fault(table, number, f"client_id, path or locale is empty, clip {clip!r}")
    audio = root / "clips" / (clip if clip.endswith(".mp3") else f"{clip}.mp3")
    return Entry(audio.stem, sentence, audio, client, locale)
