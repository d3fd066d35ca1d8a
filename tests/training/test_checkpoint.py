import errno
import os
import pickle
import resource
import signal
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import (
    FORMAT,
    load_matching,
    load_weights,
    model_weights,
    read_checkpoint,
    sweep_leftovers,
    write_atomically,
)

OURS = {"seq2seq_asr": {"format": FORMAT, "text": "ä", "numbers": [1, 2.5, None]}, "epoch": 3}


def ours(size: int = 3) -> dict:
    """A checkpoint of this package, ``size`` weights large."""
    return {**OURS, "state_dict": {"model.a": torch.arange(float(size)), "other.b": torch.ones(1)}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    write_atomically(ours(), path)
    return path


def equals_ours(path: Path, size: int = 3) -> bool:
    checkpoint = read_checkpoint(path)
    weights = checkpoint.pop("state_dict")
    return checkpoint == OURS and torch.equal(weights["model.a"], torch.arange(float(size)))


def test_what_is_written_is_read_and_replaces_what_was_there(saved):
    assert equals_ours(saved)
    write_atomically(ours(7), saved)
    assert equals_ours(saved, 7)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["last.ckpt"]


def fail_to_rename(*_: object) -> None:
    raise OSError(errno.EIO, "the disk is gone")


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_failing_write_keeps_the_old_file(saved, monkeypatch, function):
    monkeypatch.setattr(os, function, fail_to_rename)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be written .*the disk is gone"):
        write_atomically(ours(7), saved)
    assert equals_ours(saved)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["last.ckpt"]


def test_a_full_disk_keeps_the_old_file(saved):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot be written"):
            write_atomically(ours(2**18), saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert equals_ours(saved)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["last.ckpt"]


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing(saved, monkeypatch):
    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(ours(7), saved)
    assert equals_ours(saved)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["last.ckpt"]


def test_the_new_file_is_on_the_disk_before_the_old_one_goes(saved, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    write_atomically(ours(7), saved)
    assert calls == ["fsync", "replace", "fsync"], "the file, its name, the folder"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(CheckpointError, match="cannot be written"):
            write_atomically(ours(), folder / "last.ckpt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_an_error(saved):
    saved.parent.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="cannot be written"):
            write_atomically(ours(7), saved)
        assert equals_ours(saved)
    finally:
        saved.parent.chmod(0o700)


def test_leftovers_of_killed_writes_are_swept_and_nothing_else(saved, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(os, "replace", die)
    monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(Killed):
        write_atomically(ours(7), saved)
    monkeypatch.undo()
    (saved.parent / "metrics.csv").write_text("")
    (saved.parent / ".hidden.tmp").write_text("")
    leftovers = sweep_leftovers(saved.parent)
    assert len(leftovers) == 1 and not any(path.exists() for path in leftovers)
    assert sorted(path.name for path in saved.parent.iterdir()) == [".hidden.tmp", "last.ckpt", "metrics.csv"]
    assert sweep_leftovers(saved.parent) == []


CANARY = "SEQ2SEQ_ASR_CANARY"


class Exec:
    """Unpickling it runs code: the canary sings."""

    def __reduce__(self) -> tuple:
        return exec, (f"import os; os.environ[{CANARY!r}] = 'sang'",)


def test_the_canary_sings_where_code_runs(monkeypatch):
    monkeypatch.setenv(CANARY, "silent")
    pickle.loads(pickle.dumps(Exec()))
    assert os.environ[CANARY] == "sang"


@pytest.mark.filterwarnings("ignore")  # as in production: a warning would stop the reader
@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("container", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("place", ["whole", "inside"])
def test_code_in_a_checkpoint_never_runs(tmp_path, monkeypatch, forced, container, place):
    monkeypatch.delenv(CANARY, raising=False)
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "last.ckpt"
    content = Exec() if place == "whole" else {**ours(), "optimizer": Exec()}
    if container == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged, or not a checkpoint of seq2seq_asr") as caught:
        read_checkpoint(path)
    assert CANARY not in os.environ
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [1, 2],
        torch.ones(3),
        {},
        {"state_dict": {"a": torch.ones(1)}},
        {"seq2seq_asr": {"format": FORMAT}},
        {"seq2seq_asr": {"format": FORMAT}, "state_dict": None},
        {"seq2seq_asr": {"format": FORMAT + 1}, "state_dict": {}},
        {"seq2seq_asr": "yes", "state_dict": {}},
    ],
)
def test_files_that_are_not_ours_are_refused(tmp_path, content):
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: not a checkpoint of seq2seq_asr"):
        read_checkpoint(path)


def test_a_missing_checkpoint_a_folder_and_other_formats_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(tmp_path)
    # The second is how torch.load knows TorchScript, which it would hand to another reader.
    for members in (["hello.txt"], ["archive/data.pkl", "archive/constants.pkl", "archive/version"]):
        path = tmp_path / "foreign.ckpt"
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, "3")
        with pytest.raises(CheckpointError, match="damaged, or not a checkpoint"):
            read_checkpoint(path)


def test_a_small_file_that_becomes_large_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({**ours(), "padding": torch.zeros(2**20)}, tmp_path / "plain.ckpt")
    with zipfile.ZipFile(tmp_path / "plain.ckpt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    assert path.stat().st_size < 2**16
    assert "padding" in torch.load(path, weights_only=True), "torch itself would read it"
    with pytest.raises(CheckpointError, match="compressed members"):
        read_checkpoint(path)


damage = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 0.999)),
    st.tuples(st.just("noise"), st.binary(max_size=64)),
    st.tuples(st.just("pickle"), st.binary(max_size=64)),
    st.tuples(st.just("flip"), st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=8)),
)


