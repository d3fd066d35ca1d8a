"""An exported folder says what its run says, holds data only, and is checked before it is believed."""

import dataclasses
import hashlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq_asr import Recognizer
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.decode import main as decode
from seq2seq_asr.errors import CheckpointError, TokenizerError
from seq2seq_asr.export import main
from seq2seq_asr.recognizer.confidence import Calibration
from seq2seq_asr.recognizer.tuned import Tuned
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.whole_file import digest_of


@pytest.fixture(scope="module")
def made(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "deep" / "out"
    assert exit_code_of(main, ["--run", str(tones_run), "--format", "safetensors", "--out", str(out)]) == 0
    return out


@pytest.fixture
def exported(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "out")


def test_an_exported_recogniser_transcribes_as_its_run_does(tones_run: Path, made: Path) -> None:
    utterances = read_manifest(tones_run.parent / "test.jsonl")[:4]
    assert Recognizer.load(made).transcribe(utterances) == Recognizer.load(tones_run).transcribe(utterances)


def test_decode_takes_an_exported_folder(made: Path, tones_run: Path, tmp_path: Path, capsys: Any) -> None:
    manifest, out = tones_run.parent / "test.jsonl", tmp_path / "decoded"
    assert (
        exit_code_of(decode, ["--run", str(made), "--manifest", str(manifest), "--out", str(out), "--beam", "1"]) == 0
    )
    assert len((out / "hyp.jsonl").read_text().splitlines()) == 12
    capsys.readouterr()
    assert exit_code_of(decode, ["--run", str(made)]) == 2
    assert "give audio files or --manifest" in capsys.readouterr().err


def test_there_is_nothing_but_data(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == ["config.json", "model.safetensors", "tokenizer.model"]
    content = (made / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    assert all(entry.keys() == {"dtype", "shape", "data_offsets"} for entry in header.values())
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(content) - 8 - length
    with pytest.raises(Exception, match="."):
        pickle.loads(content)


def test_what_was_tuned_goes_along_unless_it_needs_a_language_model(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, tokenizer = shutil.copytree(tones_run, tmp_path / "run"), Recognizer.load(tones_run).tokenizer.hash
    weights = digest_of(run / "best.ckpt")
    tuned = Tuned(
        tokenizer=tokenizer,
        weights=weights,
        dev="dev",
        utterances=1,
        words=1,
        wer=0.0,
        cer=0.0,
        search=BeamConfig(beam=3),
    )
    (run / "decoding.yaml").write_text(to_yaml(tuned))
    line = Calibration(
        tokenizer=tokenizer,
        weights=weights,
        ctc_weight=0.2,
        slope=2.0,
        intercept=0.5,
        words=9,
        error_before=0.3,
        error_after=0.1,
    )
    (run / "confidence.yaml").write_text(to_yaml(line))
    assert exit_code_of(main, ["--run", str(run), "--out", str(tmp_path / "with")]) == 0
    made = Recognizer.load(tmp_path / "with")
    content = (tmp_path / "with/model.safetensors").read_bytes()
    exported = dataclasses.replace(line, weights=hashlib.sha256(content).hexdigest())
    assert made.default_search.beam == 3 and made.searcher.calibration == exported and capsys.readouterr().err == ""
    (run / "confidence.yaml").write_text(to_yaml(dataclasses.replace(line, weights="f" * 64)))
    assert exit_code_of(main, ["--run", str(run), "--out", str(tmp_path / "part")]) == 0
    assert "confidence.yaml: tuned with other weights than those of best.ckpt: stays behind" in capsys.readouterr().err
    assert Recognizer.load(tmp_path / "part").searcher.calibration is None
    (run / "decoding.yaml").write_text(to_yaml(dataclasses.replace(tuned, ngram=tmp_path / "words.arpa")))
    assert exit_code_of(main, ["--run", str(run), "--out", str(tmp_path / "without")]) == 0
    assert "words.arpa" in capsys.readouterr().err
    made = Recognizer.load(tmp_path / "without")
    assert made.tuned is None and made.searcher.calibration is None


def test_nothing_is_overwritten(tones_run: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in made.iterdir()}
    assert exit_code_of(main, ["--run", str(tones_run), "--out", str(made)]) == 1
    assert "exists already and is not empty" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in made.iterdir()} == before


@pytest.mark.parametrize("out", [".", "..", "new/.."])
def test_folders_without_a_name_of_their_own(
    out: str, tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code = exit_code_of(main, ["--run", str(tones_run), "--out", out])
    said = capsys.readouterr().err
    assert code == 1 and said.count("\n") == 1 and ("that you are in" in said or "not empty" in said)
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "error", "why"),
    [
        (lambda out: flip(out / "model.safetensors"), CheckpointError, r"model\.safetensors: damaged, its SHA-256"),
        (lambda out: (out / "config.json").unlink(), CheckpointError, r"config\.json: cannot be read"),
        (lambda out: (out / "config.json").write_text("{"), CheckpointError, r"config\.json: no JSON"),
        (lambda out: (out / "config.json").write_text("[" * 9**5), CheckpointError, r"config\.json: no JSON"),
        (lambda out: (out / "config.json").write_text(" " * 2**21), CheckpointError, "not of an exported recogniser"),
        (lambda out: (out / "config.json").write_text("[1]"), CheckpointError, "not of an exported recogniser"),
        (lambda out: change(out / "config.json", seq2seq_asr=9), CheckpointError, "not of an exported recogniser"),
        (lambda out: change(out / "config.json", model={"unitz": 3}), CheckpointError, "its model cannot be built"),
        (lambda out: change(out / "config.json", tokenizer="0"), CheckpointError, "not the tokenizer"),
        (lambda out: (out / "tokenizer.model").write_bytes(b"garbage"), TokenizerError, r"tokenizer\.model"),
    ],
)
def test_what_is_damaged_is_named(
    exported: Path, damage: Callable[[Path], None], error: type[Exception], why: str
) -> None:
    damage(exported)
    with pytest.raises(error, match=why) as caught:
        Recognizer.load(exported)
    assert "\n" not in str(caught.value)


def test_settings_of_a_stranger_take_no_memory_before_they_are_checked(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = json.loads((exported / "config.json").read_text())["model"]
    change(exported / "config.json", model={**model, "decoder": {**model["decoder"], "embedding": 2**50}})
    with pytest.raises(CheckpointError, match="weights do not fit its own settings, such as decoder"):
        Recognizer.load(exported)
    change(exported / "config.json", model={**model, "features": {**model["features"], "rate": 400_000_000}})
    with pytest.raises(CheckpointError, match="its model cannot be built .*rate must be from 1000 to 192000 Hz"):
        Recognizer.load(exported)
    assert torch.get_default_device().type == "cpu"
