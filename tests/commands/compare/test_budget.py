"""Equal budgets: parameters within two percent for every cell, the same updates, epochs that fit into minutes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seq2seq_asr.commands.compare.budget import (
    TOLERANCE,
    Corpora,
    apply_budget,
    count_parameters,
    epochs_for,
    measure,
    resized,
)
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import expand, runs_of
from seq2seq_asr.commands.compare.stages import another_setting
from seq2seq_asr.commands.compare.timing import epochs_within
from seq2seq_asr.commands.fit.preparation import prepare_session
from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.checkpoint import FORMAT, write_atomically
from seq2seq_asr.training.settings import TrainerConfig

CPU = TrainerConfig(epochs=5, accelerator="cpu")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Settings with a manifest of 30 utterances; nothing of it but texts and durations is read."""
    rows = [
        {"audio_filepath": f"{i}.wav", "duration": 1 + i % 3, "text": "abc"[: 1 + i % 3], "id": f"u{i}"}
        for i in range(30)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "data": {
            "train": [str(tmp_path / "train.jsonl")],
            "dev": [str(tmp_path / "train.jsonl")],
            "batching": {"max_utterances": 4},
        },
        "tokenizer": {"kind": "char", "vocabulary_size": 16},
        "model": {
            "features": {"rate": 8000, "bins": 16},
            "encoder": {"units": 24, "reductions": [2, 1]},
            "attention": {"size": 16},
            "decoder": {"units": 32, "embedding": 8},
        },
        "trainer": {"epochs": 5},
    }
    (tmp_path / "toy.yaml").write_text(json.dumps(settings))
    return tmp_path / "toy.yaml"


def compare(toy: Path, axis: str, **settings: object) -> CompareConfig:
    return CompareConfig(configs=(toy,), axes=(axis,), **settings)  # type: ignore[arg-type]


def test_parameters_agree_whatever_the_cell(toy: Path) -> None:
    cells = "elman, elman_relu, lstm, peephole_lstm, gru, light_gru"
    config = compare(toy, f"model.encoder.cell + model.decoder.cell = {cells}", match="parameters")
    corpora = Corpora(lambda *_: None)
    before = [measure(system, corpora).parameters for system in expand(config)]
    measured = apply_budget(config, expand(config), corpora)
    assert max(before) > 2 * min(before), "without matching they differ"
    assert measured[0].parameters == before[0], "the first is the measure of the others"
    for one in measured:
        assert abs(one.parameters / before[0] - 1) <= TOLERANCE
        units = one.system.config.model
        assert units.decoder.units / units.encoder.units == pytest.approx(32 / 24, rel=0.25)
    larger = apply_budget(replace(config, parameters=200_000), expand(config), corpora)
    assert all(abs(one.parameters / 200_000 - 1) <= TOLERANCE for one in larger)


def test_classifiers_have_no_decoder_to_fit(toy: Path) -> None:
    settings = json.loads(toy.read_text())
    del settings["tokenizer"], settings["model"]["attention"], settings["model"]["decoder"]
    toy.write_text(json.dumps(settings | {"model": settings["model"] | {"task": "classify"}}))
    config = compare(toy, "model.encoder.cell = lstm, elman, gru", match="parameters")
    measured = apply_budget(config, expand(config), Corpora(lambda *_: None))
    assert all(abs(one.parameters / measured[0].parameters - 1) <= TOLERANCE for one in measured)
    one = measured[0]
    nearly = count_parameters(resized(one.system.config, 150, 1), one.vocabulary) + 10
    near, _, _ = apply_budget(replace(config, parameters=nearly), expand(config), Corpora(lambda *_: None))
    assert near.system.config.model.encoder.units == 150, "the nearer of two sizes, be it too small"
    fixed = compare(toy, "model.encoder.cell = lstm, gru", settings=("model.encoder.layer_units = [8, 8]",))
    with pytest.raises(UsageError, match="no hidden size gives"):
        apply_budget(replace(fixed, match="parameters"), expand(fixed), Corpora(lambda *_: None))


def test_impossible_parameters_are_refused(toy: Path) -> None:
    config = compare(toy, "model.encoder.cell = elman, lstm", match="parameters", parameters=100)
    with pytest.raises(UsageError, match="no hidden size gives 100 parameters"):
        apply_budget(config, expand(config), Corpora(lambda *_: None))


