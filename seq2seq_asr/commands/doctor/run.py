"""What ``doctor`` does: find the target, examine every set, report."""

import json
from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.commands.doctor.config import DoctorConfig
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.health.examine import ExaminedSet, examine
from seq2seq_asr.data.health.report import Health, diagnose, format_health, health_json
from seq2seq_asr.data.health.target import Target
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.loading import read_split
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.features import Features
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.whole_file import probe, write_whole, writing


def doctor(config: DoctorConfig) -> int:
    """Examine as configured and print the report; returns 1 when there are errors, otherwise 0."""
    require_place(config.report)
    fit = find_settings(config)
    dev = {path.resolve() for path in fit.data.dev}  # which training reads with texts, or not at all
    root = config.data_root or fit.data.root
    train = read_split(config.manifest, root=root)
    tests = [read_split([path], allow_empty_text=path.resolve() not in dev, root=root) for path in config.against]
    target = find_target(config, fit, train)
    examined: list[ExaminedSet] = []
    with ProgressLine() as progress:
        for name, utterances in zip(["train", *names(config.against)], [train, *tests], strict=True):
            examined.append(examine(name, utterances, target, threads=config.threads, progress=progress))
    health = diagnose(examined[0], examined[1:], target)
    print(format_health(health), end="", flush=True)
    write_report(config.report, health)
    say(f"every finding is in {config.report}")
    return 1 if health.count("error") else 0


def find_settings(config: DoctorConfig) -> FitConfig:
    """Settings of the run, or of the training to come.

    Raises:
        UsageError: They cannot be read.
    """
    settings = config.experiment if config.run is None else RunFolder(config.run).config
    return FitConfig() if settings is None else load_yaml(settings, FitConfig)


def find_target(config: DoctorConfig, fit: FitConfig, train: Sequence[Utterance]) -> Target:
    """The tokenizer or classes, the input and the time scale of a run, or of the training to come.

    Raises:
        UsageError: A classifier is given a tokenizer.
        TokenizerError: The tokenizer or the classes are damaged, not ours, or cannot be learnt from these texts.
    """
    features = fit.model.features
    return Target(
        targets=find_targets(config, fit, [one.text for one in train]),
        rate=features.rate,
        feature_frames=Features(features).frame_count,
        reduction=fit.model.encoder.reduction,
        bins=features.bins if features.kind == "precomputed" else None,
    )


def find_targets(config: DoctorConfig, fit: FitConfig, texts: Sequence[str]) -> Tokenizer | Labels:
    """As `find_target`, from the training texts where there is neither a run nor a tokenizer."""
    run = None if config.run is None else RunFolder(config.run)
    if fit.model.task == "classify":
        if config.tokenizer is not None:
            raise UsageError("tokenizer: has no meaning with a classifier, whose targets are the training texts")
        return Labels.of(texts) if run is None else Labels.load(run.labels)
    stored = config.tokenizer or (None if run is None else run.tokenizer)
    return Tokenizer.train(texts, fit.tokenizer) if stored is None else Tokenizer.load(stored)


def require_place(path: Path) -> None:
    """Find out before hours of reading that the report cannot be written.

    Raises:
        UsageError: Its folder is missing or cannot be written, or it is a folder itself.
    """
    with writing(path, UsageError):
        probe(path)


def write_report(path: Path, health: Health) -> None:
    """Write the JSON report, whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    text = json.dumps(health_json(health), ensure_ascii=False, allow_nan=False, indent=1)
    write_whole(path, text, UsageError)


def names(paths: Sequence[Path]) -> list[str]:
    """A name for each test set: its file's, with its folder's where another set has the same, or the whole path."""
    for name in (lambda path: path.stem, lambda path: f"{path.resolve().parent.name}/{path.stem}"):
        found = [name(path) for path in paths]
        if len({"train", *found}) == 1 + len(found):
            return found
    return [str(path) for path in paths]
