"""Folders and flags that are read, and those that are refused."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq_asr.commands.significance.reading import names_of
from tests.commands.significance.conftest import decode, rows, without


def test_files_of_another_toolkit_are_read(tmp_path: Path, call) -> None:
    """As sclite takes them: names without our quoting, without speakers, in another order."""
    ours = decode(tmp_path / "ours", 0.1, speakers=2, count=10)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("ref.trn", "hyp.trn"):
        lines = [re.sub(r"\(.*?-(.*)\)", r"\t(\1)", line) for line in (ours / name).read_text().splitlines()]
        text = "\n".join([";; by another toolkit", *reversed(lines)]) + "\n\n"
        (theirs / name).write_text(text.replace("(u-", "(unknown-u-"), encoding="utf-8-sig")
    result = call(ours, theirs)
    assert result.code == 0 and "10 utterances of 2 speakers" in result.out, "named by one is enough"
    assert re.search(r"theirs – ours +\+0.00 .* not significant$", result.out, re.MULTILINE)
    for folder in (ours, theirs):  # different speakers may have the same ids
        (folder / "ref.trn").write_text("low mid (s1-1)\nhigh (s2-1)\n")
        (folder / "hyp.trn").write_text("high (s2-1)\nlow (s1-1)\n")
    assert "2 utterances of 2 speakers, 3 words" in call(ours, theirs).out


def test_common_compares_what_all_have(tmp_path: Path, call, draw_nothing) -> None:
    a, b = decode(tmp_path / "a", 0.1), decode(tmp_path / "b", 0.3, seed=1)
    without(b, "u-3", "u-7", skipped=2)
    for folders in ((a, b), (b, a)):
        result = call(*folders)
        assert (result.code, result.out) == (2, "")
        expected = f"{b}: has no utterance 'u-3', which {a} has; 2 were skipped in decoding (--common"
        assert expected in result.err and result.err.count("\n") == 1
    result = call(a, b, "--common", "--out", tmp_path / "out")
    assert result.code == 0 and "78 utterances of 8 speakers" in result.out
    assert f"{a}: 2 utterances left out, not all folders have them" in result.out
    assert f"{b}: 2 utterances skipped in decoding, not compared" in result.out
    without(a, "u-3", "u-7")
    assert call(a, b, "--out", tmp_path / "same").code == 0, "both lack them"
    assert rows(tmp_path / "same/pairs.csv") == rows(tmp_path / "out/pairs.csv")
    without(a, *(f"u-{place}" for place in range(40)))
    without(b, *(f"u-{place}" for place in range(40, 80)))
    result = call(a, b, "--common")
    assert result.code == 2 and "no utterance that all" in result.err


def damaged(name: str, content: str) -> Callable[[Path, Path], object]:
    return lambda _, b: (b / name).write_text(content)


def another_reference(_: Path, b: Path) -> None:
    (b / "ref.trn").write_text((b / "ref.trn").read_text().replace("low", "Low", 1))


def another_speaker(_: Path, b: Path) -> None:
    for name in ("ref.trn", "hyp.trn"):
        (b / name).write_text((b / name).read_text().replace("s%5F2", "else"))


def empty_references(a: Path, b: Path) -> None:
    for folder in (a, b):
        (folder / "ref.trn").write_text("(s-1)\n(s-2)\n")
        shutil.copy(folder / "ref.trn", folder / "hyp.trn")


ERRORS: list[tuple[Callable[[Path, Path], object], int, str]] = [
    (lambda _, b: shutil.rmtree(b), 1, "b: no such folder"),
    (lambda _, b: (b / "ref.trn").unlink(), 1, "b: has no ref.trn"),
    (lambda _, b: (b / "hyp.trn").unlink(), 1, "b: has no hyp.trn"),
    (damaged("ref.trn", ""), 1, "b/ref.trn: no utterances"),
    (damaged("hyp.trn", "low (s-1)\nno name\n"), 1, "b/hyp.trn:2: expected 'words (speaker-id)'"),
    (damaged("hyp.trn", "low (s-1)\n"), 1, "b/hyp.trn: has no utterance 'u-0'"),
    (damaged("ref.trn", "low (s%5F0-u-0)\n"), 1, "b/ref.trn: has no utterance 'u-79'"),
    (damaged("wer.json", "{"), 1, "b/wer.json: damaged"),
    (damaged("wer.json", "[]"), 1, "b/wer.json: damaged"),
    (damaged("wer.json", "[" * 100_000), 1, "b/wer.json: damaged"),
    (damaged("wer.json", '{"skipped": 1e999}'), 1, "b/wer.json: damaged"),
    (damaged("wer.json", '{"skipped": -1}'), 1, "b/wer.json: damaged"),
    (another_reference, 2, "b: the reference of utterance 'u-"),
    (another_speaker, 2, "b: utterance 'u-2' is of speaker 'else', elsewhere of 's_2'"),
    (empty_references, 2, "a: nothing to compare, every reference is empty"),
]


@pytest.mark.parametrize(("damage", "code", "why"), ERRORS, ids=[why for _, _, why in ERRORS])
def test_folders_that_cannot_be_compared(tmp_path: Path, damage, code: int, why: str, call) -> None:
    a, b = decode(tmp_path / "a", 0.1), decode(tmp_path / "b", 0.3, seed=1)
    damage(a, b)
    result = call(a, b, "--out", tmp_path / "out")
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert result.err.startswith(f"error: {tmp_path}/{why}") and not (tmp_path / "out").exists()


def test_flags_that_cannot_be_used(tmp_path: Path, call) -> None:
    a, b = decode(tmp_path / "a", 0.1), decode(tmp_path / "b", 0.1)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for flags, code, why in (
        ([], 2, "give two or more"),
        ([a], 2, "give two or more"),
        ([a, b, tmp_path / "b" / ".." / "a"], 2, "given twice"),
        ([a, b, "--seed", -1], 2, "seed: "),
        ([a, *(tmp_path / str(place) for place in range(40))], 2, "at most 40"),
        ([a, tmp_path / "loop"], 1, "loop: cannot be read"),
        ([a, tmp_path / ("x" * 300)], 1, "cannot be read"),
        ([a, b, "--out", tmp_path / "file"], 1, "file: cannot be written"),
    ):
        result = call(*flags)
        assert (result.code, result.out, result.err.count("\n")) == (code, "", 1) and why in result.err
    assert call(a, b, "--by", "word").code == call(a, b, "--unit", "bytes").code == 2
    assert "sclite" in call("--help").out


def test_names_are_as_long_as_they_must_be() -> None:
    assert names_of([Path("/x/a"), Path("/y/b")]) == ["a", "b"]
    assert names_of([Path("/runs/a/decode"), Path("/runs/b/decode")]) == ["a", "b"]
    assert names_of([Path("/r/a/x"), Path("/r/a/y"), Path("/r/b/x")]) == ["a/x", "a/y", "b/x"]
