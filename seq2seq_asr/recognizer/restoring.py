"""A recogniser's model from a folder that may come from a stranger."""

from pathlib import Path
from typing import Any, Literal

import torch

from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.encoder import Encoder
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.strict_yaml import from_mapping
from seq2seq_asr.training.checkpoint import load_weights, model_weights, read_checkpoint
from seq2seq_asr.training.portable import TOKENIZER, WEIGHTS, is_portable, read_portable
from seq2seq_asr.training.run_folder import RunFolder, open_run

Choice = Literal["best", "last"]
"""Weights of a run: those with the lowest validation WER, or the newest."""


def restore(folder: Path, checkpoint: Choice) -> tuple[Seq2Seq, Tokenizer]:
    """The model and the tokenizer of a run folder, or of one that ``export`` made.

    Raises:
        CheckpointError: The folder or checkpoint is missing, damaged or not ours.
        TokenizerError: The tokenizer is damaged or not ours.
    """
    path, contents = read_weights(folder, checkpoint)
    tokenizer = Tokenizer.load(path.parent / TOKENIZER)
    if tokenizer.hash != contents["seq2seq_asr"].get("tokenizer"):
        raise CheckpointError(f"{path.parent / TOKENIZER}: not the tokenizer {path.name} was trained with")
    config = model_config(contents, path)
    check_shapes(config, len(tokenizer), contents, path)
    model = Seq2Seq(config, len(tokenizer))
    load_weights(model, contents, path)
    return model, tokenizer


def available(run: RunFolder, wanted: Choice) -> Choice:
    """The checkpoint to take: the last one where there is no best."""
    return "best" if wanted == "best" and run.best.is_file() else "last"


def read_weights(folder: Path, checkpoint: Choice) -> tuple[Path, dict[str, Any]]:
    """The file that holds a folder's weights, and what is in it.

    Raises:
        CheckpointError: It is missing, damaged or not ours.
    """
    if is_portable(folder):
        return folder / WEIGHTS, read_portable(folder)
    run = open_run(folder)
    path = run.best if available(run, checkpoint) == "best" else run.last
    return path, read_checkpoint(path)


def check_shapes(config: ModelConfig, vocabulary: int, contents: dict[str, Any], path: Path) -> None:
    """Compare the weights with an outline of the model: no setting of a stranger's file takes more memory than they do.

    Raises:
        CheckpointError: They differ in name or shape.
    """
    found = {name: value.shape for name, value in model_weights(contents).items()}
    if max(len(config.encoder.reductions), config.decoder.layers) > len(found):
        raise CheckpointError(f"{path}: weights do not fit its own settings, which have more layers")
    with torch.device("meta"):  # nothing is allocated
        encoder = Encoder(config.encoder, config.features.bins * (1 + config.features.deltas))
        decoder = Decoder(config.decoder, config.attention, encoder.size, vocabulary)
    outline = {"encoder": encoder, "decoder": decoder}
    wanted = {f"{part}.{name}": v.shape for part, module in outline.items() for name, v in module.state_dict().items()}
    wrong = sorted(name for name in wanted if wanted[name] != found.get(name))
    if wrong:
        raise CheckpointError(f"{path}: weights do not fit its own settings, such as {', '.join(wrong[:3])}")


def model_config(contents: dict[str, Any], path: Path) -> ModelConfig:
    """The model's configuration as a checkpoint records it: it must fit the weights, whatever config.yaml says now.

    Raises:
        CheckpointError: It is missing, or from a version that knew other settings.
    """
    config = contents["seq2seq_asr"].get("config")
    try:
        return from_mapping(ModelConfig, config["model"])
    except (UsageError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its model cannot be built ({type(error).__name__}: {error})") from error
