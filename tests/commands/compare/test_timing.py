"""Timings that stand are used again, but not for other settings, nor for another number of runs at the same time."""

from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq_asr.commands.compare.budget import Corpora, Measured
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run, System
from seq2seq_asr.commands.compare.stages import trained
from seq2seq_asr.commands.compare.timing import _timing_run, timed, timing_runs
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.config import FitConfig
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.training.checkpoint import FORMAT, write_atomically

CORPORA = Corpora(lambda *_: None)


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    config = replace(FitConfig(), name="gru", checkpoints=tmp_path)
    system = System(name="gru", place={}, config=config)
    return Measured(system=system, parameters=1, steps_an_epoch=7, audio_seconds=9.0, tokens=9, vocabulary=9)


def leave(run: Run) -> None:
    """What a timing of 5, 4 and 6 seconds leaves."""
    run.path.mkdir(parents=True)
    (run.path / "config.yaml").write_text(to_yaml(run.config), encoding="utf-8")
    state = {"seq2seq_asr": {"format": FORMAT}, "state_dict": {}, "Feeding": {"epoch": 3}}
    write_atomically(state, run.path / "last.ckpt")
    (run.path / "metrics.csv").write_text("epoch,seconds\n0,5\n1,4\n2,6\n")


def test_a_timing_counts_for_its_own_settings_alone(measured: Measured) -> None:
    config = CompareConfig(configs=(Path("a.yaml"),), match="time", minutes=1.0)
    (run,) = timing_runs(config, [measured], 1, CORPORA)
    leave(run)
    with ProgressLine() as progress:
        (one,) = timed(config, [measured], 1, CORPORA, progress)
    assert one.system.config.trainer.epochs > 3 and trained(run)
    (other,) = timing_runs(config, [measured], 2, CORPORA)
    assert other.path != run.path, "two at a time slow each other"
    system = replace(measured.system, config=replace(measured.system.config, seed=5))
    (other,) = timing_runs(config, [replace(measured, system=system)], 1, CORPORA)
    assert other.path == run.path and not trained(other)
    assert (run.path.parent / "replaced" / f"{run.name}-1" / "metrics.csv").is_file()


def test_a_timing_that_lost_its_figures_is_made_again(measured: Measured) -> None:
    config = CompareConfig(configs=(Path("a.yaml"),), match="time", minutes=1.0)
    leave(run := _timing_run(measured, 1))
    (run.path / "metrics.csv").write_text("epoch,seconds\n0,5\n")
    assert timing_runs(config, [measured], 1, CORPORA) == [run] and not trained(run)


def test_again_times_again(measured: Measured) -> None:
    config = CompareConfig(configs=(Path("a.yaml"),), match="time", minutes=1.0, again=True)
    leave(_timing_run(measured, 1))
    (run,) = timing_runs(config, [measured], 1, CORPORA)
    assert not trained(run)
