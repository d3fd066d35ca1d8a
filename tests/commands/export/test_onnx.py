"""The ONNX graphs say what the model says, called as ``recognizer.json`` tells and by onnxruntime alone."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from seq2seq_asr import Recognizer
from seq2seq_asr.commands.export.graphs import FRAMES, MEMORY, STATE, StepGraph, step_axes
from seq2seq_asr.commands.export.onnx import description, example, write_graph, write_onnx
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.export import main
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.search.guards import listen
from seq2seq_asr.strict_yaml import from_mapping

pytestmark = pytest.mark.timeout(400)  # a recording takes seconds of a core


class Runtime:
    """A program of somebody else: onnxruntime, numpy and the JSON file, nothing of ours."""

    def __init__(self, folder: Path) -> None:
        self.calls = json.loads((folder / "recognizer.json").read_text("utf-8"))
        self.encoder, self.step = (
            onnxruntime.InferenceSession(folder / self.calls[name]["file"], providers=["CPUExecutionProvider"])
            for name in ("encoder", "decoder_step")
        )

    def run(self, session: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in session.get_outputs()]
        results = session.run(names, {one.name: given[one.name] for one in session.get_inputs()})
        return dict(zip(names, results, strict=True))

    def encode(self, inputs: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        return self.run(self.encoder, {"inputs": inputs.astype(np.float32), "lengths": lengths.astype(np.int64)})

    def greedy(self, inputs: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
        search, held = self.calls["search"], self.encode(inputs, lengths)
        longest = np.maximum(1, search["max_tokens_per_encoded_frame"] * held["encoded_lengths"]).astype(int)
        held["token"] = np.full(len(inputs), search["start"])
        said: list[list[int]] = [[] for _ in inputs]
        open_ = np.ones(len(inputs), bool)
        for step in range(longest.max() + 1):
            found = self.run(self.step, held)
            held["token"] = found["log_probs"].argmax(1)
            held |= {name: found[after] for after, name in search["state"].items()}
            open_ &= (held["token"] != search["end"]) & (step < longest)
            for row in np.flatnonzero(open_):
                said[row].append(int(held["token"][row]))
        return said


@pytest.fixture(scope="module")
def made(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, in a process of its own: torch's exporter records no checks of shapes."""
    out = tmp_path_factory.mktemp("onnx") / "deep" / "out"
    done = export_apart(out.parents[1], [], "--run", str(tones_run), "--format", "onnx", "--out", str(out))
    assert (done.stdout, done.stderr) == (f"{out}\n", "")
    return out


def export_apart(folder: Path, variants: list[dict[str, Any]], *argv: str) -> subprocess.CompletedProcess[str]:
    """Run the command, if flags are given, and write the variants into folders named by their number."""
    program = f"import pathlib, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_onnx; "
    program += "sys.argv[3:] and test_onnx.main(sys.argv[3:]); "
    program += "test_onnx.export_variants(pathlib.Path(sys.argv[1]), sys.argv[2])"
    return python("-c", program, str(folder), json.dumps(variants), *argv)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).parents[3]
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, cwd=here)


