"""Probing a run: what the files hold, what is said, and what is refused."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from seq2seq_asr.commands.probe_gradients.config import ProbeGradientsConfig
from seq2seq_asr.commands.probe_gradients.figure import gradients_figure
from seq2seq_asr.commands.probe_gradients.run import (
    Results,
    Weights,
    clipping,
    fresh_model,
    probe_gradients,
    probe_model,
    report,
)
from seq2seq_asr.commands.probe_gradients.summary import (
    clipping_line,
    clipping_summary,
    fall,
    first_below,
    layer_summary,
)
from seq2seq_asr.data.dataset import Example, collate
from seq2seq_asr.errors import CheckpointError, ManifestError, UsageError
from seq2seq_asr.nn.classifier import build_model
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.flow import GateShare, LayerFlow
from seq2seq_asr.nn.gates import Saturation
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.recognizer.restoring import restore
from seq2seq_asr.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run of tones, to write into."""
    return Path(shutil.copytree(tones_run, tmp_path_factory.mktemp("probing") / "tones"))


@pytest.fixture(scope="module")
def results(run: Path) -> Results:
    assert probe_gradients(ProbeGradientsConfig(run=run, utterances=3, probes=2)) == 0
    return read_results(run / "gradients")


def read_results(folder: Path) -> Results:
    names: tuple[Weights, ...] = get_args(Weights)
    return {weights: json.loads((folder / f"gradients_{weights}.json").read_text()) for weights in names}


def test_the_files_hold_what_was_found(results: Results, run: Path) -> None:
    folder = run / "gradients"
    assert sorted(path.name for path in folder.iterdir()) == [
        "gradients.csv",
        "gradients.png",
        "gradients_init.json",
        "gradients_trained.json",
    ]
    for weights, result in results.items():
        assert result["weights"] == weights and result["format"] == 1 and result["run"] == "tones"
        assert (result["checkpoint"] is None) == (weights == "init") == (result["clipping"] is None)
        assert len(set(result["utterances"])) == 3 and result["probes"] == 2
    with (folder / "gradients.csv").open() as file:
        rows = list(csv.DictReader(file))
    layers = [layer for result in results.values() for layer in result["layers"]]
    assert len(rows) == sum(len(layer["distance"]) for layer in layers)
    assert {row["weights"] for row in rows} == {"init", "trained"}
    assert imread(folder / "gradients.png").std() > 0


def test_every_layer_is_there_with_its_time(results: Results) -> None:
    for result in results.values():
        found = [
            (layer["name"], layer["cell"], layer["units"], layer["seconds_per_step"]) for layer in result["layers"]
        ]
        assert found == [
            ("encoder 1", "gru", 32, pytest.approx(0.02)),
            ("encoder 2", "gru", 32, pytest.approx(0.04)),
            ("decoder 1", "gru", 48, None),
        ]
        for layer in result["layers"]:
            assert layer["norm"][0] == pytest.approx(1.0) and layer["norm"][1] < 1
            assert layer["samples"][0] == 3 * 2 * (2 if layer["seconds_per_step"] else 1)  # two directions
            lengths = {len(layer[name]) for name in ("distance", "norm", "low", "high", "samples")}
            assert lengths == {len(layer["distance"])}
            assert set(layer["gates"]) == set(layer["spectral_radius"]) == {"reset", "update", "candidate"}
    init, trained = (results[weights]["layers"] for weights in ("init", "trained"))
    before, after = (sum(layer["gates"]["candidate"]["saturated"] for layer in layers) for layers in (init, trained))
    assert after > before
    assert trained[0]["spectral_radius"]["candidate"] > init[0]["spectral_radius"]["candidate"]


