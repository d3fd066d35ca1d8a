"""A few validation utterances a person can look at: attention plots, transcripts, audio."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import say
from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.dataset import Batch, SpeechDataset, collate
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.evaluation.wer import word_errors
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.training.plots import attention_figure, save_figure
from seq2seq_asr.training.wandb_log import WandbLog
from seq2seq_asr.vocabulary import SOS

LONGEST_NAME = 150
"""Bytes of an id in a file's name, of the 255 that most file systems allow."""


class Example(NamedTuple):
    """What the model makes of one utterance on its own."""

    id: str
    reference: str
    hypothesis: str
    pieces: list[str]
    alignment: np.ndarray
    """Attention weights, tokens × encoded frames; the end token is one of them, where the transcript did end."""


class LogExamples(Callback):
    """After each validation: attention plots in the run folder and, with transcripts and audio, in W&B.

    A vector of fixed length has no attention to plot.

    Args:
        folder: Where the plots go; those of the validation before are replaced.
        count: Utterances to show.
        wandb: W&B, if it is wanted.
    """

    def __init__(self, folder: Path, count: int, wandb: WandbLog | None) -> None:
        self.folder, self.count, self.wandb = folder, count, wandb
        self.batch: Batch | None = None

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Transcribe the examples freely and show where the attention went."""
        if not trainer.is_global_zero or self.count < 1:
            return
        if self.batch is None:
            self.batch = first_examples(trainer.datamodule, self.count)  # type: ignore[attr-defined]
            if self.wandb is not None and self.batch.inputs.ndim == 2:
                rate, batch = trainer.datamodule.reader.rate, self.batch  # type: ignore[attr-defined]
                self.wandb.send(trainer.global_step, lambda: audio_media(batch, rate))
        examples = transcribe_with_attention(pl_module.model, pl_module.tokenizer, self.batch)
        plotted = examples if pl_module.model.decoder.aligns else []
        try:
            paths = [plot_example(example, self.folder, pl_module.model.frame_shift) for example in plotted]
        except OSError as error:
            say(f"warning: attention is not drawn ({error})")
            return
        if self.wandb is not None:
            self.wandb.send(trainer.global_step, lambda: example_media(examples, paths))


def first_examples(feeding: Any, count: int) -> Batch:
    """The first validation utterances as one batch."""
    dataset = SpeechDataset(feeding.dev[:count], feeding.tokenizer, feeding.reader)
    return collate([dataset[Item(index, 0)] for index in range(len(dataset))])


@torch.no_grad()
def transcribe_with_attention(model: Seq2Seq, tokenizer: Tokenizer, batch: Batch) -> list[Example]:
    """Greedy transcripts, and the attention weights of every piece said."""
    device = next(model.parameters()).device
    encoded = model.encode(batch.inputs.to(device), batch.lengths.to(device))
    memory = model.memory(encoded)
    hypotheses = greedy_search(AttentionScorer(model.decoder, memory), encoded.lengths)
    examples = []
    for row, hypothesis in enumerate(hypotheses):
        tokens = torch.tensor([[SOS, *hypothesis.tokens]], device=device)
        _, alignments = model.decoder(tokens, memory.select(torch.tensor([row], device=device)))
        pieces = [*tokenizer.pieces(hypothesis.tokens), *["</s>"] * hypothesis.ended]
        frames = int(encoded.lengths[row])
        examples.append(
            Example(
                id=batch.ids[row],
                reference=batch.texts[row],
                hypothesis=tokenizer.decode(hypothesis.tokens),
                pieces=pieces,
                alignment=alignments[0, : len(pieces), :frames].float().cpu().numpy(),
            )
        )
    return examples


def plot_example(example: Example, folder: Path, seconds_per_frame: float) -> Path:
    """Save one attention plot as ``attention_<id>.png``.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"attention_{file_name(example.id)}.png"
    figure = attention_figure(example.alignment, example.pieces, seconds_per_frame, title=heading(example))
    save_figure(figure, path)
    return path


def heading(example: Example) -> str:
    """What was said and, where that is something else, what was recognised."""
    if example.hypothesis == example.reference:
        return example.reference
    return f"reference: {example.reference}\nhypothesis: {example.hypothesis}"


def file_name(id: str) -> str:
    """An id that every file system takes as part of a name: with a hash where it had to change, so that ids differ."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in id)
    plain = plain.encode()[:LONGEST_NAME].decode(errors="ignore")
    return plain if plain == id else f"{plain}-{hashlib.sha256(id.encode()).hexdigest()[:8]}"


def audio_media(batch: Batch, rate: int) -> dict[str, Any]:
    """The examples' audio for W&B."""
    import wandb

    rows = zip(batch.ids, batch.texts, batch.inputs, batch.lengths, strict=True)
    return {
        "examples/audio": [
            wandb.Audio(samples[:length].numpy(), sample_rate=rate, caption=f"{id}: {text}")
            for id, text, samples, length in rows
        ]
    }


def example_media(examples: list[Example], paths: list[Path]) -> dict[str, Any]:
    """Transcripts and attention plots for W&B; ``paths`` is empty where nothing is plotted."""
    import wandb

    rows = [
        [example.id, example.reference, example.hypothesis, word_errors(example.reference, example.hypothesis).rate]
        for example in examples
    ]
    images = {
        f"attention/{example.id}": wandb.Image(str(path), caption=example.hypothesis)
        for example, path in zip(examples, paths, strict=bool(paths))
    }
    return {"examples/transcripts": wandb.Table(columns=["id", "reference", "hypothesis", "WER"], data=rows), **images}
