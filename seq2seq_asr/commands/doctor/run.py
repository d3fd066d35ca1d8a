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
from seq2seq_asr.data.loading import read_split
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.features import Features
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.whole_file import replacing


def doctor(config: DoctorConfig) -> int:
    """Examine as configured and print the report; returns 1 when there are errors, otherwise 0."""
    train = read_split(config.manifest, root=config.data_root)
    tests = [read_split([path], allow_empty_text=True, root=config.data_root) for path in config.against]
    target = find_target(config, train)
    examined: list[ExaminedSet] = []
    with ProgressLine() as progress:
        for name, utterances in zip(["train", *names(config.against)], [train, *tests], strict=True):
            examined.append(examine(name, utterances, target, threads=config.threads, progress=progress))
    health = diagnose(examined[0], examined[1:], target)
    write_report(config.report, health)
    print(format_health(health), end="")
    say(f"every finding is in {config.report}")
    return 1 if health.count("error") else 0


def find_target(config: DoctorConfig, train: Sequence[Utterance]) -> Target:
    """The tokenizer and time scale of a run, or of the training to come.

    Raises:
        UsageError: The run's or the experiment's settings cannot be read.
        TokenizerError: The tokenizer is damaged, not ours, or cannot be trained on these texts.
    """
    run = None if config.run is None else RunFolder(config.run)
    settings = config.experiment if run is None else run.config
    fit = FitConfig() if settings is None else load_yaml(settings, FitConfig)
    stored = config.tokenizer or (None if run is None else run.tokenizer)
    tokenizer = (
        Tokenizer.load(stored)
        if stored is not None
        else Tokenizer.train((utterance.text for utterance in train), fit.tokenizer)
    )
    features = Features(fit.model.features)
    return Target(
        tokenizer=tokenizer,
        rate=fit.model.features.rate,
        feature_frames=features.frame_count,
        reduction=fit.model.encoder.reduction,
    )


def write_report(path: Path, health: Health) -> None:
    """Write the JSON report, whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    text = json.dumps(health_json(health), ensure_ascii=False, allow_nan=False, indent=1)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error


def names(paths: Sequence[Path]) -> list[str]:
    """A name for each test set: its file's, with its folder's where another set has the same, or the whole path."""
    for name in (lambda path: path.stem, lambda path: f"{path.resolve().parent.name}/{path.stem}"):
        found = [name(path) for path in paths]
        if len({"train", *found}) == 1 + len(found):
            return found
    return [str(path) for path in paths]
