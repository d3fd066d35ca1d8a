"""The fit_lm command and what decode does with its language model and with hot words."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from seq2seq_asr.commands.decode.hotwords import read_hotwords
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.decode import main as decode_main
from seq2seq_asr.errors import CheckpointError, ManifestError
from seq2seq_asr.fit_lm import main
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.search.beam import BeamConfig

SMALL = ["--model.units", "16", "--model.embedding", "8", "--device", "cpu"]


def run(*argv: object) -> int:
    return exit_code_of(main, [str(argument) for argument in argv])


@pytest.fixture(scope="module")
def corpus(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences in which "low" is always followed by "top"."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("low top\nmid low top\nhigh\n\nhigh low top\n" * 100)
    return path


@pytest.fixture(scope="module")
def lm(tones_run: Path, corpus: Path) -> Path:
    path = corpus.with_name("lm.ckpt")
    assert run("--text", corpus, "--run", tones_run, "--out", path, *SMALL, "--sentences", 8, "--lr", 2e-2) == 0
    return path


def test_the_perplexity_nears_that_of_the_source(
    tones_run: Path, corpus: Path, lm: Path, tmp_path: Path, capsys
) -> None:
    """Four equally frequent sentences have an entropy of log 4 nats each; a model that learnt no order has more."""
    dev = tmp_path / "dev.txt"
    dev.write_text("low top\nmid low top\nhigh\nhigh low top\n")
    flags = ["--text", corpus, "--dev", dev, "--run", tones_run, "--out", tmp_path / "lm.ckpt", *SMALL]
    assert run(*flags, "--sentences", 8, "--lr", 2e-2, "--epochs", 5) == 0
    said, file = capsys.readouterr().out.splitlines()
    encode = Tokenizer.load(tones_run / "tokenizer.model").encode
    pieces = sum(len(encode(line)) + 1 for line in dev.read_text().splitlines())
    assert file == str(tmp_path / "lm.ckpt")
    for count, word in zip((pieces, 9 + 4), said.removeprefix("perplexity ").split(", "), strict=True):
        source = math.exp(4 * math.log(4) / count)
        assert source - 0.01 < float(word.split()[0]) < 1.1 * source


def test_words_are_those_that_the_model_sees(tones_run: Path, tmp_path: Path, capsys) -> None:
    """A piece's mark for a space is none of them: the normaliser takes it out of the text."""
    said = []
    for name, line in (("plain", "low top\n"), ("marked", "low \u2581 \u2581 top\n")):
        (tmp_path / name).write_text(line * 20)
        flags = ["--text", tmp_path / name, "--run", tones_run, "--out", tmp_path / "lm.ckpt", *SMALL, "--epochs", 1]
        assert run(*flags) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


def test_same_seed_same_model_and_the_one_before_is_kept(
    tones_run: Path, corpus: Path, lm: Path, tmp_path: Path, capsys
) -> None:
    flags = ["--text", corpus, "--run", tones_run, *SMALL, "--epochs", 1]
    said: Counter[str] = Counter()
    out, before = tmp_path / "lm.ckpt", b""
    for seed in (3, 3, 4):
        assert run(*flags, "--out", out, "--seed", seed) == 0
        said[capsys.readouterr().out] += 1
        assert not before or (tmp_path / "lm.previous.ckpt").read_bytes() == before
        before = out.read_bytes()
    assert sorted(said.values()) == [1, 2]


