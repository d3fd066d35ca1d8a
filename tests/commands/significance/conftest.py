"""Decodings to compare, and the command that compares them."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from seq2seq_asr.commands.significance.systems import System
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.evaluation.intervals import Interval
from seq2seq_asr.evaluation.trn import TrnLine, write_trn
from seq2seq_asr.evaluation.wer import ErrorCounts
from seq2seq_asr.significance import main
from seq2seq_asr.training import plots as training_plots

WORDS = "low mid high top".split()


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture) -> Callable[..., Result]:
    def run(*argv: object) -> Result:
        try:
            code = exit_code_of(main, [str(one) for one in argv])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the figure, which takes longer than all else."""
    monkeypatch.setattr(training_plots, "save_figure", lambda *_: None)


def decode(
    folder: Path, rate: float, *, speakers: int = 8, count: int = 80, seed: int = 0, share: Sequence[str] = WORDS
) -> Path:
    """A folder whose words are wrong at this rate; references are those of every such folder."""
    draw, wrong = np.random.default_rng(0), np.random.default_rng(seed + 1)
    references, hypotheses = [], []
    for place in range(count):
        words = [str(word) for word in draw.choice(list(share), size=1 + place % 5)]
        said = [word if wrong.random() >= rate else "other" for word in words]
        who = f"s_{place % speakers}" if speakers else None
        references.append(TrnLine(id=f"u-{place}", text=" ".join(words), speaker=who))
        hypotheses.append(TrnLine(id=f"u-{place}", text=" ".join(said), speaker=who))
    folder.mkdir(parents=True)
    write_trn(folder / "ref.trn", references)
    write_trn(folder / "hyp.trn", reversed(hypotheses))  # their order does not matter
    return folder


def without(folder: Path, *ids: str, skipped: int = 0) -> None:
    """Take utterances away, as though `decode` had skipped them."""
    for name in ("ref.trn", "hyp.trn"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if not line.endswith(tuple(f"-{i})\n" for i in ids))))
    (folder / "wer.json").write_text(json.dumps({"skipped": skipped}))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def system(errors: Sequence[int], speakers: Sequence[str | None], length: int = 10) -> System:
    counts = tuple(ErrorCounts(substitutions=one, reference_length=length) for one in errors)
    known = Interval(0.0, 1.0)
    return System(name="x", folder=Path("x"), speakers=tuple(speakers), counts=counts, wrong=0, interval=known)
