"""A classifier from manifest to score: trained, resumed, scored, loaded; and what is refused on the way."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

from seq2seq_asr import Recognizer, SpeechClassifier
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.decode import main as decode
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.export import main as export
from seq2seq_asr.fit import main as fit
from seq2seq_asr.fit_lm import main as fit_lm
from seq2seq_asr.fit_ngram import main as fit_ngram
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.tune import main as tune

PITCHES = {"low note": 300.0, "mid": 900.0, "high": 1100.0}
SETTINGS: dict[str, Any] = {
    "name": "toy",
    "data": {
        "train": ["train.jsonl"],
        "dev": ["dev.jsonl"],
        "batching": {"max_utterances": 8},
        "speed": {"probability": 0.0},
    },
    "model": {
        "task": "classify",
        "features": {"rate": 8000, "bins": 16, "normalisation": "global"},
        "specaugment": {"frequency_masks": 0, "time_masks": 1, "time_width": 2},
        "encoder": {"cell": "gru", "units": 16, "reductions": [2], "bidirectional": False, "dropout": 0.1},
        "label_smoothing": 0.0,
    },
    "optimizer": {"lr": 3e-3},
    "trainer": {"epochs": 8, "accelerator": "cpu", "devices": 1, "progress": False, "precision": "32-true"},
    "logging": {"wandb": "off"},
}


def write_corpus(folder: Path, split: str, count: int) -> None:
    """Notes of 150 to 300 ms by three speakers."""
    draw = np.random.default_rng(len(split))
    with (folder / f"{split}.jsonl").open("w") as file:
        for index in range(count):
            text = list(PITCHES)[index % len(PITCHES)]
            time = np.arange(int(draw.integers(1200, 2400))) / 8000
            samples = 0.3 * np.sin(2 * np.pi * PITCHES[text] * time) + draw.normal(0, 0.003, len(time))
            soundfile.write(folder / f"{split}-{index}.wav", samples, 8000)
            entry = {"id": f"{split}-{index}", "audio_filepath": f"{split}-{index}.wav", "duration": len(time) / 8000}
            file.write(json.dumps(entry | {"text": text, "speaker": f"s{index // 3 % 3}"}) + "\n")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    write_corpus(folder, "train", 48)
    write_corpus(folder, "dev", 12)
    (folder / "toy.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


@pytest.fixture(scope="module")
def trained(corpus: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(corpus)
        assert exit_code_of(fit, ["--config", "toy.yaml", "--trainer.validate_every", "1"]) == 0
    return corpus / "checkpoints" / "toy"


@pytest.fixture
def home(corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, draw_no_curves: None) -> Path:
    """A copy of the corpus, made the working directory; nothing is drawn."""
    copy = shutil.copytree(corpus, tmp_path / "home", ignore=shutil.ignore_patterns("checkpoints"))
    monkeypatch.chdir(copy)
    return copy


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def test_a_toy_is_learnt_and_its_run_has_its_files(trained: Path) -> None:
    figures = rows(trained)
    assert float(figures[-1]["val_accuracy"]) == 1.0 and figures[-1]["val_wer"] == ""
    assert float(figures[0]["val_loss"]) > float(figures[-1]["val_loss"])
    assert json.loads((trained / "labels.json").read_text()) == sorted(PITCHES)
    assert not (trained / "tokenizer.model").exists()
    assert (trained / "plots" / "learning_curves.png").stat().st_size > 10_000


def test_the_best_checkpoint_has_the_highest_accuracy(trained: Path) -> None:
    accuracies = [float(row["val_accuracy"]) for row in rows(trained)]
    steps = [int(row["step"]) for row in rows(trained)]
    best = read_checkpoint(trained / "best.ckpt")
    assert best["global_step"] == steps[accuracies.index(max(accuracies))]
    assert min(accuracies) < max(accuracies), "otherwise nothing was chosen"


def test_resume_is_exact(home: Path, trained: Path) -> None:
    exact = ("--config", "toy.yaml", "--trainer.validate_every", "1")

    class Stop(Exception):
        pass

    from seq2seq_asr.training.module import Recognition

    step = Recognition.training_step

    def stopping(self: Recognition, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 15:
            self.trainer.save_checkpoint(home / "checkpoints/toy/last.ckpt")
            raise Stop
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recognition, "training_step", stopping)
        with pytest.raises(Stop):
            fit(list(exact))
    assert exit_code_of(fit, ["--name", "toy", "--resume"]) == 0
    again, whole = weights(home / "checkpoints/toy/last.ckpt"), weights(trained / "last.ckpt")
    assert again.keys() == whole.keys() and all(torch.equal(again[name], whole[name]) for name in whole)
    for column in ("train_loss", "val_loss", "val_accuracy"):
        assert [row[column] for row in rows(home / "checkpoints/toy")] == [row[column] for row in rows(trained)]


@pytest.mark.parametrize("names", [["high", "low note", "new"], ["high", "mid"]])
def test_other_labels_are_not_taken_for_the_runs_own(
    names: list[str], trained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(trained, home / "checkpoints/toy")
    (copy / "labels.json").write_text(json.dumps(names))
    assert exit_code_of(fit, ["--name", "toy", "--resume", "--trainer.epochs", "6"]) == 1
    assert "not the labels that last.ckpt was trained with" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"labels\.json: not the labels best\.ckpt was trained with"):
        SpeechClassifier.load(copy)


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_a_bidirectional_encoder_under_another_pooling(kind: str, home: Path) -> None:
    flags = ["--model.pooling.kind", kind, "--model.encoder.bidirectional", "--trainer.validate_every", "5"]
    assert exit_code_of(fit, ["--config", "toy.yaml", *flags]) == 0
    assert float(rows(home / "checkpoints/toy")[-1]["val_accuracy"]) == 1.0


@pytest.fixture(scope="module")
def results(trained: Path, corpus: Path) -> Path:
    """The dev set scored with a wrong reference, so that there is something to confuse."""
    lines = [json.loads(line) for line in (corpus / "dev.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines[:2]] == ["low note", "mid"]
    lines[0]["text"] = "high"
    (corpus / "odd.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert exit_code_of(decode, ["--run", str(trained), "--manifest", str(corpus / "odd.jsonl")]) == 0
    return trained / "decode_odd"


def test_what_decode_writes_of_a_classifier(results: Path) -> None:
    written = {"hyp.jsonl", "hyp.trn", "ref.trn", "decode.yaml", "confusion.png", "confusion.csv", "confusions.csv"}
    assert {path.name for path in results.iterdir()} == written | {"accuracy.txt", "accuracy.json"}
    values = json.loads((results / "accuracy.json").read_text())
    assert values["accuracy"]["rate"] == 11 / 12 and values["resampled"] == {"unit": "speaker", "units": 3}
    assert values["accuracy"]["interval"][0] < 11 / 12 and values["real_time_factor"] > 0
    assert {one["name"]: one["right"] for one in values["speakers"]} == {"s0": 5, "s1": 3, "s2": 3}
    table = [line.split(",") for line in (results / "confusion.csv").read_text().splitlines()]
    assert table == [
        ["true \\ predicted", "high", "low note", "mid"],
        ["high", "4", "1", "0"],
        ["low note", "0", "3", "0"],
        ["mid", "0", "0", "4"],
    ]
    assert (results / "confusions.csv").read_text() == "speaker,reference,hypothesis,count\ns0,high,low note,1\n"
    assert (results / "ref.trn").read_text().startswith("high (s0-dev-0)\n")
    assert "91.67 %" in (results / "accuracy.txt").read_text()
    assert (results / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_line_of_a_classifiers_hypotheses(results: Path) -> None:
    lines = [json.loads(line) for line in (results / "hyp.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"dev-{index}" for index in range(12)]
    assert (lines[0]["reference"], lines[0]["text"]) == ("high", "low note")
    for line in lines:
        assert line["probability"] == pytest.approx(math.exp(line["log_prob"])) and line["probability"] > 1 / 3
        assert sorted(one["text"] for one in line["nbest"]) == sorted(PITCHES)
        assert sum(one["probability"] for one in line["nbest"]) == pytest.approx(1.0)
        assert line["nbest"][0]["text"] == line["text"] and line["words"] == []


def test_an_interrupted_scoring_goes_on(results: Path, trained: Path, corpus: Path, tmp_path: Path) -> None:
    again = shutil.copytree(results, tmp_path / "again")
    whole = (again / "hyp.jsonl").read_text()
    (again / "hyp.jsonl").write_text("".join(whole.splitlines(keepends=True)[:5]))
    argv = ["--run", str(trained), "--manifest", str(corpus / "odd.jsonl"), "--out", str(again), "--resume"]
    assert exit_code_of(decode, argv) == 0
    lines, found = whole.splitlines(), (again / "hyp.jsonl").read_text().splitlines()
    assert found[:5] == lines[:5]
    for line, one in zip(map(json.loads, lines), map(json.loads, found), strict=True):
        assert (one["id"], one["text"]) == (line["id"], line["text"])
        assert one["score"] == pytest.approx(line["score"], rel=1e-5)  # the last bit may depend on the batch


def test_transcribe_gives_labels_whatever_stands_beside(trained: Path, corpus: Path) -> None:
    classifier, utterances = SpeechClassifier.load(trained), read_manifest(corpus / "dev.jsonl")
    together = classifier.transcribe(utterances)
    assert [one.text for one in together] == [utterance.text for utterance in utterances]
    for utterance, one in zip(utterances[:3], together, strict=False):
        assert utterance.audio is not None
        (alone,) = classifier.transcribe([utterance.audio])
        assert alone.text == one.text and alone.log_prob == pytest.approx(one.log_prob, abs=1e-4)


def test_each_kind_of_run_names_the_class_that_loads_it(trained: Path, tones_run: Path) -> None:
    with pytest.raises(CheckpointError, match="a classifier, not a recogniser: load it with SpeechClassifier"):
        Recognizer.load(trained)
    with pytest.raises(CheckpointError, match="a recogniser, not a classifier: load it with Recognizer"):
        SpeechClassifier.load(tones_run)
    with pytest.raises(CheckpointError, match="no such run folder"):
        SpeechClassifier.load(trained / "nowhere")


def test_an_exported_classifier_says_what_its_run_says(trained: Path, corpus: Path, tmp_path: Path) -> None:
    assert exit_code_of(export, ["--run", str(trained), "--out", str(tmp_path / "out")]) == 0
    utterances = read_manifest(corpus / "dev.jsonl")[:4]
    assert SpeechClassifier.load(tmp_path / "out").transcribe(utterances) == SpeechClassifier.load(trained).transcribe(
        utterances
    )
    argv = ["--run", str(tmp_path / "out"), "--manifest", str(corpus / "dev.jsonl"), "--out", str(tmp_path / "scored")]
    assert exit_code_of(decode, argv) == 0 and (tmp_path / "scored/accuracy.txt").is_file()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--model.ctc_weight 0.5", "model.ctc_weight"),
        ("--model.ctc_weight 0", "model.ctc_weight"),
        ("--model.attention.kind dot", "model.attention"),
        ("--model.decoder.units 7", "model.decoder"),
        ("--tokenizer.vocabulary_size 20", "tokenizer"),
        ("--optimizer.sampling 0.1", "optimizer.sampling"),
        ("--data.connect.train 5", "data.connect"),
        ("--trainer.criterion cer", "trainer.criterion"),
        ("--data.train --data.dev", "data.train"),
        ("--model.task recognise --model.pooling.kind mean", "model.pooling"),
        ("--model.pooling.size 0", "pooling.size"),
        ("--model.pooling.kind middle", "--model.pooling.kind"),
        ("--model.encoder.layer_units 4 4", "encoder.layer_units"),
    ],
)
def test_an_impossible_combination_is_refused(
    flags: str, named: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = exit_code_of(fit, ["--config", "toy.yaml", *flags.split()])
    except SystemExit as stop:  # tyro's, for a choice that is none
        code = int(stop.code or 0)
    error = capsys.readouterr().err
    assert code == 2 and named in error and "Traceback" not in error
    assert not (home / "checkpoints").exists()


@pytest.mark.parametrize(
    "flags",
    ["--beam 4", "--ctc_weight 0.4", "--nbest 2", "--lm lm.ckpt", "--hotwords names.txt", "--formats srt --out out"],
)
def test_a_search_of_a_classifier_is_refused(
    flags: str, trained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(decode, ["--run", str(trained), *flags.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {flags.split()[0]}: ") and "is a classifier" in line
    assert not (home / "out").exists()


@pytest.mark.parametrize("main", [tune, fit_lm, fit_ngram], ids=["tune", "fit_lm", "fit_ngram"])
def test_what_needs_a_tokenizer_refuses_a_classifier(
    main: Callable[[list[str]], int], trained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "text").write_text("low mid\n" * 40)
    before = sorted(trained.iterdir())
    flags = ["--run", str(trained), *(["--text", "text"] if main is not tune else [])]
    assert exit_code_of(main, flags) == 2
    told = f"error: {trained}: is a classifier, which spells nothing: give the run of a recogniser"
    assert capsys.readouterr().err.splitlines() == [told] and sorted(trained.iterdir()) == before


def test_a_label_that_training_has_not_is_named(trained: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "dev.jsonl").write_text((home / "dev.jsonl").read_text().replace('"mid"', '"middle"', 1))
    complaint = "dev.jsonl: dev-1: label 'middle' does not occur in the training data"
    assert exit_code_of(fit, ["--config", "toy.yaml"]) == 1
    assert complaint in capsys.readouterr().err and not (home / "checkpoints/toy").exists()
    assert exit_code_of(decode, ["--run", str(trained), "--manifest", "dev.jsonl"]) == 1
    assert complaint in capsys.readouterr().err


def test_one_class_is_not_enough(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "train.jsonl").write_text("\n".join((home / "train.jsonl").read_text().splitlines()[::3]) + "\n")
    assert exit_code_of(fit, ["--config", "toy.yaml"]) == 1
    assert "at least two classes; of the training texts, all are 'low note'" in capsys.readouterr().err


def test_a_step_that_is_not_finite_is_skipped_and_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from seq2seq_asr.training.module import Recognition

    usual = Recognition.losses

    def spoilt(module: Recognition, batch: Any, sampling: float = 0.0) -> Any:
        batch.inputs[-1, 0] = float("nan")
        return usual(module, batch, sampling)

    monkeypatch.setattr(Recognition, "losses", spoilt)
    assert exit_code_of(fit, ["--config", "toy.yaml", "--trainer.max_skipped", "1"]) == 1
    error = capsys.readouterr().err
    assert "step 0 skipped: loss nan" in error and "2 steps in a row" in error
