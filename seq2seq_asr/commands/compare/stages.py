"""What a run of a comparison still has to do: train or resume, decode, probe. The run folder alone knows."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from seq2seq_asr.commands.compare.budget import Corpora
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.freshness import is_current, other_corpus, saved
from seq2seq_asr.commands.compare.grid import Run
from seq2seq_asr.commands.compare.pool import Spent, Stage, Task
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.fit.resuming import as_recorded, changed_settings
from seq2seq_asr.commands.significance.reading import SCORES
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.errors import AsrError, UsageError
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import load_yaml, to_mapping, to_yaml
from seq2seq_asr.training.claim import held
from seq2seq_asr.training.run_folder import CheckpointChoice, RunFolder

COST = "compare.json"
"""In a run folder: what each stage took, added up over resumed ones."""
PROBED = "gradients/gradients_trained.json"
"""What the gradient probe leaves in a run folder."""


def is_classification(run: Run) -> bool:
    """Whether the run gives each utterance a label."""
    return run.config.model.task == "classify"


def task_of(run: Run, config: CompareConfig, corpora: Corpora) -> Task:
    """All that is left to do for a run."""
    return Task(
        name=run.name,
        stages=lambda: stages_of(run, config, corpora),
        log=run.path.parent / "logs" / f"{run.name}.log",
        finished=lambda stage, spent: add_cost(run.path, stage.name, spent),
    )


def stages_of(run: Run, config: CompareConfig, corpora: Corpora) -> Iterator[Stage]:
    """The commands, each looked up when those before it are done."""
    if not trained(run):
        yield fitting(run)
    if not decoded(run, config, corpora):
        yield decoding(run, config)
    if not probed(run, config):
        yield Stage("probe", "probe_gradients", ["--run", str(run.path), "--checkpoint", config.checkpoint])


def finished(run: Run, config: CompareConfig, corpora: Corpora) -> bool:
    """Whether nothing is left to do."""
    return trained(run) and decoded(run, config, corpora) and probed(run, config)


def fitting(run: Run) -> Stage:
    """Training from the start, or from where it was interrupted.

    Raises:
        CheckpointError: Another training writes there.
    """
    folder = RunFolder(run.path)
    if folder.config.is_file() and folder.saved:
        return Stage("fit", "fit", ["--resume", "--name", run.name, "--checkpoints", str(run.path.parent)])
    if run.path.is_dir():
        # It ended before its first save: nothing in it is of use, and `fit` would take another name.
        with held(folder):
            shutil.rmtree(run.path, ignore_errors=True)
    plan = run.path.parent / "plan" / f"{run.name}.yaml"
    plan.parent.mkdir(parents=True, exist_ok=True)
    plan.write_text(to_yaml(run.config), encoding="utf-8")
    return Stage("fit", "fit", ["--config", str(plan)])


def decoding(run: Run, config: CompareConfig) -> Stage:
    """Decoding from the start; what another search left, or an interrupted one, would not belong."""
    shutil.rmtree(decode_folder(run, config), ignore_errors=True)
    return Stage("decode", "decode", decode_flags(run, config))


def trained(run: Run) -> bool:
    """Whether the run has all its epochs behind it; its last checkpoint knows, as its figures are written earlier."""
    return saved(run).epochs >= run.config.trainer.epochs


def decode_folder(run: Run, config: CompareConfig) -> Path:
    """Where a run's transcripts stand."""
    return run.path / f"compare_{config.split}"


def decoded(run: Run, config: CompareConfig, corpora: Corpora) -> bool:
    """Whether all of the run's test set was decoded, as it is and as is asked for now.

    Raises:
        AsrError: The test set cannot be read.
    """
    folder = decode_folder(run, config)
    try:
        scores = json.loads((folder / SCORES[is_classification(run)]).read_text("utf-8"))
        then = load_yaml(folder / "decode.yaml", DecodeConfig)
    except (OSError, ValueError, AsrError):
        return False
    if scores.get("skipped"):
        return False  # the others would be another test set
    # A classifier searches nothing.
    search = then.search if is_classification(run) else config.search
    others = (then.lm, then.ngram, then.hotwords)  # what a run was tuned with is no part of a comparison
    alike = then.search == search and then.checkpoint == config.checkpoint and others == (None, None, None)
    return alike and is_current(folder, run, config, corpora)


