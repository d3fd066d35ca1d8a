"""The fit_ngram command, what decode does with its model, and files that are none."""

import errno
import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.decode import main as decode_main
from seq2seq_asr.errors import ManifestError
from seq2seq_asr.fit_ngram import main
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.search.arpa import read_arpa
from seq2seq_asr.search.beam import BeamConfig

SENTENCES = "low top\nmid low top\nhigh\n\nhigh low top\n"
ARPA = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99\t<s>\t-0.5
-1\t</s>
-2\tlow\t-0.25
-3\ttop

\\2-grams:
-0.125\tlow top
-0.25\t<s> low

\\end\\
"""


def run(*argv: object) -> int:
    return exit_code_of(main, [str(argument) for argument in argv])


@pytest.fixture(scope="module")
def ngram(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ngram")
    (folder / "corpus.txt").write_text(SENTENCES * 100)
    assert run("--text", folder / "corpus.txt", "--run", tones_run, "--out", folder / "n.arpa") == 0
    return folder / "n.arpa"


def test_the_perplexity_nears_that_of_the_source(tones_run: Path, tmp_path: Path, capsys) -> None:
    """Four equally frequent sentences with 13 words and ends have an entropy of log 4 nats each."""
    corpus, source = tmp_path / "corpus.txt", math.exp(4 * math.log(4) / 13)
    corpus.write_text(SENTENCES * 100)
    (tmp_path / "dev.txt").write_text(SENTENCES)
    for name in (("--out", tmp_path / "n.arpa"), ()):
        flags = ("--text", corpus, "--dev", tmp_path / "dev.txt", "--run", tones_run, "--order", 2)
        assert run(*flags, *name) == 0
        said, file = capsys.readouterr().out.splitlines()
        assert 0.99 * source < float(said.split()[1]) < 1.1 * source and said.endswith("a word; 0 of 13 words unknown")
        assert read_arpa(Path(file)).order == 2
        assert file == str(name[1] if name else tones_run / "ngram.arpa")


def test_an_ngram_model_joins_the_search(tones_run: Path, ngram: Path, tmp_path: Path) -> None:
    """A large weight makes it say only sentences of its own; the command gives the same as the library."""
    audio = read_manifest(tones_run.parent / "test.jsonl")[:6]
    plain = Recognizer.load(tones_run).transcribe(audio)
    fused = Recognizer.load(tones_run, ngram=ngram)
    weighed = fused.transcribe(audio, BeamConfig(ngram_weight=20.0))
    assert {" ".join(one.text.split()) for one in weighed} <= set(SENTENCES.splitlines())
    assert [one.text for one in plain] != [one.text for one in weighed]
    assert "ngram" in weighed[0].scores and "ngram" not in plain[0].scores
    assert fused.transcribe(audio, BeamConfig(ngram_weight=0.0)) == plain
    packed = tmp_path / "n.arpa.gz"
    packed.write_bytes(gzip.compress(ngram.read_bytes()))
    flags = ["--run", tones_run, "--ngram", packed, "--ngram_weight", 20, "--out", tmp_path / "out"]
    assert exit_code_of(decode_main, [*map(str, flags)]) == 0
    lines = (tmp_path / "out/hyp.jsonl").read_text().splitlines()[:6]
    assert [json.loads(line)["text"] for line in lines] == [one.text for one in weighed]


def test_the_internal_language_model_is_taken_off(tones_run: Path, tmp_path: Path, capsys) -> None:
    audio = read_manifest(tones_run.parent / "test.jsonl")[:6]
    recognizer = Recognizer.load(tones_run)
    search = BeamConfig(ctc_weight=0.0, length_normalisation="none", ilm_weight=0.5, guards="off")
    for one in recognizer.transcribe(audio, search):
        assert one.scores["ilm"] > 0 and one.score == pytest.approx(one.log_prob + 0.5 * one.scores["ilm"], rel=1e-5)
    flags = ["--run", tones_run, "--ilm_weight", 0.2, "--out", tmp_path / "out"]
    assert exit_code_of(decode_main, [*map(str, flags)]) == 0
    assert "warning: ilm_weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "flags", "why", "code"),
    [
        ("", (), "a.txt: 0 sentences are too few", 1),
        ("low <s> top\n" * 30, (), "<s> stands in the text", 1),
        ("low\n" * 30, ("--order", 0), "order: must be from 1 to 9", 2),
        ("low\n" * 30, ("--out", "/proc/no/n.arpa"), "cannot be written", 1),
    ],
)
def test_text_that_cannot_be_used_is_told(
    tones_run: Path, tmp_path: Path, capsys, text: str, flags: tuple, why: str, code: int
) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert run("--text", tmp_path / "a.txt", "--run", tones_run, "--out", tmp_path / "n.arpa", *flags) == code
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("error: ") and why in said.err.splitlines()[-1] and not said.out
    assert not (tmp_path / "n.arpa").exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_counted(
    tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seq2seq_asr.commands.fit_ngram.run.estimate", lambda *_: pytest.fail("counted"))
    (tmp_path / "a.txt").write_text("low\n" * 30)
    for out in (tmp_path, tmp_path / "none" / "n.arpa"):
        assert run("--text", tmp_path / "a.txt", "--run", tones_run, "--out", out) == 1


def test_a_write_that_fails_leaves_the_old_model(ngram: Path, tones_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, write = ngram.read_bytes(), Path.write_bytes

    def full(path: Path, contents: bytes) -> int:
        write(path, contents[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run("--text", ngram.with_name("corpus.txt"), "--run", tones_run, "--out", ngram) == 1
    assert ngram.read_bytes() == old and len(list(ngram.parent.iterdir())) == 2


@pytest.mark.parametrize("name", ["n.arpa", "n.arpa.gz"])
def test_the_model_that_is_replaced_is_kept(tones_run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "corpus.txt").write_text("low top\n" * 30)
    flags, path = ("--text", tmp_path / "corpus.txt", "--run", tones_run, "--out", tmp_path / name), tmp_path / name
    assert run(*flags) == 0
    before = path.read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["corpus.txt", name]
    assert run(*flags, "--order", 2) == 0 and path.read_bytes() != before
    assert path.with_name(f"{path.stem}.previous{path.suffix}").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_a_name_that_ends_in_gz_is_a_compressed_file(ngram: Path, tones_run: Path, tmp_path: Path) -> None:
    packed = tmp_path / "n.arpa.gz"
    assert run("--text", ngram.with_name("corpus.txt"), "--run", tones_run, "--out", packed) == 0
    assert gzip.decompress(packed.read_bytes()) == ngram.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        (ARPA, "", 1, "not an ARPA file: no line is"),
        (ARPA, "low\ntop\n\n", 2, "not an ARPA file: no line is"),
        ("ngram 2=2\n", "", 5, "a 1-gram has a log probability, 1 word: not 3 columns"),
        ("ngram 2=2", "ngram 3=2", 5, "without a gap"),
        ("ngram 2=2", "ngram 2=x", 3, "expected a count"),
        ("ngram 2=2", "ngram 1=2", 3, "expected a count"),
        ("ngram 1=4", "ngram 1=5", 11, r"4 1-grams end here; \\data\\ declares 5"),
        ("ngram 2=2", "ngram 2=1", 15, r"2 2-grams end here; \\data\\ declares 1"),
        ("-2\tlow", "NaN\tlow", 8, "expected a finite number, not 'NaN'"),
        ("-2\tlow", "-inf\tlow", 8, "expected a finite number"),
        ("-2\tlow", "low\t-2", 8, "expected a finite number, not 'low'"),
        ("low\t-0.25", "low\tnan", 8, "expected a finite number, not 'nan'"),
        ("-2\tlow", "0.2\tlow", 8, "above 0"),
        ("-3\ttop", "-3\tlow", 9, "a second 1-gram 'low'"),
        ("-0.125\tlow top", "-0.125\tlow top low", 12, "not 4 columns"),
        ("-0.125\tlow top", "-0.125\tlow top\t-1", 12, "not 4 columns"),
        ("-0.125\tlow top", "-0.125\ttop", 12, "not 2 columns"),
        ("-0.125\tlow top", "-0.125\tlow mid", 12, "'mid' is not among the 1-grams"),
        ("-0.25\t<s> low", "-0.25\tlow top", 13, "a second 2-gram 'low top'"),
        ("\\2-grams:", "\\3-grams:", 11, r"\\2-grams: expected; \\data\\ declares n-grams of up to 2 words"),
        ("\\end\\\n", "\\3-grams:\n-1\tlow top low\n\\end\\\n", 15, r"\\end\\ expected"),
        ("\\end\\\n", "", 13, r"ends without \\end\\"),
        ("\\end\\\n", "\\end\\\nmore\n", 16, r"'more' behind \\end\\"),
        ("-1\t</s>", "-1\tmid", 15, "no 1-gram </s>"),
        ("low\t-0.25", "l\udcff\t-0.25", 8, "not UTF-8"),
    ],
)
def test_files_that_are_no_arpa_are_told_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, why: str
) -> None:
    path = tmp_path / "a.arpa"
    path.write_bytes(ARPA.replace(old, new).encode("utf-8", "surrogateescape"))
    with pytest.raises(ManifestError, match=rf"a\.arpa:{line}: .*({why})"):
        read_arpa(path)


def test_what_stands_above_the_counts_is_a_comment(tmp_path: Path) -> None:
    """CMU's toolkit writes its licence there, which may look like counts."""
    for name, above in (
        ("plain", ""),
        ("cmu", "###### Copyright\n\nngram 1 : nr  # of unigrams\nngram 1=7\n\\1-grams:\n"),
    ):
        (tmp_path / f"{name}.arpa").write_text(above + ARPA)
    plain, commented = (read_arpa(tmp_path / f"{name}.arpa") for name in ("plain", "cmu"))
    assert commented.words == plain.words and np.array_equal(commented.log_prob, plain.log_prob)


