import os
from pathlib import Path

import pytest

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.run_folder import RunFolder, create_run, newest_run, open_run


def make_run(path: Path, *files: str, age: int = 0) -> RunFolder:
    """A run with these files, written ``age`` seconds ago."""
    path.mkdir(parents=True, exist_ok=True)
    for name in files:
        (path / name).write_text("")
        time = 2_000_000_000 - age
        os.utime(path / name, (time, time))
    return RunFolder(path)


WHOLE = ("config.yaml", "tokenizer.model", "last.ckpt")


def test_a_new_run_never_takes_a_folder_that_exists(tmp_path):
    names = [create_run(tmp_path / "deep" / "checkpoints", "toy").name for _ in range(3)]
    assert names == ["toy", "toy-2", "toy-3"]
    (tmp_path / "deep" / "checkpoints" / "other").write_text("a file")
    assert create_run(tmp_path / "deep" / "checkpoints", "other").name == "other-2"
    assert create_run(tmp_path / "deep" / "checkpoints", "third").path.is_dir()


def test_gaps_between_numbers_are_filled_and_nothing_is_touched(tmp_path):
    for name in ("toy", "toy-2", "toy-4"):
        make_run(tmp_path / name, "metrics.csv")
    assert create_run(tmp_path, "toy").name == "toy-3"
    assert list(create_run(tmp_path, "toy").path.iterdir()) == []
    assert all((tmp_path / name / "metrics.csv").exists() for name in ("toy", "toy-2", "toy-4"))


@pytest.mark.parametrize("kind", ["file", "dangling link", "below a file"])
def test_a_folder_that_cannot_be_made_is_an_error(tmp_path, kind):
    checkpoints = tmp_path / "checkpoints"
    if kind == "dangling link":
        checkpoints.symlink_to(tmp_path / "unmounted")
    else:
        checkpoints.write_text("")
    with pytest.raises(CheckpointError, match="cannot be created"):
        create_run(checkpoints / "a" if kind == "below a file" else checkpoints, "toy")


@pytest.mark.parametrize("checkpoint", ["last.ckpt", "best.ckpt"])
def test_a_run_with_one_checkpoint_opens(tmp_path, checkpoint):
    run = make_run(tmp_path / "toy", "config.yaml", "tokenizer.model", checkpoint)
    assert open_run(run.path) == run
    assert run.name == "toy"
    assert {run.last, run.best} >= {run.path / checkpoint}


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ((), "config.yaml"),
        (("tokenizer.model", "last.ckpt"), "config.yaml"),
        (("config.yaml", "last.ckpt"), "tokenizer.model"),
        (("config.yaml", "tokenizer.model", "metrics.csv"), "no checkpoint"),
    ],
)
def test_what_a_run_folder_lacks_is_named(tmp_path, files, missing):
    with pytest.raises(CheckpointError, match=f"toy: .*{missing}"):
        open_run(make_run(tmp_path / "toy", *files).path)


def test_no_folder_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(CheckpointError, match="no such run folder"):
            open_run(path)


def test_the_newest_run_is_the_one_whose_checkpoint_was_written_last(tmp_path):
    make_run(tmp_path / "old", *WHOLE, age=50)
    make_run(tmp_path / "a", *WHOLE, age=90)
    make_run(tmp_path / "a", "best.ckpt", age=10)
    make_run(tmp_path / "untrained", "config.yaml", "tokenizer.model", age=0)
    assert newest_run(tmp_path).name == "a"
    make_run(tmp_path / "old", "last.ckpt", age=5)
    assert newest_run(tmp_path).name == "old"


def test_without_a_checkpoint_there_is_no_newest_run(tmp_path):
    make_run(tmp_path / "untrained", "config.yaml", "tokenizer.model")
    for checkpoints in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="no run with a checkpoint yet"):
            newest_run(checkpoints)
