"""One process at a time works in a folder, and the folder is free again however that process ends."""

import errno
import fcntl
import os
import signal
from pathlib import Path

import pytest

from seq2seq_asr.commands.claiming import claimed
from seq2seq_asr.errors import CheckpointError


def test_the_second_is_told_what_it_can_do(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with claimed(folder, ".lock", "tuning", "give another --name"):
        assert (folder / ".lock").is_file()
        with (
            pytest.raises(CheckpointError, match=f"^{folder}: another tuning writes there: .*give another --name$"),
            claimed(folder, ".lock", "tuning", "give another --name"),
        ):
            raise AssertionError
        with claimed(folder, "other", "tuning", "wait"):
            pass


def test_a_folder_is_free_after_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path, ".lock", "tuning", "wait"):
        raise KeyboardInterrupt
    with claimed(tmp_path, ".lock", "tuning", "wait"):
        pass


def test_a_folder_is_free_after_its_process_was_killed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with claimed(tmp_path, ".lock", "tuning", "wait"):
            os.write(writing, b"held")
            signal.pause()
    assert os.read(reading, 4) == b"held"
    with pytest.raises(CheckpointError, match="another tuning"), claimed(tmp_path, ".lock", "tuning", "wait"):
        raise AssertionError
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with claimed(tmp_path, ".lock", "tuning", "wait"):
        pass


def test_what_it_holds_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("beam: 8")
    with claimed(tmp_path, "settings", "tuning", "wait"):
        pass
    assert (tmp_path / "settings").read_text() == "beam: 8"


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CheckpointError, match="file: cannot be written"),
        claimed(tmp_path / "file", ".lock", "tuning", "wait"),
    ):
        raise AssertionError


def test_a_file_system_without_locks_is_said_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claimed(tmp_path, ".lock", "tuning", "wait"):
        pass
    assert f"{tmp_path}: not protected from a second tuning: no locks there" in capsys.readouterr().err
