"""The doctor command: what it prints, writes and returns, on corpora as users have them."""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from seq2seq_asr.commands.doctor.run import names
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.manifest import read_manifest, write_manifest
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.doctor import main
from seq2seq_asr.strict_yaml import to_yaml
from tests.conftest import write_tones

Doctor = Callable[..., tuple[int, str, str, dict[str, Any]]]


@pytest.fixture
def doctor(tmp_path: Path, capfd: pytest.CaptureFixture) -> Doctor:
    """Calls the command; gives its exit code, what it printed and said, and its JSON report."""

    def call(*argv: object) -> tuple[int, str, str, dict[str, Any]]:
        report = tmp_path / "out.json"
        report.unlink(missing_ok=True)
        code = exit_code_of(main, [*map(str, argv), "--report", str(report)])
        return code, *capfd.readouterr(), json.loads(report.read_text()) if report.exists() else {}

    return call


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_tones(folder / "train.jsonl", 12, seed=0)
    write_tones(folder / "test.jsonl", 4, seed=1)
    return folder


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {name: check["count"] for name, check in report["checks"].items() if check["count"]}


def test_a_good_corpus_passes(corpus: Path, doctor: Doctor) -> None:
    code, out, err, report = doctor("--manifest", corpus / "train.jsonl", "--against", corpus / "test.jsonl")
    assert code == 0 and report["errors"] == 0
    assert out.startswith("train: 12 utterances") and "\ntest: 4 utterances" in out and " 0 errors, " not in out
    assert [one["utterances"] for one in report["sets"]] == [12, 4] and "out.json" in err
    # The tones have 3 speakers in both sets, few words, and half the rate that the default model reads.
    assert (
        {"speaker_overlap", "rate"}
        <= counts(report).keys()
        <= {"speaker_overlap", "rate", "duplicate_text", "text_leak", "text_overlap"}
    )


