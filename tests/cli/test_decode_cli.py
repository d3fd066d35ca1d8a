"""The decode command: what it takes without being told, its flags, and how it ends."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.decode import main
from seq2seq_asr.search.beam import BeamConfig

Call = Callable[..., Any]


@pytest.fixture
def audio(tones_run: Path) -> list[Path]:
    return [one.audio for one in read_manifest(tones_run.parent / "test.jsonl") if one.audio][:4]


def test_without_arguments_the_newest_run_and_its_test_set(
    tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    for age, name in enumerate(["newest", "older"]):
        shutil.copytree(tones_run, tmp_path / "checkpoints" / name)
        for path in (tmp_path / "checkpoints" / name).glob("*.ckpt"):
            os.utime(path, (1e9 - age, 1e9 - age))
    monkeypatch.chdir(tmp_path)
    result = call(main, "--beam", 2)
    assert result.code == 0 and result.out.endswith("checkpoints/newest/decode_test_beam2\n")
    for shown in ("WER", "CER", "SER", "sub", "del", "ins", "95 % interval", "Real-time factor", "12 utterances"):
        assert shown in result.out
    assert "WER" not in result.err and "decoding 12 utterances of test with checkpoints/newest" in result.err
    folder = tmp_path / "checkpoints/newest/decode_test_beam2"
    written = {"hyp.jsonl", "ref.trn", "hyp.trn", "wer.txt", "wer.json", "decode.yaml"}
    assert {path.name for path in folder.iterdir()} == written
    monkeypatch.chdir(tmp_path / "checkpoints/older")
    assert "no run with a checkpoint yet" in call(main).complaint


def test_every_setting_of_the_search_is_a_flag_of_its_own(call: Call) -> None:
    result = call(main, "--help")
    assert result.code == 0 and "--search" not in result.out
    assert all(f"--{field.name} " in result.out for field in dataclasses.fields(BeamConfig))
    shown = call(main, "--beam", 4, "--ctc_weight", 0, "--nbest", 4, "--allow-skips", "--print_config").out
    assert all(line in shown for line in ("beam: 4", "ctc_weight: 0.0", "nbest: 4", "allow_skips: true"))


@pytest.mark.parametrize(
    "argv",
    [
        "--beam 0",
        "--beam 2 --nbest 3",
        "--beem 8",
        "--ctc_weight 1",
        "--alpha x",
        "--device abacus",
        "--split all",
        "--batch_seconds 0",
        "--manifest m.jsonl a.wav",
        "--config nowhere.yaml",
    ],
)
def test_wrong_usage_is_code_2_and_writes_nothing(argv: str, call: Call) -> None:
    result = call(main, *argv.split())
    assert result.code == 2 and result.out == "" and result.err and "Traceback" not in result.err


def test_audio_files_give_a_line_each_in_their_order(
    tones_run: Path, audio: list[Path], tmp_path: Path, call: Call
) -> None:
    files = [audio[3], audio[0], audio[3], audio[1]]
    result = call(main, "--run", tones_run, *files, "--beam", 2, "--out", tmp_path / "out")
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert result.code == 0 and [Path(name) for name, _ in rows] == files
    assert rows[0] == rows[2] and all(text for _, text in rows)
    lines = [json.loads(line) for line in (tmp_path / "out/hyp.jsonl").read_text().splitlines()]
    assert [[line["id"], line["text"]] for line in lines] == rows


def test_a_bad_file_is_named_and_the_others_are_transcribed(
    tones_run: Path, audio: list[Path], tmp_path: Path, call: Call
) -> None:
    (tmp_path / "not utf-8 \udcff.wav").write_text("no audio")
    bad = [tmp_path / "missing.wav", tmp_path, tmp_path / "not utf-8 \udcff.wav"]
    files = [bad[0], audio[0], bad[1], bad[2], audio[1]]
    result = call(main, "--run", tones_run, *files, "--beam", 1)
    assert result.code == 1 and [line.split("\t")[0] for line in result.out.splitlines()] == [*map(str, audio[:2])]
    skips = [line for line in result.err.splitlines() if line.startswith("skipped")]
    assert len(skips) == 4 and "missing.wav" in skips[0] and "not a regular file" in skips[1]
    assert skips[3].startswith("skipped 3 of 5")
    assert call(main, "--run", tones_run, *files, "--beam", 1, "--allow-skips").code == 0
    assert call(main, "--run", tones_run, *bad, "--allow-skips").code == 1


def test_any_rate_and_format_is_read(tones_run: Path, audio: list[Path], tmp_path: Path, call: Call) -> None:
    samples, rate = soundfile.read(audio[2])
    for name in ("a.flac", "b.mp3", "c.ogg"):
        soundfile.write(tmp_path / name, samples.repeat(2), 2 * rate)
    result = call(main, "--run", tones_run, *sorted(tmp_path.iterdir()), "--beam", 1)
    assert result.code == 0 and len(result.out.splitlines()) == 3


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), pytest.param(signal.SIGTERM, 143, "terminated", marks=pytest.mark.nightly)],
)
def test_a_signal_keeps_what_is_decoded_and_resume_goes_on(
    number: signal.Signals, code: int, word: str, tones_run: Path, tmp_path: Path, call: Call
) -> None:
    flags = ["--run", str(tones_run), "--split", "train", "--beam", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "seq2seq_asr.decode", *flags, "--batch_seconds", "0.01"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    lines, deadline = tmp_path / "hyp.jsonl", time.monotonic() + 100
    while not (lines.exists() and lines.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b""), err.decode()
    assert err.decode().splitlines()[-1] == word and b"Traceback" not in err
    kept = lines.read_text().splitlines()
    assert 3 <= len(kept) < 320 and not (tmp_path / "wer.txt").exists()
    result = call(main, *flags, "--resume")
    assert result.code == 0 and f"{len(kept)} of 320 were decoded before" in result.err
    whole = lines.read_text().splitlines()
    assert len({json.loads(line)["id"] for line in whole}) == len(whole) == 320 and set(kept) < set(whole)