def test_updates_agree_where_batches_differ(toy: Path) -> None:
    config = compare(toy, "data.batching.max_utterances = 4, 2, 1", settings=("trainer.epochs = 75",))
    measured = apply_budget(config, expand(config), Corpora(lambda *_: None))
    steps = [one.system.config.trainer.epochs * one.steps_an_epoch for one in measured]
    assert measured[0].system.config.trainer.epochs == 75 and len({one.steps_an_epoch for one in measured}) == 3
    assert all(abs(count / steps[0] - 1) <= TOLERANCE for count in steps)


def test_budgets_that_are_called_equal_are(toy: Path) -> None:
    config = compare(toy, "data.batching.max_utterances = 1, 2")
    one = measure(expand(config)[0], Corpora(lambda *_: None))
    assert one.steps_an_epoch == 30 and epochs_for(one, 60) == 2 and epochs_for(one, 1509) == 50
    for steps, nearest in ((10, 30), (45, 60), (40, 30), (75, 60), (100, 90)):
        with pytest.raises(UsageError, match=f"{steps} updates are no whole epochs of 1, .* nearest are {nearest}:"):
            epochs_for(one, steps)


def test_tokens_a_second_are_those_of_the_corpus(toy: Path) -> None:
    one = measure(expand(compare(toy, "model.encoder.cell = elman, gru"))[0], Corpora(lambda *_: None))
    assert one.tokens_a_second == pytest.approx(9 / 6)  # 1 to 3 letters and a word's mark in 1 to 3 s


def source_run(toy: Path, tokenizer: TokenizerConfig) -> Path:
    """A run of the toy with other pieces, as training would leave it."""
    plain = load_yaml(toy, FitConfig)
    session = prepare_session(
        replace(plain, name="source", checkpoints=toy.parent / "sources", tokenizer=tokenizer, trainer=CPU)
    )
    state = {f"model.{name}": value for name, value in session.model.state_dict().items()}
    write_atomically({"state_dict": state, "seq2seq_asr": {"format": FORMAT, **session.record}}, session.run.last)
    return session.run.path


def test_a_tokenizer_that_is_kept_is_planned_with(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vocabulary counts, and a run that `fit` makes of the plan is one that was trained as planned."""
    monkeypatch.setenv("SEQ2SEQ_ASR_RUN", "")  # left by `fit`, and taken away afterwards
    monkeypatch.delenv("SEQ2SEQ_ASR_RUN")
    source = source_run(toy, TokenizerConfig(kind="bpe", vocabulary_size=9))
    size = len(Tokenizer.load(source / "tokenizer.model"))
    shared = (f"init_from = {source}", "trainer.accelerator = cpu")
    config = compare(toy, "keep_tokenizer = false, true", settings=shared, checkpoints=toy.parent / "runs")
    corpora = Corpora(lambda *_: None)
    fresh, kept = apply_budget(config, expand(config), corpora)
    assert kept.vocabulary == size != fresh.vocabulary and kept.parameters != fresh.parameters
    for run in runs_of([fresh.system, kept.system], [1]):
        prepare_session(run.config)
        assert another_setting(run, config, corpora) == ""
    with pytest.raises(UsageError, match="system keep_tokenizer: keep_tokenizer: needs a trained run"):
        expand(replace(config, settings=()))
    (source / "last.ckpt").unlink()
    with pytest.raises(CheckpointError, match="source: no checkpoint"):
        expand(config)


def test_a_tokenizer_out_of_a_file_is_planned_with(toy: Path) -> None:
    Tokenizer.train(["vwxyz"], TokenizerConfig(kind="char", vocabulary_size=16)).save(toy.parent / "own.model")
    config = compare(toy, f"tokenizer.model = null, {toy.parent / 'own.model'}")
    learnt, given = (measure(system, Corpora(lambda *_: None)) for system in expand(config))
    assert given.vocabulary == len(Tokenizer.load(toy.parent / "own.model")) != learnt.vocabulary


def test_epochs_that_fit_into_the_minutes() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        first, common, validation, every = *draw.uniform(1, 9, size=3), int(draw.integers(1, 5))
        budget = float(draw.uniform(20, 200))
        epochs = epochs_within(budget, [first, common, common + validation], every)

        def spent(count: int, first=first, common=common, validation=validation, every=every) -> float:
            validated = sum(epoch % every == 0 or epoch == count for epoch in range(1, count + 1))
            return first + (count - 1) * common + validated * validation

        assert spent(epochs + 1) > budget and (epochs == 0 or spent(epochs) <= budget)
