"""What a run still has to do: its folder alone decides, and nothing that only one run has may enter a comparison."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.compare.budget import Corpora
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run
from seq2seq_asr.commands.compare.pool import Pool
from seq2seq_asr.commands.compare.stages import (
    PROBED,
    another_setting,
    decode_flags,
    decode_folder,
    decoded,
    finished,
    fitting,
    probed,
    set_aside,
    stages_of,
    task_of,
    trained,
)
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.defaults import parse_for_run
from seq2seq_asr.commands.probe_gradients.config import ProbeGradientsConfig
from seq2seq_asr.config import FitConfig
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.training import claim
from seq2seq_asr.training.checkpoint import FORMAT, write_atomically
from seq2seq_asr.training.claim import held
from seq2seq_asr.training.run_folder import CheckpointChoice, RunFolder

PLAN = CompareConfig(configs=(Path("a.yaml"),))
CORPORA = Corpora(lambda *_: None)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(system="gru", seed=1, config=replace(FitConfig(), name="gru_seed1", checkpoints=tmp_path))
    made.path.mkdir()
    (made.path / "config.yaml").write_text(to_yaml(made.config), encoding="utf-8")
    return made


def test_a_run_is_decoded_as_all_others_whatever_tune_left_in_it(run: Run) -> None:
    config = CompareConfig(configs=(Path("a.yaml"),), search=BeamConfig(beam=3, length_bonus=0.5))
    said = parse_for_run(decode_flags(run, config))
    assert said.search == config.search and not said.tuned


def test_what_skipped_an_utterance_is_decoded_again(run: Run) -> None:
    """Its decoding fails again, by name, where the utterance cannot be read yet: it is never ranked over fewer."""
    config = CompareConfig(configs=(Path("a.yaml"),))
    folder = decode_folder(run, config)
    folder.mkdir()
    then = DecodeConfig(search=config.search, checkpoint=config.checkpoint)
    (folder / "decode.yaml").write_text(to_yaml(then), encoding="utf-8")
    for scores, done in (('{"skipped": 1}', False), ('{"skipped": 0}', True), ("{}", True), ('{"skip', False)):
        (folder / "wer.json").write_text(scores)
        assert decoded(run, config, CORPORA) is done


@pytest.mark.parametrize("setting", ["lm", "ngram", "hotwords"])
def test_what_was_decoded_with_a_model_of_the_language_is_decoded_again(run: Run, setting: str) -> None:
    config = CompareConfig(configs=(Path("a.yaml"),))
    folder = decode_folder(run, config)
    folder.mkdir()
    (folder / "wer.json").write_text("{}")
    for given, done in (({}, True), ({setting: Path("some.file")}, False)):
        then = DecodeConfig(search=config.search, checkpoint=config.checkpoint, **given)  # type: ignore[arg-type]
        (folder / "decode.yaml").write_text(to_yaml(then), encoding="utf-8")
        assert decoded(run, config, CORPORA) is done


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "PATIENCE", 0.0)


def test_what_another_training_writes_is_left_alone(run: Run, impatient: None) -> None:
    """It may have been left behind by a comparison that was killed, before its first save."""
    config = CompareConfig(configs=(Path("a.yaml"),))
    with held(RunFolder(run.path)):
        (failure,) = Pool(1).run([task_of(run, config, CORPORA)])
        assert failure.line == f"{run.path}: another training writes there" and failure.task == run.name
        with pytest.raises(CheckpointError, match="another training writes there"):
            set_aside(run)
        assert (run.path / "config.yaml").is_file()
    assert fitting(run).flags[0] == "--config" and not run.path.exists()


def test_the_last_checkpoint_knows_how_long_was_trained(run: Run) -> None:
    """Figures of the last epoch are written before it is saved; a crash in between leaves an older checkpoint."""
    folder, epochs = RunFolder(run.path), run.config.trainer.epochs
    folder.metrics.write_text("epoch,step,seconds\n" + "".join(f"{epoch},1,1\n" for epoch in range(epochs)))
    assert not trained(run)
    for done in (epochs - 1, epochs):
        state = {"seq2seq_asr": {"format": FORMAT}, "state_dict": {}, "Feeding": {"epoch": done}}
        write_atomically(state, folder.last)
        assert trained(run) is (done == epochs)
    folder.metrics.write_bytes(b"\xff\0 no figures")
    assert trained(run)
    folder.last.write_bytes(b"torn")
    assert not trained(run) and fitting(run).flags[0] == "--resume"


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_gradient_flow_is_that_of_the_weights_that_are_decoded(run: Run, checkpoint: CheckpointChoice) -> None:
    """What was measured of the other checkpoint, as an early version did, is measured again."""
    config = replace(PLAN, checkpoint=checkpoint, probe="gradients")
    state = {"seq2seq_asr": {"format": FORMAT}, "state_dict": {}, "Feeding": {"epoch": run.config.trainer.epochs}}
    write_atomically(state, RunFolder(run.path).last)
    *_, probe = stages_of(run, config, CORPORA)
    asked = parse(ProbeGradientsConfig, list(probe.flags), "probe_gradients")
    assert (asked.run, asked.checkpoint) == (run.path, checkpoint)
    (run.path / "gradients").mkdir()
    for measured in ("last", "best"):
        told = {"checkpoint": f"{measured}.ckpt", "layers": [{"name": "encoder 1"}]}
        (run.path / PROBED).write_text(json.dumps(told))
        assert probed(run, config) is (measured == checkpoint) and probed(run, PLAN)


def test_to_see_what_is_left_changes_nothing(run: Run) -> None:
    assert not finished(run, CompareConfig(configs=(Path("a.yaml"),)), CORPORA)
    assert (run.path / "config.yaml").is_file() and not (run.path.parent / "plan").exists()


def test_another_setting_is_named(run: Run) -> None:
    assert another_setting(run, PLAN, CORPORA) == ""
    other = replace(run, config=replace(run.config, optimizer=replace(run.config.optimizer, lr=0.5)))
    assert another_setting(other, PLAN, CORPORA) == f"optimizer.lr ({FitConfig().optimizer.lr} → 0.5)"
    longer = replace(run, config=replace(run.config, trainer=replace(run.config.trainer, epochs=99)))
    assert another_setting(longer, PLAN, CORPORA).startswith("trainer.epochs (")
