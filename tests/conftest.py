"""What every test runs under: checked shapes, one thread, fixed seeds, no network."""

import os

# Before the first import of torch: pytest-xdist runs one process a core, and a child process of a test inherits these.
os.environ["OMP_NUM_THREADS"] = "1"  # whatever a cluster sets: more, and a test that forks waits for ever
os.environ.setdefault("TRITON_INTERPRET", "1")  # GPU kernels run on the CPU, in Triton's interpreter
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import dataclasses
import fcntl
import functools
import inspect
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jaxtyping
import numpy as np
import pytest
import soundfile
import torch

# Before the first import of the package: checks the shape and type of every argument and result while tests run.
jaxtyping.install_import_hook("seq2seq_asr", "beartype.beartype")

torch.set_num_threads(1)


UNCHECKED = ("training", "commands", "search", "cpu", "kernels", "recognizer")
"""Tests that run without checks of shapes. `test_fit.py` and `cli/test_readme.py` check them in training and search."""
CHECKED = "CHECK_SHAPES" in os.environ
"""Whether they are checked everywhere, as `make nightly` does."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Checks of shapes take a third of the time: there they are left out, as users have it."""
    unchecked = item.path.relative_to(Path(__file__).parent).parts[0] in UNCHECKED
    jaxtyping.config.update("jaxtyping_disable", unchecked and not CHECKED)
    return (yield)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without checks of shapes, where other tests check the same calls."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", not CHECKED)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session", autouse=True)
def quick_interpreter() -> None:
    """What Triton's interpreter does over and over again at every call and operation of a kernel, it does once.

    At every call within a kernel it looks through its whole language for what to replace; for every integer sum it
    computes a check for overflow and, unless its option ``debug`` is set, throws it away; for every tensor it builds
    the table of types. Written for the version that is locked: with another one the tests of kernels take longer.
    """
    interpreter: Any = sys.modules.get("triton.runtime.interpreter")
    if interpreter is None or interpreter.triton.__version__ != "3.6.0":
        return  # no test here has kernels, or they do without

    @functools.cache
    def replaced(part: object) -> list[tuple[str, object]]:
        return [one for one in inspect.getmembers(part) if interpreter.tl.core.is_builtin(one[1])]

    def replace(part: object, builder: object, scope: object) -> None:
        for name, member in replaced(part):
            if getattr(part, name) is member:  # not yet
                interpreter._patch_attr(part, name, member, builder, scope)

    slow, known = interpreter._get_np_dtype, dict[str, np.dtype]()

    def numpy_dtype(kind: Any) -> np.dtype:
        if kind.name not in known:
            known[kind.name] = slow(kind)
        return known[kind.name]

    interpreter._patch_builtin, interpreter._get_np_dtype = replace, numpy_dtype
    options = interpreter.interpreter_builder.options
    if not options.debug:
        interpreter.interpreter_builder.options = dataclasses.replace(options, sanitize_overflow=False)


# A wall-clock limit would fail on a busy machine, and a database would carry failures from one checkout to the next.
hypothesis.settings.register_profile(
    "repeatable",
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# HYPOTHESIS_PROFILE=explore looks for new examples on every run, and for more of them.
REPEATABLE = hypothesis.settings.get_profile("repeatable")
hypothesis.settings.register_profile("explore", REPEATABLE, derandomize=False, max_examples=200)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def seed() -> int:
    """Start every test from the same random state, in whatever order and worker it runs."""
    value = 1234
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    return value


@pytest.fixture
def draw_no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the learning curves that end every training, which take longer than a toy."""
    monkeypatch.setattr("seq2seq_asr.training.metrics.LearningCurves._draw", lambda *_: None)


@pytest.fixture(scope="session")
def tones_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose words are tones; its corpus stands beside it as train.jsonl and test.jsonl.

    Everything that decodes shares it; it is trained once, by the first of pytest-xdist's workers that asks for it, and
    every worker has a copy.
    """
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "trained_tones"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "tones" / "best.ckpt").exists():
            train_tones(shared)
    copy = shutil.copytree(shared, own / "tones_run")
    config = copy / "tones" / "config.yaml"
    config.write_text(config.read_text().replace(str(shared), str(copy)))
    return copy / "tones"


def train_tones(folder: Path) -> None:
    """Write the corpus, and train the run ``tones`` on it."""
    settings = {
        "name": "tones",
        "checkpoints": str(folder),
        "data": {
            "train": [str(write_tones(folder / "train.jsonl", 320, seed=0))],
            "dev": [str(write_tones(folder / "test.jsonl", 12, seed=1))],
            "test": [str(folder / "test.jsonl")],
            "batching": {"max_utterances": 8},
            "speed": {"probability": 0.0},
        },
        "tokenizer": {"kind": "bpe", "vocabulary_size": 30},
        "model": {
            "features": {"rate": 8000, "bins": 16},
            "specaugment": {"frequency_masks": 0, "time_masks": 0},
            "encoder": {"cell": "gru", "units": 32, "reductions": [2, 2], "dropout": 0.0},
            "attention": {"size": 16, "filters": 2, "width": 5},
            "decoder": {"units": 48, "embedding": 8, "dropout": 0.0},
            "label_smoothing": 0.0,
        },
        "optimizer": {"lr": 2e-2},
        "trainer": {"epochs": 4, "validate_every": 4, "accelerator": "cpu", "devices": 1, "progress": False},
        "logging": {"wandb": "off", "examples": 0},
    }
    config = folder / "tones.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    # A process of its own: unchecked shapes make it three times as fast, and this is what users do.
    command = [sys.executable, "-m", "seq2seq_asr.fit", "--config", str(config)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)


PITCHES = {"low": 300.0, "mid": 900.0, "high": 1700.0, "top": 2900.0}


def write_tones(manifest: Path, count: int, seed: int) -> Path:
    """Utterances of one to four words by three speakers, at 8 kHz; a word is a tone of 120 ms and 60 ms of quiet."""
    draw, time = np.random.default_rng(seed), np.arange(1440) / 8000
    with manifest.open("w") as file:
        for index in range(count):
            words = draw.choice(list(PITCHES), size=1 + index % 4)
            tones = np.concatenate([0.3 * np.sin(2 * np.pi * PITCHES[word] * time) * (time < 0.12) for word in words])
            audio = manifest.with_name(f"{manifest.stem}-{index}.wav")
            soundfile.write(audio, tones + draw.normal(0, 0.003, len(tones)), 8000)
            entry = {"audio_filepath": audio.name, "duration": len(tones) / 8000, "text": " ".join(words)}
            file.write(json.dumps(entry | {"speaker": f"s{index % 3}"}) + "\n")
    return manifest
