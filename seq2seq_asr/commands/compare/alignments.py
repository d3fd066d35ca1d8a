"""Where each system looks while it transcribes one and the same utterance."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib.image
import numpy as np

from seq2seq_asr.commands.compare.ranking import RankedSystem
from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.dataset import SpeechDataset, collate
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.nn.device import full_precision
from seq2seq_asr.recognizer.restoring import restore
from seq2seq_asr.training.examples import transcribe_with_attention
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.run_folder import CheckpointChoice

TYPICAL: Final = 0.6
"""The utterance shown is longer than this share of the test set: long enough to need an alignment."""


@dataclass(frozen=True, kw_only=True)
class AttentionExample:
    """What one run made of the utterance."""

    system: str
    seed: int
    text: str
    pieces: Sequence[str]
    image: str
    """Attention weights as a PNG data URL, a pixel a token and frame; empty for a vector of fixed length."""
    seconds: float
    """Duration that the image spans."""


def typical(utterances: Sequence[Utterance]) -> Utterance:
    """An utterance of more than middling length."""
    ordered = sorted(utterances, key=lambda one: (one.duration, one.id))
    return ordered[int(TYPICAL * (len(ordered) - 1))]


def attention_example(one: RankedSystem, utterance: Utterance, checkpoint: CheckpointChoice) -> AttentionExample | None:
    """What a system's first run sees of the utterance; None where it is no recogniser with attention.

    Raises:
        AsrError: The checkpoint or the audio cannot be read.
    """
    run = one.runs[0].run
    model, tokenizer = restore(run.path, checkpoint)
    batch = collate([SpeechDataset([utterance], tokenizer, input_reader(model.features))[Item(0, 0)]])
    with full_precision():
        (example,) = transcribe_with_attention(model.eval(), tokenizer, batch)
    fixed = run.config.model.attention.kind == "none"
    return AttentionExample(
        system=one.system.name,
        seed=run.seed,
        text=example.hypothesis,
        pieces=example.pieces,
        image="" if fixed else heat_map(example.alignment),
        seconds=example.alignment.shape[1] * model.frame_shift,
    )


def heat_map(weights: np.ndarray) -> str:
    """Weights as a PNG data URL; each token's largest weight is brightest."""
    peaks = weights.max(axis=1, keepdims=True)
    shown = np.repeat(weights / np.maximum(peaks, 1e-9), 6, axis=0).repeat(4, axis=1)
    file = io.BytesIO()
    matplotlib.image.imsave(file, shown, cmap="magma", vmin=0.0, vmax=1.0, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
