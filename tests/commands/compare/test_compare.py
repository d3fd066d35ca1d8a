"""A whole comparison of tiny runs: what is finished is skipped, what fails is told, figures are those measured."""

import csv
import html.parser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import yaml

from seq2seq_asr.commands.claiming import claimed
from seq2seq_asr.commands.compare.budget import Corpora, apply_budget
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run, expand, runs_of
from seq2seq_asr.commands.compare.stages import another_setting, decoded
from seq2seq_asr.compare import main, parse_compare
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.evaluation.trn import read_trn
from seq2seq_asr.evaluation.wer import ErrorCounts, word_errors
from seq2seq_asr.training.metrics import read_rows

pytestmark = pytest.mark.timeout(900)  # processes of their own, on a machine that may be busy
ROOT = Path(__file__).parents[3]
SETTINGS = {
    "data": {
        "train": ["train.jsonl"],
        "dev": ["dev.jsonl"],
        "batching": {"max_utterances": 4},
        "speed": {"probability": 0.0},
    },
    "tokenizer": {"kind": "char", "vocabulary_size": 16},
    "model": {
        "features": {"kind": "precomputed", "bins": 4},
        "specaugment": {"frequency_masks": 0, "time_masks": 0},
        "encoder": {"units": 8, "reductions": [2]},
        "attention": {"size": 8, "filters": 2, "width": 3},
        "decoder": {"units": 8, "embedding": 4},
    },
    "trainer": {"epochs": 2, "validate_every": 1, "accelerator": "cpu", "devices": 1, "precision": "32-true"},
}
COMPARISON = """
name: toys
configs: [toy.yaml]
axes: ["model.encoder.cell + model.decoder.cell = elman, gru"]
seeds: [1]
"""


def write_corpus(folder: Path) -> None:
    """Random features under texts of one to three letters, three speakers; ``toy.yaml`` and ``toys.yaml``."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("dev", 9)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for index in range(count):
                name, frames = f"{split}-{index}.npy", 12 + 4 * (index % 3)
                np.save(folder / name, draw.normal(size=(frames, 4)).astype(np.float32))
                text = " ".join(draw.choice(list("abc"), size=1 + index % 3))
                entry = {"features_filepath": name, "duration": frames / 100, "text": text, "speaker": f"s{index % 3}"}
                file.write(json.dumps(entry) + "\n")
    (folder / "toy.yaml").write_text(yaml.safe_dump(SETTINGS))
    (folder / "toys.yaml").write_text(COMPARISON)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the toys; what the module's first test trains is there for the others."""
    folder, before = tmp_path_factory.mktemp("compare"), Path.cwd()
    write_corpus(folder)
    os.chdir(folder)
    counted = mock.patch("seq2seq_asr.commands.compare.cost.SECONDS", 1)  # in place of 10, which take a second of ours
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}), counted:
        yield folder
    os.chdir(before)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def compare(*flags: str) -> int:
    return exit_code_of(main, ["toys.yaml", *flags])


@pytest.fixture(scope="module")
def compared(place: Path) -> Path:
    """One run alone, then the other; the folder of the comparison."""
    folder = place / "checkpoints" / "toys"
    assert compare("--only", "gru*") == 0
    assert not (folder / "elman_seed1").exists()
    alone = (folder / "gru_seed1" / "last.ckpt").stat().st_mtime_ns
    assert len(table(folder / "comparison.csv")) == 1
    assert compare("--jobs", "2") == 0
    assert (folder / "gru_seed1" / "last.ckpt").stat().st_mtime_ns == alone, "a finished run is not trained again"
    return folder


@pytest.mark.slow
def test_a_finished_comparison_only_reports(compared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in compared.glob("*_seed1/**/*") if path.is_file()}
    assert compare() == 0
    told = capfd.readouterr()
    assert "2 runs, 2 finished before" in told.err and "Best is" in told.out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def measured(run: Path) -> float:
    """Word error rate out of the run's own transcripts and references."""
    said = {
        line["id"]: line["text"] for line in map(json.loads, (run / "compare_test/hyp.jsonl").read_text().splitlines())
    }
    lines = read_trn(run / "compare_test" / "ref.trn")
    assert len(lines) == 9
    return sum((word_errors(line.text, said[line.id]) for line in lines), ErrorCounts()).rate