def batch(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The test set of tones, padded with noise, and the lengths."""
    samples = [soundfile.read(folder / f"test-{index}.wav")[0] for index in range(12)]
    lengths = np.array([len(one) for one in samples])
    padded = np.random.default_rng(0).normal(0, 0.3, (len(samples), lengths.max() + 900))
    for row, one in enumerate(samples):
        padded[row, : len(one)] = one
    return padded.astype(np.float32), lengths


@pytest.mark.nightly
def test_a_greedy_decoding_by_onnxruntime_finds_our_tokens(tones_run: Path, made: Path) -> None:
    inputs, lengths = batch(tones_run.parent)
    recognizer, runtime = Recognizer.load(tones_run, device="cpu"), Runtime(made)
    with torch.inference_mode():
        encoded = recognizer.model.encode(torch.from_numpy(inputs), torch.from_numpy(lengths))
        scorer = AttentionScorer(recognizer.model.decoder, recognizer.model.memory(encoded))
        ours = [list(one.tokens) for one in greedy_search(scorer, encoded.lengths)]
    theirs = runtime.greedy(inputs, lengths)
    assert theirs == ours and len(set(map(tuple, ours))) > 6
    for row, length in enumerate(lengths):
        assert runtime.greedy(inputs[row : row + 1, :length], lengths[row : row + 1]) == ours[row : row + 1]
    texts = ["".join(runtime.calls["pieces"][token] for token in tokens).replace("▁", " ").strip() for tokens in ours]
    assert texts == [recognizer.tokenizer.decode(tokens) for tokens in ours]
    references = [json.loads(line)["text"] for line in (tones_run.parent / "test.jsonl").read_text().splitlines()]
    assert sum(map(str.__eq__, texts, references)) >= 4, "the run has learnt something"


def test_the_json_file_names_the_blank_that_ctc_is_read_without(tones_run: Path) -> None:
    inputs, lengths = batch(tones_run.parent)
    recognizer = Recognizer.load(tones_run, device="cpu")
    with torch.inference_mode():
        encoded = recognizer.model.encode(torch.from_numpy(inputs), torch.from_numpy(lengths))
        log_probs = recognizer.model.ctc_log_probs(encoded)
    search = description(recognizer.model, recognizer.tokenizer)["search"]
    log_probs = log_probs.clone()
    log_probs[:, :, [search["start"], search["end"]]] = -torch.inf
    paths = [path[:length] for path, length in zip(log_probs.argmax(2).tolist(), encoded.lengths.tolist(), strict=True)]
    said = [tuple(token for token, _ in groupby(path) if token != search["ctc_blank"]) for path in paths]
    assert said == [one.tokens for one in listen(log_probs, encoded.lengths)] and any(said)


@pytest.mark.nightly
def test_the_json_file_names_what_the_graphs_take_and_give(made: Path) -> None:
    names = ["decoder_step.onnx", "encoder.onnx", "recognizer.json", "tokenizer.model"]
    assert sorted(path.name for path in made.iterdir()) == names
    runtime = Runtime(made)
    for name, session in (("encoder", runtime.encoder), ("decoder_step", runtime.step)):
        calls = runtime.calls[name]
        assert calls["sha256"] == hashlib.sha256((made / calls["file"]).read_bytes()).hexdigest()
        for told, found in ((calls["inputs"], session.get_inputs()), (calls["outputs"], session.get_outputs())):
            assert [(one["name"], one["shape"]) for one in told] == [(one.name, one.shape) for one in found]
    given, taken = runtime.calls["encoder"]["outputs"], runtime.calls["decoder_step"]["inputs"]
    assert given[: len(taken) - 1] == [one for name in (*MEMORY, *STATE) for one in taken if one["name"] == name]
    assert runtime.calls["encoder"]["inputs"][0] == {"name": "inputs", "type": "float32", "shape": ["batch", "samples"]}
    assert runtime.calls["audio"]["rate"] == 8000 and runtime.calls["audio"]["smallest"] == 200


ARRAYS = {"kind": "precomputed", "bins": 5}
VARIANTS: list[dict[str, Any]] = [
    {
        "features": {**ARRAYS, "deltas": 1, "normalisation": "global"},
        "encoder": {"cell": "lstm", "reductions": [3, 1], "convolutions": [4]},
        "attention": {"heads": 2, "cumulative": True},
        "decoder": {"cell": "lstm", "layers": 2},
    },
    {
        "features": {**ARRAYS, "normalisation": "none"},
        "encoder": {"cell": "peephole_lstm", "layer_norm": False},
        "attention": {"kind": "none"},
        "decoder": {"cell": "peephole_lstm", "peephole": {"full": True}},
    },
    {
        "encoder": {"bidirectional": False, "projection": 5, "residual": True, "reduce": "mean"},
        "attention": {"kind": "dot"},
        "decoder": {"context": "parallel", "layers": 2},
    },
    {
        "encoder": {"cell": "elman_relu", "reductions": [1]},
        "attention": {"kind": "gaussian"},
        "decoder": {"cell": "light_gru"},
        "ctc_weight": 0.0,
    },
    *(
        {"encoder": {"cell": cell}, "attention": attention, "decoder": {"cell": decoder}}
        for cell, attention, decoder in (
            ("gru", {"window": 2, "smoothing": True}, "elman"),
            ("elman", {"kind": "coverage"}, "elman_relu"),
            ("lstm", {"kind": "forward"}, "gru"),
            ("gru", {"kind": "dot", "heads": 4}, "peephole_lstm"),
            ("lstm", {"kind": "general"}, "gru"),
            ("lstm", {"kind": "scaled_dot"}, "lstm"),
            ("gru", {"kind": "additive"}, "gru"),
            ("lstm", {"kind": "none", "fixed_feeds": "start"}, "gru"),
            ("gru", {"kind": "mocha", "chunk": 3}, "lstm"),
            ("lstm", {"kind": "mocha", "heads": 2}, "gru"),
        )
    ),
]
SIZES: dict[str, dict[str, Any]] = {
    "features": {"rate": 8000, "bins": 5},
    "encoder": {"units": 6, "reductions": [2, 2]},
    "attention": {"size": 8, "filters": 2, "width": 5, "mixtures": 2},
    "decoder": {"units": 7, "embedding": 3},
}


def model_of(variant: dict[str, Any], place: int) -> Seq2Seq:
    """Random weights, the same for the same place."""
    settings = {name: {**SIZES.get(name, {}), **part} for name, part in variant.items() if isinstance(part, dict)}
    config = from_mapping(ModelConfig, {**SIZES, **variant, **settings})
    torch.manual_seed(place)
    model = Seq2Seq(config, 12).eval()
    for parameter in model.parameters():  # biases and peepholes too, and larger than they start
        parameter.data.uniform_(-0.7, 0.7)
    if config.features.normalisation == "global":
        model.features.normalise.set_statistics(torch.randn(model.features.size), torch.rand(model.features.size) + 0.5)
    return model


@pytest.fixture
def symbolic() -> Iterator[None]:
    """Without checks of shapes, which no symbol passes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def export_variants(folder: Path, variants: str) -> None:
    tokenizer = Tokenizer.train(["abcabc", "cab"], TokenizerConfig(kind="char", vocabulary_size=16))
    for place, variant in enumerate(json.loads(variants)):
        write_onnx(folder / str(place), model_of(variant, place), tokenizer)


def check_variants(folder: Path, variants: list[dict[str, Any]]) -> None:
    """Encoder and three steps, in a batch of other sizes than that of the recording, with noise for padding."""
    for place, variant in enumerate(variants):
        model, runtime = model_of(variant, place), Runtime(folder / str(place))
        arrays = model.features.fbank is None
        sizes = [41, 17, 29, 6] if arrays else [4000, 1000, 2900, 600]
        inputs, lengths = torch.randn(4, sizes[0] + 11, *[5] * arrays), torch.tensor(sizes)
        found = runtime.encode(inputs.numpy(), lengths.numpy())
        with torch.inference_mode():
            encoded = model.encode(inputs, lengths)
            memory = model.memory(encoded)
            state = model.decoder.start(memory)
            wanted = dict(zip(MEMORY, memory, strict=True)) | {name: getattr(state, name) for name in STATE}
            if model.ctc is not None:
                wanted["ctc_log_probs"] = model.ctc_log_probs(encoded)
            agree(found, wanted, str(variant))
            for token in (2, 5, 11):
                tokens = torch.full((4,), token)
                found = runtime.run(runtime.step, found | {"token": tokens.numpy()})
                logits, state = model.decoder.step(tokens, state, memory)
                log_probs = logits.log_softmax(-1).index_fill(1, torch.tensor([0, 2]), -torch.inf)
                after = {f"next_{name}": getattr(state, name) for name in STATE}
                agree(found, {"log_probs": log_probs, "alignment": state.alignment} | after, str(variant))
                held = {name: wanted[name].numpy() for name in MEMORY}
                found = held | {name: found[f"next_{name}"] for name in STATE}


def agree(found: dict[str, np.ndarray], wanted: dict[str, torch.Tensor], what: str) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=2e-4, atol=2e-4, err_msg=f"{name} of {what}")


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_cells_attentions_and_front_ends_agree(tmp_path: Path) -> None:
    export_apart(tmp_path, VARIANTS)
    check_variants(tmp_path, VARIANTS)


