"""Whatever is wrong with what a user gives: one clear line on stderr, the right exit code, no traceback."""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from seq2seq_asr import decode, fit
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig

Call = Callable[..., Any]


@pytest.fixture
def run(tones_run: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(tones_run, tmp_path / "run")


def damage_checkpoints(run: Path, content: bytes) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        (run / name).write_bytes(content)


def foreign(run: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        torch.save({"model": torch.zeros(3)}, run / name)


def without_checkpoints(run: Path) -> None:
    for path in run.glob("*.ckpt"):
        path.unlink()


def other_tokenizer(run: Path) -> None:
    Tokenizer.train(["other words"], TokenizerConfig(kind="char")).save(run / "tokenizer.model")


RUNS: list[tuple[Callable[[Path], object], int, str]] = [
    (shutil.rmtree, 1, "no such run folder"),
    (without_checkpoints, 1, "no checkpoint"),
    (foreign, 1, "not a checkpoint of seq2seq_asr"),
    (lambda run: damage_checkpoints(run, b"garbage"), 1, "best.ckpt: damaged"),
    (lambda run: damage_checkpoints(run, b""), 1, "best.ckpt: damaged"),
    (lambda run: damage_checkpoints(run, (run / "best.ckpt").read_bytes()[:9000]), 1, "best.ckpt: damaged"),
    (lambda run: (run / "tokenizer.model").unlink(), 1, "tokenizer.model is missing"),
    (lambda run: (run / "tokenizer.model").write_bytes(b"garbage"), 1, "tokenizer.model: truncated, or not"),
    (other_tokenizer, 1, "not the tokenizer"),
    (lambda run: (run / "config.yaml").write_text("a: [1"), 2, "config.yaml:1"),
    (lambda run: (run / "config.yaml").write_text("nmae: x\n"), 2, "config.yaml:1: nmae: unknown key"),
    (lambda run: (run / "config.yaml").write_bytes(b"\x00\xff\xfe"), 2, "config.yaml: not YAML"),
]


@pytest.mark.parametrize(("damage", "code", "why"), RUNS, ids=[why for _, _, why in RUNS])
def test_a_run_that_cannot_be_used(
    run: Path, damage: Callable[[Path], object], code: int, why: str, call: Call
) -> None:
    damage(run)
    result = call(decode.main, "--run", run, "--beam", 1)
    assert result.code == code and why in result.complaint and str(run) in result.complaint


GOOD = {"audio_filepath": "a.wav", "duration": 1.0, "text": "low"}
MANIFESTS: list[tuple[str, list[object], str]] = [
    ("empty", [], "m.jsonl:1: empty manifest"),
    ("duplicate id", [GOOD, GOOD], "m.jsonl:2: id 'a' is already on line 1"),
    ("not JSON", [GOOD, "{"], "m.jsonl:2: not JSON"),
    ("unknown key", [GOOD | {"txt": "b"}], "m.jsonl:1: unknown key 'txt'"),
    ("wrong type", [GOOD | {"duration": "1"}], "m.jsonl:1: duration"),
    ("not a number", [json.dumps(GOOD | {"duration": float("nan")})], "m.jsonl:1: NaN"),
    ("no audio", [{"duration": 1.0, "text": "low"}], "m.jsonl:1: expected exactly one"),
]


def write_lines(path: Path, lines: Sequence[object]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(("lines", "why"), [case[1:] for case in MANIFESTS], ids=[case[0] for case in MANIFESTS])
def test_a_manifest_that_cannot_be_used(
    tones_run: Path, tmp_path: Path, lines: list[object], why: str, call: Call
) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", lines)
    decoded = call(decode.main, "--run", tones_run, "--manifest", manifest, "--out", tmp_path / "out")
    assert decoded.code == 1 and why in decoded.complaint and not (tmp_path / "out").exists()
    fitted = call(fit.main, "--checkpoints", tmp_path / "runs", "--data.train", manifest, "--data.dev", manifest)
    assert fitted.code == 1 and why in fitted.complaint


def test_a_missing_manifest(tones_run: Path, tmp_path: Path, call: Call) -> None:
    result = call(decode.main, "--run", tones_run, "--manifest", tmp_path / "no.jsonl")
    assert result.code == 1 and "no.jsonl: cannot be read: No such file" in result.complaint


def test_training_needs_transcripts(tmp_path: Path, call: Call) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", [GOOD, GOOD | {"id": "b", "text": ""}])
    result = call(fit.main, "--checkpoints", tmp_path / "runs", "--data.train", manifest, "--data.dev", manifest)
    assert result.code == 1 and "m.jsonl:2: text: expected text that is not empty" in result.complaint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model: {encoder: {unitz: 3}}", "c.yaml:1: model.encoder.unitz: unknown key"),
        ("model: {decoder: {tied: true}}", "decoder.tied: the output reads 512 values, decoder.embedding has 128"),
        ("model: {decoder: {context: parallel}}", "decoder.context: parallel, but attention.kind location needs"),
        ("model: {encoder: {residual: true}}", "encoder.residual: joined frames are wider"),
        ("name: x\nseed: many", "c.yaml:2: seed: expected an integer, got 'many'"),
        ("name: x\ntrainer:\n  epochs: 0", "c.yaml:3: trainer: trainer.epochs"),
        ("name: ../x", "cannot be a folder name"),
        ("data: {connect: {train: 9}}", "data.connect: joins the words of manifests; give data.train and data.dev"),
        (
            "model: {features: {kind: precomputed}}\ndata: {noise: {probability: 0.5}}",
            "data.noise.probability: noise is added to audio, not to precomputed features",
        ),
        ("- a list", "c.yaml:1: expected a mapping"),
        ("name: !!python/object/apply:os.system [ls]", "not allowed"),
    ],
)
def test_a_config_that_cannot_be_used(tmp_path: Path, text: str, why: str, call: Call) -> None:
    (tmp_path / "c.yaml").write_text(text)
    result = call(fit.main, "--config", tmp_path / "c.yaml", "--checkpoints", tmp_path / "runs")
    assert result.code == 2 and why in result.complaint and not (tmp_path / "runs").exists()


def test_fit_says_which_run_it_cannot_start_from(tones_run: Path, tmp_path: Path, call: Call) -> None:
    result = call(fit.main, "--resume", "--checkpoints", tmp_path / "runs")
    assert result.code in (1, 2) and "spoken" in result.complaint
    manifests = ["--data.train", tones_run.parent / "test.jsonl", "--data.dev", tones_run.parent / "test.jsonl"]
    flags = [*manifests, "--tokenizer.kind", "char", "--tokenizer.vocabulary_size", 40]
    result = call(fit.main, *flags, "--checkpoints", tmp_path / "runs", "--init_from", tmp_path / "nowhere")
    assert result.code == 1 and "nowhere: no such run folder" in result.complaint


TONE = 0.3 * np.sin(np.arange(16000) / 3)


def tone(path: Path, subtype: str | None = None) -> bytes:
    soundfile.write(path, TONE, 8000, subtype=subtype)
    return path.read_bytes()


AUDIO: list[tuple[str, Callable[[Path], object], str]] = [
    ("cut.wav", lambda path: path.write_bytes(tone(path)[:9000]), "cut short"),
    ("cut.flac", lambda path: path.write_bytes(tone(path)[:-2000]), "cut short"),
    ("cut.mp3", lambda path: path.write_bytes(tone(path)[:-2000]), "cut short"),
    ("text.wav", lambda path: path.write_text("no audio at all"), "cannot be read as audio"),
    ("empty.wav", lambda path: path.write_bytes(b""), "cannot be read as audio"),
    ("silent.wav", lambda path: soundfile.write(path, np.zeros(8000), 8000), "silent"),
    ("short.wav", lambda path: soundfile.write(path, np.arange(9) / 9, 8000), "too short"),
    ("nan.wav", lambda path: soundfile.write(path, np.full(8000, np.nan), 8000, subtype="FLOAT"), "NaN"),
    ("missing.wav", lambda path: None, "No such file"),
    ("pipe.wav", lambda path: os.mkfifo(path), "not a regular file"),
    ("dangling.wav", lambda path: path.symlink_to("gone.wav"), "No such file"),
    ("header.wav", lambda path: path.write_bytes(tone(path)[:44]), "no audio|empty"),
    ("cut.ogg", lambda path: path.write_bytes(tone(path)[:-9]), "cut short|empty"),
    ("opposed.wav", lambda path: soundfile.write(path, TONE[:, None] * [1, -1], 8000), "channels cancel out"),
    ("folder.wav", lambda path: path.mkdir(), "not a regular file"),
]


def test_audio_that_cannot_be_used_is_named_whether_a_file_or_in_a_manifest(
    tones_run: Path, tmp_path: Path, call: Call
) -> None:
    lines = []
    for name, make, _ in AUDIO:
        make(tmp_path / name)
        lines.append({"audio_filepath": name, "duration": 2.0, "text": "low"})
    tone(tmp_path / "good.wav")
    lines.append({"audio_filepath": "good.wav", "duration": 2.0, "text": "low"})
    stems = [{**line, "id": line["audio_filepath"]} for line in lines]
    manifest = write_lines(tmp_path / "m.jsonl", stems)
    ways = (
        [tmp_path / name for name, _, _ in AUDIO] + [tmp_path / "good.wav"],
        ["--manifest", manifest, "--out", tmp_path / "out"],
    )
    for flags in ways:
        result = call(decode.main, "--run", tones_run, "--beam", 1, *flags)
        assert result.code == 1 and "Traceback" not in result.err
        for name, _, why in AUDIO:
            (line,) = [line for line in result.err.splitlines() if line.startswith("skipped") and name in line]
            # A manifest promises two seconds, so there a file is short before it is anything else.
            assert re.search(why, line) or (flags[0] == "--manifest" and "cut short" in line), line
        assert f"skipped {len(AUDIO)} of {len(AUDIO) + 1} utterances" in result.err
        assert "good.wav\t" in result.out or "1 utterances" in result.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line_and_leaves_nothing(tmp_path: Path, call: Call) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", [GOOD])
    flags = ["--data.train", manifest, "--data.dev", manifest, "--trainer.accelerator", "gpu"]
    result = call(fit.main, *flags, "--checkpoints", tmp_path / "runs")
    assert result.code == 2 and "torch sees no GPU" in result.complaint
    assert not (tmp_path / "runs").exists()


def test_audio_missing_in_training_is_one_line(tones_run: Path, tmp_path: Path, call: Call) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", [GOOD, GOOD | {"id": "b", "text": "mid"}])
    flags = ["--data.train", manifest, "--data.dev", manifest, "--model.encoder.units", 4, "--logging.wandb", "off"]
    flags += ["--tokenizer.kind", "char", "--tokenizer.vocabulary_size", 40, "--trainer.accelerator", "cpu"]
    result = call(fit.main, *flags, "--checkpoints", tmp_path / "runs", "--trainer.no_progress")
    assert result.code == 1 and "a.wav: cannot be read: No such file or directory" in result.complaint