@pytest.mark.slow
def test_the_tables_say_what_the_transcripts_say(compared: Path) -> None:
    rows = table(compared / "comparison.csv")
    runs = {row["run"]: row for row in table(compared / "runs.csv")}
    assert {row["system"] for row in rows} == {"elman", "gru"} and set(runs) == {"elman_seed1", "gru_seed1"}
    page = (compared / "comparison.html").read_text()
    for row in rows:
        rate = measured(compared / f"{row['system']}_seed1")
        assert float(row["error_rate"]) == pytest.approx(rate, abs=1e-5)
        assert float(runs[f"{row['system']}_seed1"]["error_rate"]) == pytest.approx(rate, abs=1e-5)
        assert f'>{row["system"]}</td><td class="" data-value="{rate}">{100 * rate:.2f}</td>' in page
        assert float(row["cpu_minutes"]) > 0 and float(row["peak_memory_bytes"]) > 2**26
        seconds = sum(float(one["seconds"]) for one in read_rows(compared / f"{row['system']}_seed1/metrics.csv"))
        assert float(row["train_minutes"]) == pytest.approx(seconds / 60, abs=1e-4) and row["steps"] == "6"
    assert float(rows[0]["error_rate"]) <= float(rows[1]["error_rate"]) and rows[0]["verdict"] == "best"