def test_a_place_that_cannot_be_written_is_told_before_the_first_epoch(
    tones_run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("--text", corpus, "--run", tones_run, *SMALL, "--out", tmp_path / "nowhere" / "lm.ckpt") == 1
    assert "nowhere: checkpoints cannot be written" in capsys.readouterr().err.splitlines()[-1]


def test_a_language_model_joins_the_search(tones_run: Path, lm: Path) -> None:
    """A large weight makes it say only sentences of its own."""
    audio = read_manifest(tones_run.parent / "test.jsonl")[:6]
    plain = Recognizer.load(tones_run).transcribe(audio)
    fused = Recognizer.load(tones_run, lm=lm)
    weighed = fused.transcribe(audio, BeamConfig(lm_weight=20.0))
    assert {one.text for one in weighed} <= {"low top", "mid low top", "high", "high low top"}
    assert [one.text for one in plain] != [one.text for one in weighed]
    assert "lm" in weighed[0].scores and "lm" not in plain[0].scores
    assert [one.text for one in fused.transcribe(audio, BeamConfig(lm_weight=0.0))] == [one.text for one in plain]


def test_language_models_that_do_not_belong(tones_run: Path, lm: Path, tmp_path: Path) -> None:
    for path, why in ((tones_run / "best.ckpt", "not a language model"), (tmp_path / "no.ckpt", "no such checkpoint")):
        with pytest.raises(CheckpointError, match=why):
            Recognizer.load(tones_run, lm=path)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.yaml", "best.ckpt"):
        (other / name).write_bytes((tones_run / name).read_bytes())
    Tokenizer.train(["other words"], TokenizerConfig(kind="char")).save(other / "tokenizer.model")
    (tmp_path / "a.txt").write_text("other words\n" * 30)
    flags = ["--text", tmp_path / "a.txt", "--run", other, *SMALL, "--epochs", 1]
    assert run(*flags) == 0 and (other / "lm.ckpt").is_file()
    with pytest.raises(CheckpointError, match="another tokenizer"):
        Recognizer.load(tones_run, lm=other / "lm.ckpt")


@pytest.mark.parametrize("text", ["", "\n\n", "one\n", "a\0b\n" * 40])
def test_text_that_is_none(tones_run: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert run("--text", tmp_path / "a.txt", "--run", tones_run, "--out", tmp_path / "lm.ckpt") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: ") and "a.txt" in said[-1] and not (tmp_path / "lm.ckpt").exists()


def test_hot_words_are_favoured_and_change_nothing_when_absent(tones_run: Path, tmp_path: Path) -> None:
    audio = read_manifest(tones_run.parent / "test.jsonl")[:6]
    plain = Recognizer.load(tones_run).transcribe(audio)
    favoured = Recognizer.load(tones_run, hotwords=["top"]).transcribe(audio, BeamConfig(hotword_boost=9.0))
    assert sum(one.text.split().count("top") for one in favoured) > sum(one.text.split().count("top") for one in plain)
    for one in favoured:
        assert one.scores["hotwords"] == 3 * one.text.split().count("top")
    none = Recognizer.load(tones_run, hotwords=["top"]).transcribe(audio, BeamConfig(hotword_boost=0.0))
    assert none == plain and all("hotwords" not in one.scores for one in plain)


def test_hot_words_are_read_from_a_file(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, tokenizer = tmp_path / "hot.txt", Tokenizer.load(tones_run / "tokenizer.model")
    path.write_text("top\n\n  low  mid \n")
    assert read_hotwords(path, tokenizer) == ("top", "low mid")
    flags = ["--run", tones_run, "--out", tmp_path / "out", "--hotwords", path, "--beam", 2]
    assert exit_code_of(decode_main, [*map(str, flags)]) == 0
    lines = (tmp_path / "out/hyp.jsonl").read_text().splitlines()
    assert all("hotwords" in json.loads(line)["scores"] for line in lines)
    capsys.readouterr()
    path.write_text("top\nzebra\n")
    assert exit_code_of(decode_main, [*map(str, flags)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {path}:2: 'zebra' has characters the tokenizer does not know: z e b r a"[:-4])


@pytest.mark.parametrize(("text", "why"), [("", "no hot words"), ("a\0\n", ":1: NUL"), (None, "cannot be read")])
def test_hot_word_files_that_are_none(tones_run: Path, tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "hot.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ManifestError, match=why):
        read_hotwords(path, Tokenizer.load(tones_run / "tokenizer.model"))
