"""Classes are the distinct training texts; what is stored is checked before it is believed."""

import json
from pathlib import Path

import pytest

from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import ManifestError, TokenizerError


def test_each_distinct_text_is_a_class_whatever_its_order_and_spaces() -> None:
    labels = Labels.of(["two", " one", "one", "living  room", "", "two"])
    assert labels.names == ("living room", "one", "two") and len(labels) == 3
    assert labels.hash == Labels.of(["living room", "two", "one"]).hash
    for name in labels.names:
        (id,) = labels.encode(f" {name}\n")
        assert labels.decode([id]) == name and labels.pieces([id]) == [name]


def test_another_set_of_classes_has_another_hash() -> None:
    hashes = [Labels(names).hash for names in (("a", "b"), ("b", "a"), ("a", "b", "c"), ("a", "b c"))]
    assert len(set(hashes)) == len(hashes)


def test_saved_and_loaded(tmp_path: Path) -> None:
    labels = Labels.of(["数字", "Open", "é"])
    labels.save(tmp_path / labels.file)
    again = Labels.load(tmp_path / "labels.json")
    assert again.names == labels.names and again.hash == labels.hash
    assert json.loads((tmp_path / "labels.json").read_text()) == ["Open", "é", "数字"]
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


def test_labels_and_tokenizers_are_targets() -> None:
    assert isinstance(Labels(["a", "b"]), Targets)
    assert isinstance(Tokenizer.train(["ab"], TokenizerConfig(kind="char", vocabulary_size=8)), Targets)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b'["a", "b"', "damaged"),
        (b"\xff", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"a": 0, "b": 1}', "not a list"),
        (b'["a", 1]', "not a list"),
        (b'["a"]', "at least two"),
        (b'["a", "a"]', "not the names"),
        (b'["a", ""]', "not the names"),
        (b'["a", " b"]', "not the names"),
        (b'["a", "' + b"b" * 2**24 + b'"]', "not a list"),
    ],
)
def test_a_damaged_file_is_named(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=rf"^{tmp_path}/labels\.json: .*{why}"):
        Labels.load(tmp_path / "labels.json")


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="cannot be read"):
        Labels.load(tmp_path / "labels.json")
    with pytest.raises(TokenizerError, match="cannot be written"):
        Labels(["a", "b"]).save(tmp_path / "no" / "labels.json")


@pytest.mark.parametrize(("texts", "found"), [([], "there is none"), (["", " "], "there is none"), (["a"], "'a'")])
def test_one_class_is_none(texts: list[str], found: str) -> None:
    with pytest.raises(TokenizerError, match=f"at least two classes.*{found}"):
        Labels.of(texts)


def test_a_text_that_is_no_class() -> None:
    labels = Labels(["a", "b"])
    assert "a" in labels and "c" not in labels
    assert labels.unknown_rate(["a", "c", "b", "d"]) == 0.5 and labels.unknown_rate([]) == 0
    with pytest.raises(TokenizerError, match="'c' is none of the 2"):
        labels.encode("c")
    heard = [Utterance(id=id, text=text, duration=1.0) for id, text in (("u1", "a"), ("u2", ""), ("u3", "c"))]
    labels.check(heard[:2], "dev.jsonl")
    with pytest.raises(ManifestError, match=r"^dev\.jsonl: u3: label 'c' does not occur"):
        labels.check(heard, "dev.jsonl")
