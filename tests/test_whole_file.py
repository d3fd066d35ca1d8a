"""A file is the old one or the new one, whatever happens while it is written."""

import os
import re
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from seq2seq_asr.errors import CheckpointError, ManifestError
from seq2seq_asr.whole_file import digest_of, replacing, write_csv, writing


def test_the_new_file_takes_the_place_of_the_old_when_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Any = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("fsync") or sync(file))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("replace") or replace(*paths))
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.parent == tmp_path and temporary.name.startswith(".")
    assert path.read_text() == "new" and done == ["fsync", "replace"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    """Not with that of a temporary one, which nobody knows."""
    (tmp_path / "folder").mkdir()
    for path, why in (
        (tmp_path / "none" / "a.txt", "No such file or directory"),
        (tmp_path / "folder", "Is a directory"),
    ):
        told = f"^{re.escape(str(path))}: cannot be written \\({why}\\)$"
        with pytest.raises(ManifestError, match=told), writing(tmp_path, ManifestError), replacing(path) as temporary:
            temporary.write_text("new")
    with pytest.raises(CheckpointError, match="^folder: cannot be written"), writing(Path("folder")):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def test_a_missing_folder_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "a.txt") as temporary:
        temporary.write_text("new")


def test_a_table_ends_its_lines_alike_and_has_the_columns_asked_for(tmp_path: Path) -> None:
    rows = [{"name": "a, b", "count": 1, "unknown": None}, {"name": "\udcff", "count": 2, "unknown": None}]
    write_csv(tmp_path / "all.csv", rows)
    assert (tmp_path / "all.csv").read_bytes() == b'name,count,unknown\n"a, b",1,\n\\udcff,2,\n'
    write_csv(tmp_path / "some.csv", rows, ["count", "more"])
    assert (tmp_path / "some.csv").read_bytes() == b"count,more\n1,\n2,\n"
    with pytest.raises(ValueError, match="more"):
        write_csv(tmp_path / "other.csv", [*rows, {"name": "c", "more": 3}])
    write_csv(tmp_path / "none.csv", [], ["count"])
    assert (tmp_path / "none.csv").read_bytes() == b"count\n"


def test_the_digest_of_a_file_is_its_sha256_and_an_unreadable_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")  # the example of FIPS 180-2
    assert digest_of(tmp_path / "a.txt") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(CheckpointError, match=r"none: cannot be read \(No such file"):
        digest_of(tmp_path / "none")