def test_an_ngram_without_its_history_is_told(tmp_path: Path) -> None:
    text = ARPA.replace("ngram 2=2", "ngram 2=2\nngram 3=1").replace("\\end\\", "\\3-grams:\n-1\ttop low top\n\\end\\")
    (tmp_path / "a.arpa").write_text(text)
    with pytest.raises(ManifestError, match=r"a\.arpa:17: the history of this 3-gram is not among the 2-grams"):
        read_arpa(tmp_path / "a.arpa")


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.arpa.gz").write_text("no gzip")
    (tmp_path / "b.arpa.gz").write_bytes(gzip.compress(ARPA.encode())[:-20])
    for name in ("a.arpa.gz", "b.arpa.gz", "c.arpa", "."):
        with pytest.raises(ManifestError, match="cannot be read"):
            read_arpa(tmp_path / name)


def test_words_of_another_recogniser_are_told(tones_run: Path, tmp_path: Path, capsys) -> None:
    """None of them: refused. Some of them: a warning."""
    path = tmp_path / "n.arpa"
    path.write_text(ARPA.replace("low", "LOW").replace("top", "TOP"))
    flags = ["--run", str(tones_run), "--ngram", str(path), "--out", str(tmp_path / "out")]
    assert exit_code_of(decode_main, flags) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"error: {path}: none of its 2 words can be written by this tokenizer, such as 'LOW'"
    path.write_text(ARPA.replace("low", "LOW"))
    Recognizer.load(tones_run, ngram=path)
    assert "warning: " in (said := capsys.readouterr().err) and "1 of its 2 words, such as 'LOW'" in said
