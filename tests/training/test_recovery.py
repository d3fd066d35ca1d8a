"""A flipped bit is noticed and named; an older state takes over, and says so."""

import shutil
from pathlib import Path

import pytest
import torch

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import FORMAT, read_checkpoint, write_atomically
from seq2seq_asr.training.plugins import SafeCheckpointIO
from seq2seq_asr.training.recovery import newest_complete, set_aside
from seq2seq_asr.training.run_folder import RunFolder


def state(step: int) -> dict:
    record = {"format": FORMAT}
    return {"seq2seq_asr": record, "state_dict": {"model.a": torch.full((64,), float(step))}, "global_step": step}


def flip(path: Path) -> None:
    """Change one bit of the weights."""
    content = bytearray(path.read_bytes())
    weights = read_checkpoint(path)["state_dict"]["model.a"]
    content[content.index(weights.numpy().tobytes())] ^= 1
    path.write_bytes(content)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Five saves of last.ckpt, the third of them also the best."""
    run, files = RunFolder(tmp_path), SafeCheckpointIO()
    for step in range(1, 6):
        files.save_checkpoint(state(step), run.last)
        if step == 3:
            files.save_checkpoint(state(step), run.best)
    return run


def test_the_state_before_is_kept(run: RunFolder) -> None:
    assert [read_checkpoint(path)["global_step"] for path in (run.last, run.previous, run.best)] == [5, 4, 3]
    assert len(list(run.path.iterdir())) == 3
    assert newest_complete(run)[0] == run.last


def test_a_flipped_bit_of_the_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_atomically(state(3), path)
    flip(path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged.*\(the CRC-32 of .*/data/0 is not that"):
        read_checkpoint(path)
    read = torch.load(path, weights_only=True)  # torch itself does not notice
    assert not torch.equal(read["state_dict"]["model.a"], state(3)["state_dict"]["model.a"])


@pytest.mark.parametrize(
    ("damaged", "taken", "step"),
    [(["last"], "previous", 4), (["last", "previous"], "best", 3), (["last", "best"], "previous", 4)],
)
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_state_is_replaced_by_the_newest_complete_one_and_named(
    run: RunFolder, damaged: list[str], taken: str, step: int, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in damaged:
        path = run.path / f"{name}.ckpt"
        if how == "flip":
            flip(path)
        elif how == "cut":
            path.write_bytes(path.read_bytes()[:-100])
        else:
            path.unlink()
    path, checkpoint = newest_complete(run)
    assert path.name == f"{taken}.ckpt" and checkpoint["global_step"] == step
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WARNING: {run.last}: ") and f"going on from the older {path}, step {step}" in line


def test_without_any_complete_state_there_is_an_error_and_never_a_new_start(run: RunFolder) -> None:
    for path in (run.last, run.previous, run.best):
        flip(path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged.*neither previous\.ckpt nor best\.ckpt"):
        newest_complete(run)


def test_what_is_damaged_never_replaces_what_is_not(run: RunFolder) -> None:
    flip(run.last)
    assert set_aside(run) == run.path / "last.ckpt.damaged"
    SafeCheckpointIO().save_checkpoint(state(5), run.last)
    assert [read_checkpoint(path)["global_step"] for path in (run.last, run.previous)] == [5, 4]
    assert set_aside(RunFolder(run.path / "empty")) is None


def test_without_hard_links_the_state_before_is_kept_all_the_same(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", unknown)
    SafeCheckpointIO().save_checkpoint(state(6), run.last)
    assert [read_checkpoint(path)["global_step"] for path in (run.last, run.previous)] == [6, 5]
    shutil.rmtree(run.path)