def test_errors_are_exit_code_1_and_name_the_utterance(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    copy = shutil.copytree(corpus, tmp_path / "copy")
    (copy / "train-3.wav").write_bytes((copy / "train-3.wav").read_bytes()[:900])
    shutil.copy(copy / "train-5.wav", copy / "test-1.wav")
    code, out, _, report = doctor("--manifest", copy / "train.jsonl", "--against", copy / "test.jsonl")
    assert code == 1 and counts(report)["unreadable"] == 1 and counts(report)["audio_leak"] == 1
    assert "train-3: " in out and "cut short" in out and "test-1; in training train-5" in out


def test_it_takes_tokenizer_and_time_scale_from_a_run(tones_run: Path, corpus: Path, doctor: Doctor) -> None:
    flags = ["--manifest", corpus / "train.jsonl", "--run", tones_run]
    code, _, _, report = doctor(*flags)
    tokenizer = Tokenizer.load(tones_run / "tokenizer.model")
    assert code == 0 and "rate" not in counts(report)  # this model reads 8 kHz
    assert report["sets"][0]["tokens"] == sum(
        len(tokenizer.encode(one.text)) for one in read_manifest(corpus / "train.jsonl")
    )


def test_it_takes_them_from_an_experiment(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    default = FitConfig()
    model = dataclasses.replace(
        default.model,
        features=dataclasses.replace(default.model.features, rate=8000),
        encoder=dataclasses.replace(default.model.encoder, reductions=(8, 8)),
    )
    fit = dataclasses.replace(default, model=model, tokenizer=TokenizerConfig(kind="char", vocabulary_size=40))
    (tmp_path / "fit.yaml").write_text(to_yaml(fit))
    code, out, _, report = doctor("--manifest", corpus / "train.jsonl", "--experiment", tmp_path / "fit.yaml")
    assert code == 1 and counts(report)["ctc"] == 12 and "rate" not in counts(report)
    assert "tokens need" in out


def test_a_given_tokenizer_shows_unknown_characters(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    Tokenizer.train(["lo mid"], TokenizerConfig(kind="char", vocabulary_size=40)).save(tmp_path / "t.model")
    _, out, _, report = doctor("--manifest", corpus / "train.jsonl", "--tokenizer", tmp_path / "t.model")
    assert report["sets"][0]["unknown_rate"] > 0 and "pieces: " in out


def test_several_manifests_are_one_set_and_kaldi_folders_are_read(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    kaldi = tmp_path / "kaldi"
    kaldi.mkdir()
    found = read_manifest(corpus / "test.jsonl")
    (kaldi / "wav.scp").write_text("".join(f"{one.id} {one.audio}\n" for one in found))
    (kaldi / "text").write_text("".join(f"{one.id} {one.text}\n" for one in found))
    _, _, _, report = doctor("--manifest", corpus / "train.jsonl", kaldi)
    assert report["sets"][0]["utterances"] == 16


def test_a_data_root_confines_it(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    code, out, err, _ = doctor("--manifest", corpus / "train.jsonl", "--data-root", tmp_path)
    assert code == 1 and out == "" and "train.jsonl:1: " in err and "outside of the data root" in err
    assert doctor("--manifest", corpus / "train.jsonl", "--data-root", corpus)[0] == 0


def test_the_data_root_of_an_experiment_confines_it_as_it_does_fit(
    corpus: Path, tmp_path: Path, doctor: Doctor
) -> None:
    (tmp_path / "fit.yaml").write_text(json.dumps({"data": {"root": str(tmp_path)}}))
    flags = ("--manifest", corpus / "train.jsonl", "--experiment", tmp_path / "fit.yaml")
    code, _, err, _ = doctor(*flags)
    assert code == 1 and "outside of the data root" in err
    assert doctor(*flags, "--data-root", corpus)[0] == 0


def test_audio_without_text_may_be_tested_on(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    soundfile.write(tmp_path / "a.wav", soundfile.read(corpus / "test-2.wav")[0], 8000)
    duration = soundfile.info(tmp_path / "a.wav").duration
    (tmp_path / "t.jsonl").write_text(json.dumps({"audio_filepath": "a.wav", "duration": duration}))
    code, out, _, report = doctor("--manifest", corpus / "train.jsonl", "--against", tmp_path / "t.jsonl")
    assert code == 0 and report["sets"][1]["without_text"] == 1 and "no_text" not in counts(report)
    code, _, err, _ = doctor("--manifest", tmp_path / "t.jsonl")
    assert code == 1 and "t.jsonl:1: text" in err


@pytest.mark.parametrize(
    ("argv", "code", "why"),
    [
        ([], 2, "manifest: is required"),
        (["--manifest", "a.jsonl", "--run", "r", "--experiment", "e.yaml"], 2, "not both"),
        (["--manifest", "a.jsonl", "--threads", "0"], 2, "threads"),
        (["--manifest", "a.jsonl"], 1, "a.jsonl: cannot be read"),
    ],
)
def test_wrong_usage(argv: list[str], code: int, why: str, doctor: Doctor) -> None:
    found, out, err, _ = doctor(*argv)
    assert found == code and why in err and out == "" and "Traceback" not in err


@pytest.mark.parametrize("report", ["no/where.json", "."])
def test_a_report_that_cannot_be_written_is_named_before_anything_is_read(
    report: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    argv = ["--manifest", str(tmp_path / "missing.jsonl"), "--report", str(tmp_path / report)]
    assert exit_code_of(main, argv) == 2 and f"{tmp_path / report}: cannot be written" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_meanwhile_costs_the_file_alone(
    corpus: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, out, err, report = doctor("--manifest", corpus / "train.jsonl")
    assert code == 2 and out.startswith("train: 12 utterances") and "cannot be written (No space left" in err


def classifier(folder: Path) -> Path:
    model = {"task": "classify", "features": {"rate": 8000}}
    settings = {"data": {"train": ["words.jsonl"], "dev": [str(folder / "dev.jsonl")]}, "model": model}
    (folder / "classify.yaml").write_text(json.dumps(settings))  # JSON is YAML
    return folder / "classify.yaml"


def words_of(corpus: Path, manifest: Path, texts: list[str]) -> Path:
    """A manifest of the corpus's first recordings with other texts."""
    found = read_manifest(corpus / f"{manifest.stem if manifest.stem == 'train' else 'test'}.jsonl")
    write_manifest(manifest, [dataclasses.replace(one, text=text) for one, text in zip(found, texts, strict=False)])
    return manifest


def test_a_classifier_to_come_and_one_that_is_there(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    train = words_of(corpus, tmp_path / "train.jsonl", ["yes", "no", "no"])
    dev = words_of(corpus, tmp_path / "dev.jsonl", ["no", "on"])
    settings = classifier(tmp_path)
    code, out, _, report = doctor("--manifest", train, "--against", dev, "--experiment", settings)
    assert code == 1 and counts(report)["label"] == 1 and "test-1: 'on'" in out
    assert not {"duplicate_text", "text_overlap", "unknown", "ctc"} & counts(report).keys()
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(settings, run / "config.yaml")
    Labels(["no", "on"]).save(run / "labels.json")
    code, out, _, report = doctor("--manifest", train, "--against", dev, "--run", run)
    assert code == 1 and counts(report)["label"] == 1 and "train-0: 'yes'" in out
    code, _, err, _ = doctor("--manifest", train, "--run", run, "--tokenizer", "t.model")
    assert code == 2 and "tokenizer: has no meaning with a classifier" in err


def test_a_dev_set_must_have_texts_as_training_will_want(corpus: Path, tmp_path: Path, doctor: Doctor) -> None:
    words_of(corpus, tmp_path / "train.jsonl", ["yes", "no"])
    dev = words_of(corpus, tmp_path / "dev.jsonl", ["no", ""])
    code, out, err, _ = doctor(
        "--manifest", tmp_path / "train.jsonl", "--against", dev, "--experiment", classifier(tmp_path)
    )
    assert code == 1 and out == "" and "dev.jsonl:2: text" in err


def test_features_that_the_experiment_does_not_read_are_errors(tmp_path: Path, doctor: Doctor) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(100, 13)).astype(np.float32))
    line = {"features_filepath": "a.npy", "duration": 1.0, "text": "abc"}
    (tmp_path / "train.jsonl").write_text(json.dumps(line))
    flags = ("--manifest", tmp_path / "train.jsonl", "--experiment", tmp_path / "fit.yaml")
    for features, code in (({}, 1), ({"kind": "precomputed", "bins": 40}, 1), ({"kind": "precomputed", "bins": 13}, 0)):
        settings = {"model": {"features": features}, "tokenizer": {"kind": "char"}}
        (tmp_path / "fit.yaml").write_text(json.dumps(settings))
        found, _, _, report = doctor(*flags)
        assert found == code and counts(report).get("input", 0) == code


def test_sets_of_the_same_name_are_told_apart() -> None:
    assert names([Path("a/dev.jsonl"), Path("a/test.jsonl")]) == ["dev", "test"]
    assert names([Path("/x/a/test.jsonl"), Path("/x/b/test.jsonl")]) == ["a/test", "b/test"]
    assert names([Path("/x/a/train.jsonl")]) == ["a/train"]
    assert names([Path("/x/a/t.jsonl"), Path("/y/a/t.jsonl")]) == ["/x/a/t.jsonl", "/y/a/t.jsonl"]