@pytest.mark.parametrize(
    ("cell", "peephole"),
    [("light_gru", {}), ("peephole_lstm", {"full": True}), ("peephole_lstm", {"output_sees": "old"})],
)
def test_a_cell_that_onnx_does_not_know_is_refused_in_one_line(
    cell: str, peephole: dict[str, Any], tmp_path: Path
) -> None:
    model = model_of({"encoder": {"cell": cell, "peephole": peephole}}, 0)
    tokenizer = Tokenizer.train(["ab"], TokenizerConfig(kind="char", vocabulary_size=16))
    with pytest.raises(UsageError, match="^format onnx: ONNX has no operator for .*safetensors") as caught:
        write_onnx(tmp_path / "out", model, tokenizer)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


class FixedFrames(torch.nn.Module):
    """Its output has as many frames as the example, whatever it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(x.argmax(1), x.shape[1])


def test_what_the_exporter_does_not_take_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not take this model .*static shape of 5 for dimension") as caught:
        write_graph(FixedFrames().eval(), {"x": torch.randn(3, 5)}, {"x": {0: "B", 1: "S"}}, ["y"], tmp_path / "x.onnx")
    assert "\n" not in str(caught.value) and "Refer to" not in str(caught.value) and not list(tmp_path.iterdir())


def twice_as_long(value: torch.Tensor, axes: dict[int, str]) -> torch.Tensor:
    """An input of a step of which all frames come again."""
    frames = [axis for axis, name in axes.items() if name == FRAMES]
    return torch.cat([value, value], frames[0]) if frames else value


def test_no_number_of_frames_is_fixed_in_a_step_of_mocha(symbolic: None) -> None:
    model = model_of({"attention": {"kind": "mocha"}}, 0)
    memory, axes = example(model)[1], step_axes(model)
    vary = tuple(dict.fromkeys(axes[name], torch.export.Dim.DYNAMIC) for name in memory)
    step = StepGraph(model).eval()
    recorded = torch.export.export(step, tuple(memory.values()), dynamic_shapes=vary).module()
    longer = [twice_as_long(value, axes[name]) for name, value in memory.items()]
    assert sum(one.shape != other.shape for one, other in zip(longer, memory.values(), strict=True)) == 3
    for found, wanted in zip(recorded(*longer), step(*longer), strict=True):
        torch.testing.assert_close(found, wanted)


def test_pitch_is_refused_in_one_line(tmp_path: Path) -> None:
    model = model_of({"features": {"pitch": True}}, 0)
    tokenizer = Tokenizer.train(["ab"], TokenizerConfig(kind="char", vocabulary_size=16))
    with pytest.raises(UsageError, match="^format onnx: no graph for features.pitch.*safetensors") as caught:
        write_onnx(tmp_path / "out", model, tokenizer)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_without_the_packages_the_command_says_which(
    tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    assert exit_code_of(main, ["--run", str(tones_run), "--format", "onnx", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: format onnx: needs onnxscript: pip install -e '.[onnx]'\n"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    assert exit_code_of(main, ["--run", str(tones_run), "--format", "onnx", "--out", str(tmp_path)]) == 1
    assert "exists already and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