def probed(run: Run, config: CompareConfig) -> bool:
    """Whether the gradient flow of the weights that are decoded was measured, where that is asked for."""
    return config.probe == "none" or bool(read_flow(run.path / PROBED, config.checkpoint))


def read_flow(path: Path, checkpoint: CheckpointChoice) -> list[dict[str, Any]]:
    """Layers that the gradient probe has measured, of fresh weights or of this checkpoint; none of another's."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return found["layers"] if found["checkpoint"] in (None, f"{checkpoint}.ckpt") else []
    except (OSError, ValueError, KeyError):
        return []


def decode_flags(run: Run, config: CompareConfig) -> list[str]:
    """Flags of ``decode``."""
    flags = ["--run", str(run.path), "--split", config.split, "--checkpoint", config.checkpoint]
    flags += ["--out", str(decode_folder(run, config))]
    if run.config.trainer.accelerator == "cpu":
        flags += ["--device", "cpu"]
    return flags if is_classification(run) else [*flags, "--no_tuned", *search_flags(config.search)]


def search_flags(search: BeamConfig) -> list[str]:
    """The settings of the search that are not the defaults of ``decode``."""
    flags = []
    for field in dataclasses.fields(BeamConfig):
        value = getattr(search, field.name)
        if value != field.default:
            flags += [f"--{field.name}", str(value)]
    return flags


def add_cost(folder: Path, stage: str, spent: Spent) -> None:
    """Note what a stage took; training may take several attempts."""
    if not folder.is_dir():
        return
    costs = read_cost(folder)
    before = costs.get(stage, {}) if stage == "fit" else {}
    costs[stage] = {
        "seconds": before.get("seconds", 0.0) + spent.seconds,
        "cpu_seconds": before.get("cpu_seconds", 0.0) + spent.cpu_seconds,
        "peak_bytes": max(before.get("peak_bytes", 0), spent.peak_bytes),
    }
    (folder / COST).write_text(json.dumps(costs, indent=1), encoding="utf-8")


def read_cost(folder: Path) -> dict[str, Any]:
    """What was noted so far."""
    try:
        return json.loads((folder / COST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def check_same_settings(run: Run, config: CompareConfig, corpora: Corpora) -> None:
    """A run that exists must have been trained as is planned now, and on the utterances there are now.

    Raises:
        UsageError: It was not; the text names a setting.
    """
    change = another_setting(run, config, corpora)
    if change:
        raise UsageError(
            f"{run.path}: was trained with another {change}: "
            "give this comparison another --name, or --again to train it anew"
        )


def another_setting(run: Run, config: CompareConfig, corpora: Corpora) -> str:
    """A setting in which the run that exists differs from what is planned now, and how; empty where there is none.

    One whose manifest has changed differs too.
    """
    path = run.path / "config.yaml"
    if not path.is_file():
        return ""
    before = to_mapping(replace(load_yaml(path, FitConfig), resume=False))
    changed = changed_settings(before, as_recorded(run.config))
    named = next((f"{name} ({change})" for name, change in changed.items()), "")
    return named or other_corpus(run, config, corpora)


def set_aside(run: Run) -> None:
    """Move an old run, and what was noted of it, out of the way.

    Raises:
        CheckpointError: Another training writes there.
    """
    if not run.path.exists():
        return
    with held(RunFolder(run.path)):
        pass  # its training has ended
    replaced = run.path.parent / "replaced"
    replaced.mkdir(exist_ok=True)
    number = next(n for n in range(1, 10_000) if not (replaced / f"{run.name}-{n}").exists())
    run.path.rename(replaced / f"{run.name}-{number}")
    say(f"{run.path} moved to {replaced.name}/{run.name}-{number}")
