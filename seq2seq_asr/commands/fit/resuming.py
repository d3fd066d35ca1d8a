"""What a resumed run may change, and how far it has come."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from seq2seq_asr.commands.fit.targets import with_tokenizer_of
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.strict_yaml import load_yaml, to_mapping
from seq2seq_asr.training.processes import is_main_process
from seq2seq_asr.training.recovery import newest_complete
from seq2seq_asr.training.run_folder import RunFolder

FIXED = ("model.", "tokenizer.", "init_from", "keep_tokenizer")
"""Settings that the weights depend on, or have come from."""
PLANNED = ("data.batching.", "seed")
"""Settings that an epoch is planned from."""
FREE = ("name", "checkpoints", "trainer.progress", "logging.", "data.workers", "data.memory_mb", "model.kernels")
"""Settings that change nothing of what is trained."""


def resumed_run(path: Path) -> RunFolder:
    """The run to go on with.

    Raises:
        CheckpointError: There is nothing to resume from.
    """
    run = RunFolder(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run folder to resume")
    missing = [needed.name for needed in (run.config, run.targets) if not needed.is_file()]
    if not run.saved:
        missing.append(run.last.name)
    if missing:
        raise CheckpointError(
            f"{path}: nothing to resume, {missing[0]} is missing: training ended before its first checkpoint; "
            "delete the folder and train again without --resume"
        )
    return run


def with_start_of(run: RunFolder, config: FitConfig) -> FitConfig:
    """The configuration with what the run has begun from, where nothing else is asked for; with its tokenizer too.

    Raises:
        UsageError: A normaliser is asked for that the tokenizer it has kept has not.
    """
    begun = load_yaml(run.config, FitConfig)
    config = replace(
        config,
        init_from=config.init_from or begun.init_from,
        keep_tokenizer=config.keep_tokenizer or begun.keep_tokenizer,
    )
    return with_tokenizer_of(run, config) if config.keep_tokenizer else config


def check_resumable(config: FitConfig, run: RunFolder, tokenizer: Targets) -> tuple[Path, dict[str, Any]]:
    """The checkpoint to go on from and what is in it; says which settings have changed.

    Raises:
        UsageError: A changed setting would need other weights.
        CheckpointError: No checkpoint is complete, or its tokenizer or labels are others.
    """
    path, checkpoint = newest_complete(run)
    record = checkpoint["seq2seq_asr"]
    if record.get("tokenizer") != tokenizer.hash:
        raise CheckpointError(f"{run.targets}: not the {run.targets.stem} that {path.name} was trained with")
    before, after = record.get("config", {}), as_recorded(config)
    if before.get("tokenizer", {}).get("model") == after["tokenizer"]["model"] is not None:
        before = before | {"tokenizer": after["tokenizer"]}  # older runs tell what was asked for beside it
    changes = changed_settings(before, after)
    for name, change in changes.items():
        other = f"train under another --name, perhaps with --init_from {run.path}"
        if name.startswith(FIXED):
            raise UsageError(f"--resume: {name} cannot change ({change}); {other}")
        if name.startswith(PLANNED) and checkpoint["Feeding"]["consumed"]:
            raise UsageError(f"--resume: {name} cannot change while an epoch is half done ({change}); {other}")
    if changes and is_main_process():
        say("resuming with changed settings: " + ", ".join(f"{name} {change}" for name, change in changes.items()))
    return path, checkpoint


def check_corpus(path: Path, checkpoint: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Notice other utterances than the checkpoint has been trained and validated on; says what they do to the run.

    Args:
        path: The checkpoint.
        checkpoint: What is in it.
        digests: Of the utterances there are now, by split.

    Raises:
        CheckpointError: Those of training have changed within an epoch, which was planned from them.
    """
    before = checkpoint["seq2seq_asr"]["data"]
    if before["train"] != digests["train"] and checkpoint["Feeding"]["consumed"]:
        raise CheckpointError(
            f"{path}: an epoch is half done, and data.train holds other utterances than at its start: restore the "
            f"manifests, or train under another --name with --init_from {path.parent}"
        )
    if not is_main_process():
        return
    if before["train"] != digests["train"]:
        say(f"warning: data.train holds other utterances than {path} was trained on")
    if before["dev"] != digests["dev"]:
        say(f"warning: data.dev holds other utterances than before {path}: best.ckpt was chosen by the error on those")


def as_recorded(config: FitConfig) -> dict[str, Any]:
    """What is stored of the configuration: a run is not described by how it was resumed."""
    return to_mapping(replace(config, resume=False))


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Settings that differ and matter, by dotted name, as ``old → new``; one that a record lacks has its default."""
    defaults = flat(to_mapping(FitConfig()))
    old, new = defaults | flat(before), defaults | flat(after)
    return {
        name: f"{old.get(name)} → {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not name.startswith(FREE)
    }


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for name, value in mapping.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found
