"""A recogniser's model from a folder that may come from a stranger."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.nn.classifier import Classifier, Model, build_model
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.encoder import Encoder
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.nn.outline import outlined
from seq2seq_asr.nn.pooling import build_pooling
from seq2seq_asr.strict_yaml import from_mapping
from seq2seq_asr.training.checkpoint import load_weights, model_weights, read_checkpoint
from seq2seq_asr.training.portable import WEIGHTS, is_portable, read_portable
from seq2seq_asr.training.run_folder import CheckpointChoice, RunFolder, open_run


def restore(folder: Path, checkpoint: CheckpointChoice) -> tuple[Seq2Seq, Tokenizer]:
    """The model and the tokenizer of a run folder, or of one that ``export`` made.

    Raises:
        CheckpointError: The folder or checkpoint is missing, damaged or not ours.
        TokenizerError: The tokenizer is damaged or not ours.
    """
    if is_classifier(folder):
        raise CheckpointError(f"{folder}: a classifier, not a recogniser: load it with SpeechClassifier")
    path, contents = read_weights(folder, checkpoint)
    tokenizer = Tokenizer.load(path.parent / Tokenizer.file)
    model = _rebuilt(path, contents, tokenizer)
    assert isinstance(model, Seq2Seq)
    return model, tokenizer


def restore_others(
    folders: Sequence[Path], checkpoint: CheckpointChoice, model: Seq2Seq, tokenizer: Tokenizer
) -> list[Seq2Seq]:
    """The models of runs that are to decode together with one.

    Raises:
        AsrError: As `restore`.
        UsageError: One spells with another tokenizer, or reads other inputs.
    """
    found = []
    for folder in folders:
        other, theirs = restore(folder, checkpoint)
        if theirs.hash != tokenizer.hash:
            raise UsageError(f"{folder}: spells with another tokenizer than the first run: they cannot decode together")
        if inputs_of(other) != inputs_of(model):
            raise UsageError(f"{folder}: reads other inputs than the first run (model.features.kind, rate or bins)")
        if other.features.smallest_input > model.features.smallest_input:
            raise UsageError(f"{folder}: reads no utterances as short as the first run does: let it be the first")
        found.append(other)
    return found


def inputs_of(model: Seq2Seq) -> tuple[str, int, int | None]:
    """What must be equal for two models to read the same: kind, sampling rate, and values of precomputed features."""
    config = model.features.config
    return config.kind, config.rate, config.bins if config.kind == "precomputed" else None


def restore_classifier(folder: Path, checkpoint: CheckpointChoice) -> tuple[Classifier, Labels]:
    """The model and the labels of a run folder, or of one that ``export`` made.

    Raises:
        CheckpointError: The folder or checkpoint is missing, damaged or not ours, or it holds a recogniser.
        TokenizerError: The labels are damaged or not ours.
    """
    path, contents = read_weights(folder, checkpoint)
    if not is_classifier(folder):
        raise CheckpointError(f"{folder}: a recogniser, not a classifier: load it with Recognizer")
    labels = Labels.load(path.parent / Labels.file)
    model = _rebuilt(path, contents, labels)
    assert isinstance(model, Classifier)
    return model, labels


def is_classifier(folder: Path) -> bool:
    """Whether a run's or an exported folder holds a classifier."""
    return RunFolder(folder).labels.is_file()


def load_tokenizer(run: RunFolder) -> Tokenizer:
    """The tokenizer of a recogniser's run.

    Raises:
        UsageError: The run is a classifier's.
        TokenizerError: The tokenizer is damaged or not ours.
    """
    if is_classifier(run.path):
        raise UsageError(f"{run.path}: is a classifier, which spells nothing: give the run of a recogniser")
    return Tokenizer.load(run.tokenizer)


def _rebuilt(path: Path, contents: dict[str, Any], targets: Targets) -> Model:
    named, what = path.parent / targets.file, "labels" if isinstance(targets, Labels) else "tokenizer"
    if targets.hash != contents["seq2seq_asr"].get("tokenizer"):
        raise CheckpointError(f"{named}: not the {what} {path.name} was trained with")
    config = model_config(contents, path)
    if config.kernels == "require":  # of the training, not of whoever decodes, perhaps without a GPU
        config = replace(config, kernels="auto")
    if (config.task == "classify") != isinstance(targets, Labels):
        raise CheckpointError(f"{path}: weights do not fit {named.name}: their model.task is {config.task}")
    check_shapes(config, len(targets), contents, path)
    model = build_model(config, len(targets))
    load_weights(model, contents, path)
    return model


def available(run: RunFolder, wanted: CheckpointChoice) -> CheckpointChoice:
    """The checkpoint to take: the last one where there is no best."""
    return "best" if wanted == "best" and run.best.is_file() else "last"


def read_weights(folder: Path, checkpoint: CheckpointChoice) -> tuple[Path, dict[str, Any]]:
    """The file that holds a folder's weights, and what is in it.

    Raises:
        CheckpointError: It is missing, damaged or not ours.
    """
    path = weights_file(folder, checkpoint)
    if is_portable(folder):
        return path, read_portable(folder)
    try:
        return path, read_checkpoint(path)
    except CheckpointError as error:
        last = RunFolder(folder).last
        if path == last or not last.is_file():
            raise
        raise CheckpointError(f"{error}; --checkpoint last takes {last}") from error


def weights_file(folder: Path, checkpoint: CheckpointChoice) -> Path:
    """The file that holds a folder's weights.

    Raises:
        CheckpointError: It is no run folder, or has no checkpoint.
    """
    if is_portable(folder):
        return folder / WEIGHTS
    run = open_run(folder)
    return run.best if available(run, checkpoint) == "best" else run.last


def check_shapes(config: ModelConfig, vocabulary: int, contents: dict[str, Any], path: Path) -> None:
    """Compare the weights with an outline of the model: no setting of a stranger's file takes more memory than they do.

    Raises:
        CheckpointError: They differ in name or shape.
    """
    found = {name: value.shape for name, value in model_weights(contents).items()}
    if max(len(config.encoder.reductions), config.decoder.layers) > len(found):
        raise CheckpointError(f"{path}: weights do not fit its own settings, which have more layers")
    with outlined():
        outline = parts_of(config, vocabulary)
    wanted = {f"{part}.{name}": v.shape for part, module in outline.items() for name, v in module.state_dict().items()}
    wrong = sorted(name for name in wanted if wanted[name] != found.get(name))
    if wrong:
        raise CheckpointError(f"{path}: weights do not fit its own settings, such as {', '.join(wrong[:3])}")


def parts_of(config: ModelConfig, targets: int) -> dict[str, nn.Module]:
    """The parts of a model whose size a setting decides, by their names."""
    features = config.features
    encoder = Encoder(config.encoder, features.bins, len(features.others), features.deltas)
    if config.task == "classify":
        pooling = build_pooling(config.pooling, config.encoder)
        return {"encoder": encoder, "pooling": pooling, "output": nn.Linear(encoder.size, targets)}
    return {"encoder": encoder, "decoder": Decoder(config.decoder, config.attention, encoder.size, targets)}


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
