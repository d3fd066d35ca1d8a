"""A data root: whatever a manifest names lies below it once every link is followed, or is refused by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from seq2seq_asr.data.loading import DataConfig, read_split
from seq2seq_asr.data.manifest import read_manifest, read_utterances
from seq2seq_asr.data.splits import Split, resolve_split
from seq2seq_asr.errors import ManifestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``corpus/audio/a.wav``, and beside it all ways out of ``corpus``."""
    (tmp_path / "corpus/audio").mkdir(parents=True)
    (tmp_path / "corpus-2").mkdir()
    for name in ("corpus/audio/a.wav", "secret.wav", "corpus-2/b.wav"):
        (tmp_path / name).touch()
    corpus = tmp_path / "corpus"
    (corpus / "inner.wav").symlink_to("audio/a.wav")
    (corpus / "link.wav").symlink_to("../secret.wav")
    (corpus / "chain.wav").symlink_to("link.wav")
    (corpus / "up").symlink_to("..")
    (corpus / "dangling.wav").symlink_to("/nowhere/else.wav")
    return corpus


def manifest(root: Path, *names: str) -> Path:
    path = root / "m.jsonl"
    path.write_text("".join(json.dumps({"audio_filepath": name, "duration": 1, "text": "x"}) + "\n" for name in names))
    return path


INSIDE = ["audio/a.wav", "inner.wav", "audio/../audio/./a.wav", "audio/missing.wav"]
OUTSIDE = [
    "../secret.wav",
    "link.wav",
    "chain.wav",
    "up/secret.wav",
    "dangling.wav",
    "../corpus-2/b.wav",
    "/etc/passwd",
]


@pytest.mark.parametrize("name", INSIDE)
def test_what_lies_inside_is_read(root: Path, name: str) -> None:
    assert read_manifest(manifest(root, name), root=root)[0].audio == root / name
    assert read_manifest(manifest(root, str(root / name)), root=root)[0].audio == root / name


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leads_outside_is_refused_by_file_and_line(root: Path, name: str) -> None:
    path = manifest(root, "audio/a.wav", name)
    with pytest.raises(ManifestError, match=r"m\.jsonl:2: .*outside of the data root") as caught:
        read_split([path], root=root)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)
    assert len(read_manifest(path)) == 2  # nothing is confined unless asked for


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert len(read_manifest(manifest(root, "audio/a.wav"), root=tmp_path / "alias")) == 1


def test_kaldi_folders_are_confined_before_any_audio_is_opened(root: Path) -> None:
    (root / "wav.scp").write_text("a audio/a.wav\nb up/secret.wav\n")
    (root / "text").write_text("a x\nb y\n")
    with pytest.raises(ManifestError, match=r"wav\.scp:2: .*outside of the data root"):
        read_utterances(root, root=root)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_fit_confines_every_split(root: Path, split: Split) -> None:
    good = root / "good.jsonl"
    manifest(root, "audio/a.wav").rename(good)
    splits: dict[str, Any] = {name: (good,) for name in ("train", "dev", "test")} | {
        split: (manifest(root, "link.wav"),)
    }
    assert resolve_split(split, DataConfig(**splits)) == splits[split]
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: .*outside of the data root"):
        resolve_split("train", DataConfig(**splits, root=root))