class Reader(html.parser.HTMLParser):
    """Collects what a browser would fetch, and holds tags against each other."""

    VOID = {"meta", "img", "line", "circle", "polygon", "polyline", "br", "input"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] or "" for name in ("src", "href", "srcset", "xlink:href") if name in given]
        self.anchors.add(given.get("id") or "")
        assert not any(name.startswith("on") for name in given)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_and_fetches_nothing(compared: Path) -> None:
    page = (compared / "comparison.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and reader.links
    for link in reader.links:
        assert link.startswith("data:image/png;base64,") or link.removeprefix("#") in reader.anchors, link[:60]
    assert not re.search(r"https?://|@import|url\(", page)
    for heading in ("Ranking", "Learning curves", "What it costs", "Where they look", "WER by length"):
        assert f"<h2>{heading}</h2>" in page
    assert "significant" in page and str(compared) not in page


@pytest.mark.slow
def test_other_settings_under_the_same_name_are_refused(compared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (compared / "comparison.csv").read_text()
    assert compare("--settings", "optimizer.lr = 0.1") == 2
    assert "was trained with another optimizer.lr" in capfd.readouterr().err
    assert compare("--only", "lstm*") == 2 and "only: no run matches 'lstm*'" in capfd.readouterr().err
    assert (compared / "comparison.csv").read_text() == before


@pytest.mark.slow
def test_a_run_of_other_utterances_is_refused(compared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Trained on texts that were corrected since, it is neither gone on with nor ranked."""
    before = Path("train.jsonl").read_text()
    Path("train.jsonl").write_text(before.replace('"text": "', '"text": "b ', 1))
    try:
        assert compare() == 2
        assert "was trained with another data.train (it held other utterances)" in capfd.readouterr().err
        (run, *_), config = planned()
        assert another_setting(run, config, Corpora(lambda *_: None)).startswith("data.train ")
    finally:
        Path("train.jsonl").write_text(before)


def planned() -> tuple[list[Run], CompareConfig]:
    config = parse_compare(["--config", "toys.yaml"])
    measured = apply_budget(config, expand(config), Corpora(lambda *_: None))
    return runs_of([one.system for one in measured], config.seeds), config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "current"),
    [
        ("", "\n", True),
        ('"text": "', '"text": "c ', False),
        ('"speaker": "s1"', '"speaker": "s2"', False),
        ("dev-1.npy", "elsewhere/dev-1.npy", False),
    ],
)
def test_what_was_decoded_of_other_data_is_decoded_again(old: str, new: str, current: bool, compared: Path) -> None:
    (run, *_), config = planned()
    before = Path("dev.jsonl").read_text()
    Path("dev.jsonl").write_text(before.replace(old, new, 1))
    try:
        assert decoded(run, config, Corpora(lambda *_: None)) is current
        # Nothing was chosen by the error on dev, unless it was the checkpoint.
        assert not another_setting(run, config, Corpora(lambda *_: None))
        chosen = another_setting(run, replace(config, checkpoint="best"), Corpora(lambda *_: None))
        assert chosen.startswith("data.dev ") is ("text" in old)
    finally:
        Path("dev.jsonl").write_text(before)


@pytest.mark.slow
def test_what_other_weights_decoded_is_decoded_again(compared: Path) -> None:
    (run, *_), config = planned()
    last = run.path / "last.ckpt"
    before = last.read_bytes()
    last.write_bytes(before + b"0")  # as if it had been trained anew
    try:
        assert not decoded(run, config, Corpora(lambda *_: None))
    finally:
        last.write_bytes(before)
    assert decoded(run, config, Corpora(lambda *_: None))


@pytest.mark.slow
def test_a_run_of_other_settings_is_left_out_of_the_ranking(compared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As if the GRU had been trained anew, alone, with other settings; the report of dev stands beside that of test."""
    other = compared.parent / "other"
    shutil.copytree(compared, other)
    before = (other / "comparison.html").read_bytes()
    for run, lr in (("elman_seed1", "0.003"), ("gru_seed1", "0.1")):
        config = other / run / "config.yaml"
        text = config.read_text().replace("checkpoints/toys", "checkpoints/other")
        config.write_text(re.sub(r"  lr: .*", f"  lr: {lr}", text))
        (other / run / "compare_test").rename(other / run / "compare_dev")
    flags = ["--name", "other", "--split", "dev", "--only", "gru*", "--settings", "optimizer.lr = 0.1"]
    assert compare(*flags) == 0
    assert "elman_seed1: left out of the ranking, it was trained with another optimizer.lr" in capfd.readouterr().err
    assert [row["system"] for row in table(other / "comparison_dev.csv")] == ["gru"]
    assert (other / "comparison.html").read_bytes() == before


@pytest.mark.slow
def test_what_fails_is_told_and_the_others_are_ranked(compared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run whose checkpoints are damaged cannot go on; the other is reported all the same."""
    spoiled = compared.parent / "spoiled"
    shutil.copytree(compared, spoiled)
    for path in (spoiled / "elman_seed1").glob("*.ckpt"):
        path.write_bytes(b"")
    (spoiled / "elman_seed1/compare_test/wer.json").unlink()
    for run in ("elman_seed1", "gru_seed1"):
        config = spoiled / run / "config.yaml"
        config.write_text(config.read_text().replace("checkpoints/toys", "checkpoints/spoiled"))
    assert compare("--name", "spoiled") == 1
    told = capfd.readouterr()
    (line,) = [line for line in told.err.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: elman_seed1, fit (exit code 1): error: ") and ".ckpt" in line
    assert "elman_seed1 failed in fit: error: " in (spoiled / "comparison.html").read_text()
    assert [row["system"] for row in table(spoiled / "comparison.csv")] == ["gru"]


@pytest.mark.slow
@pytest.mark.parametrize("figures", [b"step,seconds\n1,2\n", b"epoch\n0\n1\n"])
def test_figures_that_are_damaged_fail_by_name(
    figures: bytes, compared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    metrics = compared / "elman_seed1/metrics.csv"
    before = metrics.read_bytes()
    metrics.write_bytes(figures)
    try:
        assert compare() == 1
        assert "failed: elman_seed1, results (exit code 1): " in capfd.readouterr().err
        assert [row["system"] for row in table(compared / "comparison.csv")] == ["gru"]
    finally:
        metrics.write_bytes(before)
        assert compare() == 0


def test_a_second_comparison_of_one_name_is_refused(compared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with claimed(compared, ".lock", "comparison", "wait"):
        assert compare() == 1
    assert "another comparison writes there: wait until it ends, or give another --name" in capfd.readouterr().err


@pytest.mark.nightly
def test_an_interrupted_run_goes_on_where_it_was(place: Path) -> None:
    command = [sys.executable, "-m", "seq2seq_asr.compare", "toys.yaml", "--name", "stopped"]
    command += ["--settings", "trainer.epochs = 400", "--only", "gru*"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = place / "checkpoints/stopped/gru_seed1/metrics.csv"
    while not metrics.is_file() or len(read_rows(metrics)) < 3:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    done = len(read_rows(metrics))
    assert process.returncode == 130 and 3 <= done < 400
    assert exit_code_of(main, ["toys.yaml", *command[4:]]) == 0
    rows = read_rows(metrics)
    assert [int(row["epoch"]) for row in rows] == list(range(400))
    log = (place / "checkpoints/stopped/logs/gru_seed1.log").read_text()
    assert log.count("epoch 1/400:") == 1, "no epoch was trained twice"