def test_fresh_weights_are_those_of_the_seed_and_read_the_same_features(run: Path) -> None:
    trained, tokenizer = restore(run, "best")
    fresh = fresh_model(trained, len(tokenizer), 1)
    torch.manual_seed(1)
    expected = Seq2Seq(trained.config, len(tokenizer))
    for one, other in zip(fresh.encoder.parameters(), expected.encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    audio, lengths = torch.randn(1, 4000), torch.tensor([4000])
    torch.testing.assert_close(fresh.features(audio, lengths)[0], trained.features(audio, lengths)[0])


def test_the_same_seed_finds_the_same(
    results: Results, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe_gradients(ProbeGradientsConfig(run=run, utterances=3, probes=2, out=tmp_path / "a"))
    assert capsys.readouterr().out == f"{report(results)}\n{tmp_path / 'a'}\n"
    assert read_results(tmp_path / "a") == results and (tmp_path / "a" / "gradients.png").is_file()


def test_the_report_says_it_in_words(results: Results) -> None:
    text = report(results)
    assert text.startswith("tones: 3 utterances, 2 probes each\nencoder 1: gru, 32 units, a step is 20 ms\n")
    assert text.count("  fresh:   the gradient ") == text.count("  trained: the gradient ") == 3
    assert "decoder 1: gru, 48 units, a step is a token" in text


def test_a_classifier_has_no_decoder_to_probe(tmp_path: Path) -> None:
    config = ModelConfig(task="classify", encoder=EncoderConfig(cell="elman", units=6, bidirectional=False))
    draw = torch.Generator().manual_seed(0)
    batch = collate([Example("a", "low", 0.1 * torch.randn(8000, generator=draw), torch.tensor([1]), True)])
    model, settings = build_model(config, 4), ProbeGradientsConfig(probes=2)
    layers = probe_model(model, [batch], settings, lambda *_: None)
    assert [(layer["name"], layer["cell"], layer["samples"][0]) for layer in layers] == [
        (f"encoder {number}", "elman", 2) for number in (1, 2, 3)
    ]
    figure = gradients_figure({"init": {"run": "a", "layers": layers}, "trained": {"run": "a", "layers": layers}})
    assert len(figure.axes) == 2


def flow(norms: list[list[float]], low: float, frames: int, radius: float = 0.5) -> LayerFlow:
    gates = {"forget": GateShare("sigmoid", Saturation(low, 0.25))}
    return LayerFlow(
        "encoder 1", "lstm", 4, frames, torch.tensor(norms, dtype=torch.float64), gates, {"forget": radius}
    )


def test_a_layer_joins_utterances_of_unequal_length() -> None:
    nan = math.nan
    flows = [flow([[1, 0.4, 0.04], [1, 0.1, nan]], 0.5, 3), flow([[1, 0.2]], 0.0, 1, radius=0.75)]
    layer = layer_summary(flows, 0.01)
    assert layer["distance"] == [0, 1, 2] and layer["samples"] == [3, 3, 1]
    assert layer["norm"] == pytest.approx([1.0, 0.2, 0.04])  # the geometric means
    assert layer["low"][1] == pytest.approx(np.percentile([0.1, 0.2, 0.4], 10))
    assert layer["gates"]["forget"] == {"squashing": "sigmoid", "low": 0.375, "high": 0.25, "saturated": 0.625}
    assert layer["spectral_radius"] == {"forget": 0.75}
    assert layer["steps_to_10_percent"] == 2 and layer["steps_to_1_percent"] is None


def test_distances_that_few_utterances_reach_are_left_out() -> None:
    rows = [[1.0, 0.5, math.nan]] * 7 + [[1.0, 0.5, 0.1]]
    assert layer_summary([flow(rows, 0.0, 3)], None)["distance"] == [0, 1]


def test_a_gradient_that_is_gone_is_counted_as_smallest() -> None:
    layer = layer_summary([flow([[1.0, 0.0], [1.0, 0.0]], 0.0, 2)], None)
    assert layer["norm"][1] < 1e-200 and layer["steps_to_1_percent"] == 1


@pytest.mark.parametrize(
    ("norms", "seconds", "words"),
    [
        ([1.0, 0.2, 0.02, 0.002], 0.04, "falls to 1 % after 3 steps (0.12 s)"),
        ([1.0, 0.2, 0.05], 0.04, "falls to 10 % after 2 steps (0.08 s)"),
        ([1.0, 0.5, 0.34], None, "is still 34 % after 2 tokens"),
        ([1.0, 4.0, 20.0], 0.01, "grows to 20 times at 2 steps (0.02 s) and is still 2000 % after 2 steps (0.02 s)"),
    ],
)
def test_the_fall_in_words(norms: list[float], seconds: float | None, words: str) -> None:
    layer = {"distance": list(range(len(norms))), "norm": norms, "seconds_per_step": seconds}
    found = {f"steps_to_{p}_percent": first_below(np.array(norms), p / 100) for p in (1, 10)}
    assert fall(layer | found) == words


def test_a_damaged_row_of_the_log_is_left_out(tmp_path: Path) -> None:
    """As whoever else reads it does: bytes that are no text, a row that a crash has cut short."""
    rows = b"epoch,gradient_norm,clipped_share\n0,2.0,0.5\n1,\xff\xfe\n2,4.0,0.25\n3,9"
    (tmp_path / "metrics.csv").write_bytes(rows)
    found = clipping(RunFolder(tmp_path), 5.0)["epochs"]
    assert [(epoch["epoch"], epoch["clipped_share"]) for epoch in found] == [(0, 0.5), (2, 0.25)]


def test_clipping_is_told_where_it_was_logged() -> None:
    rows = [
        {"epoch": "0", "gradient_norm": "6.5", "clipped_share": "0.5"},
        {"epoch": "1", "gradient_norm": "1.5", "clipped_share": "0.1"},
    ]
    logged = clipping_summary(rows, 5.0)
    assert logged["epochs"][1] == {"epoch": 1, "gradient_norm": 1.5, "clipped_share": 0.1}
    assert clipping_line(logged) == (
        "clipping above 5: 50 % of the steps of the first epoch, 30.0 % of all; "
        "mean norm 6.5 in the first epoch, 1.5 in the last"
    )
    older = clipping_summary([{"epoch": "0", "gradient_norm": "nan"}], 5.0)
    assert clipping_line(older) == (
        "clipping above 5: not logged by this run; mean norm not known in the first epoch, not known in the last"
    )
    assert clipping_line(clipping_summary([], 5.0)) == "clipping: metrics.csv has no epoch"


@pytest.mark.parametrize("wrong", [{"utterances": 0}, {"probes": 0}, {"seed": -1}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        ProbeGradientsConfig(**wrong)


def test_what_is_not_there_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder"):
        probe_gradients(ProbeGradientsConfig(run=tmp_path / "none"))
    with pytest.raises(ManifestError, match="cannot be read"):
        probe_gradients(ProbeGradientsConfig(run=run, manifest=tmp_path / "none.jsonl"))
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        probe_gradients(ProbeGradientsConfig(run=run, utterances=1, probes=1, out=tmp_path / "file"))
