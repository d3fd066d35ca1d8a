"""A recogniser for other runtimes: two ONNX graphs, and a JSON file that says how to call them."""

import contextlib
import hashlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq_asr.commands.export.graphs import (
    BATCH,
    FRAMES,
    STATE,
    STEP_INPUTS,
    STEP_OUTPUTS,
    EncoderGraph,
    StepGraph,
    step_axes,
)
from seq2seq_asr.commands.export.recurrence import OPSET
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import to_mapping
from seq2seq_asr.training.checkpoint import FORMAT
from seq2seq_asr.training.portable import new_folder
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

ENCODER, STEP, CALLS = "encoder.onnx", "decoder_step.onnx", "recognizer.json"
PACKAGES = ("onnx", "onnxscript")
_UTTERANCES, _ENCODED_FRAMES = 3, 5
"""Of the example that a graph is recorded from; a size of one would be taken for a constant."""


def write_onnx(folder: Path, model: Seq2Seq, tokenizer: Tokenizer) -> None:
    """Write a new folder, whole or not at all: both graphs, ``recognizer.json`` and the tokenizer.

    Args:
        folder: Must not exist, or be empty.
        model: In evaluation mode, on the CPU.
        tokenizer: The tokenizer it was trained with.

    Raises:
        UsageError: A package is missing, or ONNX has nothing for the encoder's cell or for pitch.
        CheckpointError: There is something in the folder, or it cannot be written.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"format onnx: needs {' and '.join(missing)}: pip install -e '.[onnx]'")
    if model.features.pitch is not None:
        raise UsageError("format onnx: no graph for features.pitch, a path through time; --format safetensors takes it")
    encoder, step = EncoderGraph(model).eval(), StepGraph(model).eval()
    audio, memory = example(model)
    time = "frames" if model.features.fbank is None else "samples"
    with new_folder(folder) as made:
        axes = {"inputs": {0: BATCH, 1: time}, "lengths": {0: BATCH}}
        calls = {
            "encoder": write_graph(encoder, audio, axes, encoder.outputs, made / ENCODER),
            "decoder_step": write_graph(step, memory, step_axes(model), STEP_OUTPUTS, made / STEP),
        }
        tokenizer.save(made / tokenizer.file)
        text = json.dumps(description(model, tokenizer) | calls, ensure_ascii=False, indent=1)
        (made / CALLS).write_text(text + "\n", encoding="utf-8")


@torch.no_grad()
def example(model: Seq2Seq) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs of the encoder and of a step, by name."""
    frames = _ENCODED_FRAMES * model.config.encoder.reduction
    size: tuple[int, ...] = (frames, model.config.features.bins)
    if (fbank := model.features.fbank) is not None:
        size = (fbank.frame_length + (frames - 1) * fbank.frame_shift,)
    audio = {"inputs": torch.randn(_UTTERANCES, *size), "lengths": torch.full((_UTTERANCES,), size[0])}
    memory = model.memory(model.encode(**audio))
    start = model.decoder.start(memory)
    parts = (start.hidden, start.context, start.trace, *memory)
    return audio, dict(zip(STEP_INPUTS, (torch.full((_UTTERANCES,), SOS), *parts), strict=True))


def write_graph(
    graph: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str],
    path: Path,
) -> dict[str, Any]:
    """Record a graph and write it.

    Args:
        graph: What to record.
        inputs: Example of each argument.
        axes: Names of the axes that vary; all others are fixed.
        outputs: Names of the results.
        path: Where to.

    Returns:
        Name, type and shape of every input and output, and the file with its SHA-256.

    Raises:
        UsageError: torch cannot record it.
    """
    with quiet_exporter():
        try:
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple(dict(axes[name]) for name in inputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UsageError(f"format onnx: torch's exporter does not take this model ({_reason(error)})") from error
        assert program is not None
        recorded = program.model.graph
        for value in recorded.outputs:
            _name_axes(value)
        program.save(path, external_data=False)
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "inputs": [_value(one) for one in recorded.inputs],
        "outputs": [_value(one) for one in recorded.outputs],
    }


def _reason(error: Exception) -> str:
    """The start of the exporter's summary in one line, without the advice around it."""
    told = str(error).rpartition("## Exception summary")[2].partition("(Refer to")[0]
    return " ".join(told.split())[:300]


def _name_axes(value: Any) -> None:
    """The exporter writes how many encoded frames so many samples make: a long expression, where a name will do."""
    for axis, size in enumerate(value.shape):
        if not (isinstance(size, int) or str(size).isidentifier()):
            value.shape[axis] = FRAMES


def _value(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in value.shape]
    return {"name": value.name, "type": value.dtype.numpy().name, "shape": shape}


def description(model: Seq2Seq, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a caller needs besides the graphs."""
    features = model.features
    return {
        "seq2seq_asr": FORMAT,
        "opset": OPSET,
        "audio": {
            "inputs": "precomputed features" if features.fbank is None else "waveforms in [-1, 1], mono",
            "rate": None if features.fbank is None else features.config.rate,
            "smallest": features.smallest_input,
            "seconds_per_encoded_frame": model.frame_shift,
        },
        "search": {
            "start": SOS,
            "end": EOS,
            "ctc_blank": None if model.ctc is None else BLANK,
            "max_tokens_per_encoded_frame": BeamConfig().max_length_ratio,
            "state": {f"next_{name}": name for name in STATE},
        },
        "pieces": tokenizer.pieces(range(len(tokenizer))),
        "model": to_mapping(model.config),
    }


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without the exporter's hints: on other packages, on names that axes share, and on its own deprecated calls."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*The axis name: .* will not be used", category=UserWarning)
            yield
    finally:
        logger.setLevel(level)
