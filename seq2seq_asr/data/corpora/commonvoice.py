"""Mozilla Common Voice (Ardila et al. 2020): ``train.tsv``, ``dev.tsv``, ``test.tsv`` and ``clips/*.mp3``."""

from collections.abc import Iterator
from pathlib import Path

from seq2seq_asr.data.corpora.common import Entry, find_root, write_splits
from seq2seq_asr.data.lines import fault, read_lines

_COLUMNS = ("client_id", "path", "sentence", "locale")


def prepare(raw: Path, out: Path) -> dict[str, Path]:
    """Write the manifests of train, dev and test.

    Args:
        raw: Folder of one language, such as ``cv-corpus-17.0-2024-03-15/nl``.
        out: Folder for the manifests.

    Returns:
        Manifest by split.
    """
    root = find_root(raw, [], "train.tsv")
    return write_splits(out, {split: _entries(root, split) for split in ("train", "dev", "test")})


def _entries(root: Path, split: str) -> Iterator[Entry]:
    table = root / f"{split}.tsv"
    header: list[str] = []
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
        yield _entry(root, table, number, dict(zip(header, cells, strict=True)))


def _entry(root: Path, table: Path, number: int, row: dict[str, str]) -> Entry:
    client, clip, sentence, locale = (row[column].strip() for column in _COLUMNS)
    if not (client and clip and sentence and locale):
        raise fault(table, number, f"client_id, path, sentence or locale is empty, clip {clip!r}")
    audio = root / "clips" / (clip if clip.endswith(".mp3") else f"{clip}.mp3")
    return Entry(audio.stem, sentence, audio, client, locale)