@given(damage)
def test_a_damaged_file_is_an_error_of_one_line_or_is_read_right(tmp_path_factory, how):
    kind, what = how
    path = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    write_atomically(ours(), path)
    content = bytearray(path.read_bytes())
    if kind == "flip":
        for share, change in what:
            content[int(share * len(content))] ^= change
    damaged = {"cut": lambda: content[: int(what * len(content))], "flip": lambda: content}
    path.write_bytes(bytes(damaged[kind]()) if kind in damaged else (b"" if kind == "noise" else b"\x80\x02") + what)
    try:
        assert equals_ours(path) and kind == "flip"
    except CheckpointError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


class Model(nn.Module):
    def __init__(self, size: int = 2, words: int = 5) -> None:
        super().__init__()
        self.encoder, self.output = nn.Linear(3, size), nn.Linear(size, words)


def of(model: nn.Module) -> dict:
    """A checkpoint with the model's weights, as Lightning names them, and something else."""
    weights = {f"model.{name}": value.clone() for name, value in model.state_dict().items()}
    return {"state_dict": OrderedDict({**weights, "metric.count": torch.ones(1), "model.note": "no tensor"})}


def test_weights_come_back_under_the_models_own_names():
    source, target = Model(), Model()
    assert model_weights(of(source)).keys() == source.state_dict().keys()
    load_weights(target, of(source), Path("x"))
    assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))


@pytest.mark.parametrize("other", [Model(size=4), nn.Linear(2, 2)])
def test_weights_that_do_not_fit_are_an_error_of_one_line(other):
    with pytest.raises(CheckpointError, match=r"^x\.ckpt: weights do not fit") as caught:
        load_weights(Model(), of(other), Path("x.ckpt"))
    assert "\n" not in str(caught.value)


def test_matching_weights_are_taken_over_and_the_others_named():
    source, target = Model(words=7), Model()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    assert load_matching(target, of(source)) == (2, ["output.bias", "output.weight"])
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name] if name.startswith("encoder") else before[name])
    skipped = ["encoder.bias", "encoder.weight"]
    assert load_matching(Model(), of(Model()), skip=("encoder.",)) == (2, skipped)
