"""What stands ready before the first step: folder, tokenizer, statistics, weights of another run."""

import json
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentencepiece import SentencePieceTrainer

from seq2seq_asr.commands.fit.preparation import initialise, prepare_session, start_of
from seq2seq_asr.commands.fit.resuming import as_recorded, changed_settings, flat, with_start_of
from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.errors import CheckpointError, ManifestError, TokenizerError, UsageError
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.recognizer.restoring import restore
from seq2seq_asr.strict_yaml import from_mapping, load_yaml, override, to_yaml
from seq2seq_asr.training.checkpoint import FORMAT, write_atomically
from seq2seq_asr.training.claim import claimed_run, wait_for
from seq2seq_asr.training.devices import find_precision
from seq2seq_asr.training.mwer import MwerConfig
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.session import Session
from seq2seq_asr.training.settings import TrainerConfig
from seq2seq_asr.whole_file import write_whole

PROCESS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SEQ2SEQ_ASR_RUN")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trace of other processes in the environment, now or afterwards."""
    for name in PROCESS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def arrays(tmp_path: Path) -> list[np.ndarray]:
    """Features of ten utterances, in train.jsonl and dev.jsonl."""
    draw = np.random.default_rng(0)
    arrays = [draw.normal(3.0, 2.0, size=(20 + index, 3)).astype(np.float32) for index in range(10)]
    with (tmp_path / "train.jsonl").open("w") as file:
        for index, array in enumerate(arrays):
            np.save(tmp_path / f"{index}.npy", array)
            entry = {"features_filepath": f"{index}.npy", "duration": len(array) / 100}
            file.write(json.dumps(entry | {"text": "abcab"[: 1 + index % 5]}) + "\n")
    (tmp_path / "dev.jsonl").write_bytes((tmp_path / "train.jsonl").read_bytes())
    return arrays


def config(folder: Path, name: str = "toy", init_from: Path | None = None, **model: object) -> FitConfig:
    return from_mapping(
        FitConfig,
        {
            "name": name,
            "checkpoints": str(folder / "runs"),
            "init_from": None if init_from is None else str(init_from),
            "data": {"train": [str(folder / "train.jsonl")], "dev": [str(folder / "dev.jsonl")]},
            "tokenizer": {"kind": "char", "vocabulary_size": 16},
            "model": {
                "features": {"kind": "precomputed", "bins": 3},
                "encoder": {"units": 4, "reductions": [2]},
                "attention": {"size": 4, "filters": 2, "width": 3},
                "decoder": {"units": 4, "embedding": 2},
                **model,
            },
            "trainer": {"accelerator": "cpu"},
        },
    )


def save(session: Session) -> Path:
    """A checkpoint of the session's weights, as training would leave it."""
    state = {f"model.{name}": value for name, value in session.model.state_dict().items()}
    write_atomically({"state_dict": state, "seq2seq_asr": {"format": FORMAT, **session.record}}, session.run.last)
    return session.run.path


def test_a_session_stands_on_its_folder(
    tmp_path: Path, arrays: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    session = prepare_session(config(tmp_path))
    said = capsys.readouterr().err
    precision = find_precision(TrainerConfig(accelerator="cpu"))
    assert "dev 10 utterances, judged by WER\n" in said and f" epochs on 1 x cpu, {precision}\n" in said
    first = session.run.config.read_text().splitlines()[0]
    assert first.startswith("# Trained with seq2seq_asr ") and first.endswith(f"precision {precision}, criterion WER.")
    assert session.run.path == tmp_path / "runs" / "toy"
    assert load_yaml(session.run.config, FitConfig) == config(tmp_path)
    assert Tokenizer.load(session.run.tokenizer).hash == session.tokenizer.hash == session.record["tokenizer"]
    assert len(session.train) == len(session.dev) == len(arrays)
    assert not session.finished
    second = prepare_session(config(tmp_path))
    assert second.run.name == "toy-2" and load_yaml(second.run.config, FitConfig).name == "toy-2"


def test_the_seed_makes_the_weights(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    one, other = prepare_session(config(tmp_path)).model, prepare_session(config(tmp_path)).model
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_global_statistics_are_those_of_the_training_frames(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    features = {"kind": "precomputed", "bins": 3, "normalisation": "global"}
    session = prepare_session(config(tmp_path, features=features))
    frames = np.concatenate(arrays)
    assert session.model.features.normalise.mean.numpy() == pytest.approx(frames.mean(0), abs=1e-4)
    assert session.model.features.normalise.std.numpy() == pytest.approx(frames.std(0), abs=1e-4)


def test_global_statistics_of_another_run_are_kept_and_not_measured_anew(
    tmp_path: Path, arrays: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    features = {"kind": "precomputed", "bins": 3, "normalisation": "global"}
    plain = save(prepare_session(config(tmp_path, "plain")))
    session = prepare_session(config(tmp_path, init_from=plain, features=features))
    assert session.model.features.normalise.mean.numpy() == pytest.approx(np.concatenate(arrays).mean(0), abs=1e-4)
    assert "mean and variance" not in capsys.readouterr().err
    path = save(session)
    for index in range(len(arrays)):
        (tmp_path / f"{index}.npy").unlink()  # nothing to measure
    tuned = prepare_session(config(tmp_path, "tuned", path, features=features)).model.features
    assert torch.equal(tuned.normalise.mean, session.model.features.normalise.mean) and tuned.normalise.fitted
    assert f"features keep the mean and variance of {path}, which" in capsys.readouterr().err


def test_weights_of_another_run_are_taken_over(
    tmp_path: Path, arrays: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    source = prepare_session(config(tmp_path, "source"))
    with torch.no_grad():
        for parameter in source.model.parameters():
            parameter.add_(1.0)
    model = prepare_session(config(tmp_path, "tuned", save(source))).model
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), source.model.parameters(), strict=True))
    assert "initialised" in capsys.readouterr().err

    wider = prepare_session(config(tmp_path, "wide", source.run.path, decoder={"units": 6, "embedding": 2})).model
    assert torch.equal(next(wider.encoder.parameters()), next(source.model.encoder.parameters()))
    told = capsys.readouterr().err
    assert "new: decoder" in told and "warning: of another shape in " in told
    assert "decoder.cells.0.weight_ih is 12x10, not 18x10" in told


def test_layers_of_another_alphabet_start_anew(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    source = prepare_session(config(tmp_path, "source"))
    path = save(source)
    other = Tokenizer.train(["abd", "bca"], source_tokenizer := config(tmp_path).tokenizer)
    assert source_tokenizer.kind == "char" and other.hash != source.tokenizer.hash
    torch.manual_seed(5)
    model = Seq2Seq(config(tmp_path).model, len(source.tokenizer))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initialise(model, other, path)
    taken = source.model.state_dict()
    for name, value in model.state_dict().items():
        fresh = name.startswith(("decoder.embedding.", "decoder.output.", "ctc."))
        assert torch.equal(value, before[name] if fresh else taken[name]), name


def test_a_tokenizer_can_be_kept(tmp_path: Path, arrays: list[np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    """Other texts under the old pieces: no layer is begun anew, and the settings are those of the old tokenizer."""
    source = prepare_session(config(tmp_path))
    path = save(source)
    text = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "train.jsonl").write_text(re.sub(r'"text": "\w+"', '"text": "cab"', text))
    other = replace(config(tmp_path, "kept", path), tokenizer=TokenizerConfig(kind="bpe", vocabulary_size=9))
    other = replace(other, keep_tokenizer=True)
    session = prepare_session(other)
    assert session.tokenizer.hash == source.tokenizer.hash == Tokenizer.load(session.run.tokenizer).hash
    assert load_yaml(session.run.config, FitConfig).tokenizer == config(tmp_path).tokenizer
    for name, value in source.model.state_dict().items():
        assert torch.equal(session.model.state_dict()[name], value), name
    assert "; new: " not in capsys.readouterr().err
    with pytest.raises(UsageError, match=rf"normaliser: basic, but {source.run.tokenizer} was made with none"):
        prepare_session(replace(other, tokenizer=TokenizerConfig(normaliser="basic")))


def test_a_model_of_sentencepiece_can_be_used(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    """Its own programs make it; with a run's file the normaliser is the run's."""
    own = tmp_path / "own.model"
    ids: dict[str, Any] = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3, "pad_piece": "<blank>"}
    texts = tmp_path / "texts"
    texts.write_text("abcab\nxyz\n" * 9)
    model = str(own.with_suffix(""))
    SentencePieceTrainer.train(
        input=str(texts), model_prefix=model, model_type="char", hard_vocab_limit=False, minloglevel=2, **ids
    )
    asked = TokenizerConfig(model=own, normaliser="basic")
    session = prepare_session(replace(config(tmp_path), tokenizer=asked))
    assert session.tokenizer.unknown_rate(["Xyz!"]) == 0
    assert session.tokenizer.hash == Tokenizer(own.read_bytes(), "basic").hash
    asked_again = TokenizerConfig(model=session.run.tokenizer, kind="unigram", vocabulary_size=200)
    again = prepare_session(replace(config(tmp_path, "again"), tokenizer=asked_again))
    assert again.tokenizer.hash == session.tokenizer.hash
    told = load_yaml(again.run.config, FitConfig).tokenizer
    assert told == replace(asked, model=session.run.tokenizer, vocabulary_size=len(again.tokenizer))
    assert told == start_of(replace(config(tmp_path), tokenizer=asked_again)).tokenizer, "as compare plans it"
    kept = prepare_session(replace(config(tmp_path, "kept", save(again)), keep_tokenizer=True))
    assert kept.tokenizer.hash == session.tokenizer.hash
    assert load_yaml(kept.run.config, FitConfig).tokenizer == replace(told, model=None)
    plain = save(prepare_session(replace(config(tmp_path, "plain"), tokenizer=TokenizerConfig())))
    other = replace(asked, model=plain / "tokenizer.model")
    with pytest.raises(UsageError, match=r"normaliser: basic, but .*plain/tokenizer\.model was made with none"):
        prepare_session(replace(config(tmp_path, "other"), tokenizer=other))
    own.write_bytes(own.read_bytes()[:-9])
    with pytest.raises(TokenizerError, match=r"own\.model: "):
        prepare_session(replace(config(tmp_path, "broken"), tokenizer=asked))


def test_what_needs_a_trained_run_is_refused_without_one(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    plain = config(tmp_path)
    for asked in (replace(plain, keep_tokenizer=True), replace(plain, mwer=MwerConfig(nbest=2))):
        with pytest.raises(UsageError, match="needs a trained run to start from, --init_from RUN"):
            prepare_session(asked)
    path = save(prepare_session(plain))
    (tmp_path / "train.jsonl").write_text((tmp_path / "train.jsonl").read_text().replace('"text": "a', '"text": "xyz'))
    other = replace(config(tmp_path, "other", path), mwer=MwerConfig(nbest=2))
    needs = r"mwer.nbest: needs the whole model that .*/toy has trained, with its tokenizer \(--keep_tokenizer\); "
    with pytest.raises(UsageError, match=needs + r"begun anew would be decoder\.embedding\.weight, "):
        prepare_session(other)
    kept = replace(other, keep_tokenizer=True)
    assert prepare_session(kept).mwer.nbest == 2
    model = kept.model
    for part in (
        replace(model, decoder=replace(model.decoder, units=6)),
        replace(model, attention=replace(model.attention, kind="none")),
        replace(model, encoder=replace(model.encoder, units=6)),
    ):
        with pytest.raises(UsageError, match=needs):
            prepare_session(replace(kept, model=part))
    assert prepare_session(replace(kept, model=replace(model, ctc_weight=0.0))).mwer.nbest == 2


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("data.noise.folders", "[noise]"),
        ("model.specaugment.pitch_hidden", "0.1"),
        ("model.specaugment.tone_range", "2.0"),
        ("model.encoder.peephole.full", "true"),
        ("model.decoder.peephole.output_sees", "old"),
        ("model.encoder.regularisation.variational", "true"),
        ("model.decoder.regularisation.variational", "true"),
    ],
)
def test_what_would_do_nothing_is_refused_of_new_runs_and_read_of_older_ones(
    name: str, setting: str, tmp_path: Path, arrays: list[np.ndarray]
) -> None:
    plain = override(config(tmp_path), {"model.encoder.dropout": "0", "model.decoder.dropout": "0"})
    session = prepare_session(plain)
    idle = override(plain, {name: setting})
    with pytest.raises(UsageError, match=f"^{name.removesuffix('.full').removesuffix('.output_sees')}: would do no"):
        prepare_session(replace(idle, name="idle"))
    assert [one.name for one in session.run.path.parent.iterdir()] == ["toy"]
    path = save(replace(session, record={**session.record, "config": as_recorded(idle)}))
    write_whole(session.run.config, to_yaml(idle))
    model, _ = restore(path, "last")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in session.model.state_dict().items())
    assert with_start_of(session.run, load_yaml(session.run.config, FitConfig)) == idle


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
@pytest.mark.parametrize(("before", "after"), [({}, {"zoneout": 0.2}), ({"recurrent_dropout": 0.2}, {})])
def test_a_regularised_encoder_takes_the_weights_of_a_plain_one(
    cell: str,
    before: dict,
    after: dict,
    tmp_path: Path,
    arrays: list[np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = {"units": 4, "reductions": [2], "cell": cell}
    source = prepare_session(config(tmp_path, encoder=encoder | {"regularisation": before}))
    with torch.no_grad():
        for parameter in source.model.parameters():
            parameter.uniform_(-1, 1)
    path = save(source)
    session = prepare_session(config(tmp_path, "other", path, encoder=encoder | {"regularisation": after}))
    pairs = zip(source.model.state_dict().values(), session.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    capsys.readouterr()
    features = {"kind": "precomputed", "bins": 3, "deltas": 1}
    changed = {"features": features, "encoder": encoder | {"regularisation": after}}
    prepare_session(config(tmp_path, "deltas", path, **changed))
    assert "warning: of another shape in " in capsys.readouterr().err


def test_a_run_with_nothing_in_common_is_refused(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    session = prepare_session(config(tmp_path))
    write_atomically({"state_dict": {"model.x": torch.ones(2)}, "seq2seq_asr": {"format": FORMAT}}, session.run.last)
    with pytest.raises(CheckpointError, match="no weight agrees"):
        initialise(session.model, session.tokenizer, session.run.path)


@pytest.mark.parametrize(("probability", "warnings"), [(0.0, 1), (0.5, 0)])
def test_speeds_that_are_never_drawn_are_warned_of(
    probability: float, warnings: int, tmp_path: Path, arrays: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = config(tmp_path)
    speed = replace(plain.data.speed, factors=(0.8, 1.2), probability=probability)
    prepare_session(replace(plain, data=replace(plain.data, speed=speed)))
    assert capsys.readouterr().err.count("warning: no speed of data.speed.factors is drawn") == warnings


@pytest.mark.parametrize("reductions", [[2, 1], [8], [3, 2]])
def test_utterances_that_ctc_cannot_align_are_warned_of(
    reductions: list[int], tmp_path: Path, arrays: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of which PyTorch's CTC says so itself: its loss is infinite."""
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    texts = ["ab", "abc", "abca", "aab", "aaa", "b", "aabbc", "abcabc", "aaaa", "abcabcab"]
    entries = [json.loads(line) | {"text": text, "id": text} for line, text in zip(lines, texts, strict=True)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    encoder = {"units": 4, "reductions": reductions}
    session = prepare_session(config(tmp_path, encoder=encoder))
    model, told = session.model, capsys.readouterr().err
    assert isinstance(model, Seq2Seq)
    impossible = []
    for one, array in zip(session.train, arrays, strict=True):
        encoded = model.encode(torch.tensor(array)[None], torch.tensor([len(array)]))
        log_probs, tokens = model.ctc_log_probs(encoded)[0], torch.tensor(session.tokenizer.encode(one.text))
        if torch.nn.functional.ctc_loss(log_probs, tokens, encoded.lengths[0], torch.tensor(len(tokens))).isinf():
            impossible.append(one.id)
    assert (len(impossible) > 0) == (reductions != [2, 1])
    count, some = len(impossible), ", ".join(impossible[:3])
    warning = f"warning: {count} utterances have too few encoded frames for CTC, such as {some}\n"
    assert warning in told if impossible else "warning" not in told
    prepare_session(config(tmp_path, encoder=encoder, ctc_weight=0.0))
    assert "too few" not in capsys.readouterr().err


def test_a_failed_preparation_leaves_the_name_free(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    (tmp_path / "dev.jsonl").unlink()
    with pytest.raises(ManifestError):
        prepare_session(config(tmp_path))
    (tmp_path / "dev.jsonl").write_bytes((tmp_path / "train.jsonl").read_bytes())
    assert prepare_session(config(tmp_path)).run.name == "toy"


def test_processes_that_lightning_starts_share_the_folder(
    tmp_path: Path, arrays: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_session(config(tmp_path))
    first = prepare_session(config(tmp_path))
    capsys.readouterr()
    monkeypatch.setenv("LOCAL_RANK", "1")
    second = prepare_session(config(tmp_path))
    assert second.run == first.run == RunFolder(tmp_path / "runs" / "toy-2")
    assert second.tokenizer.hash == first.tokenizer.hash
    assert capsys.readouterr().err == ""


def test_processes_of_torchrun_meet_in_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with claimed_run(tmp_path, "toy") as run:
        write_whole(run.config, "name: toy\n")
    with pytest.raises(CheckpointError, match="exists already; use --resume"), claimed_run(tmp_path, "toy"):
        raise AssertionError
    monkeypatch.setenv("RANK", "1")
    with claimed_run(tmp_path, "toy") as other:
        assert other == run
    assert run.config.exists()


def test_waiting_ends_with_the_config_or_with_an_error(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)

    def write_late() -> None:
        time.sleep(0.2)
        write_whole(run.config, "x: 1\n")

    with pytest.raises(CheckpointError, match="did not prepare"):
        wait_for(run, seconds=0.1)
    thread = threading.Thread(target=write_late)
    thread.start()
    assert wait_for(run, seconds=30.0) is run
    thread.join()
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_changed_settings_leave_out_what_trains_nothing() -> None:
    before = {"seed": 1, "name": "a", "data": {"workers": 0, "speed": {"probability": 1.0}}, "logging": {"every": 10}}
    after = {"seed": 2, "name": "b", "data": {"workers": 4, "speed": {"probability": 0.5}}, "logging": {"every": 1}}
    before["model"], after["model"] = {"kernels": "off"}, {"kernels": "auto"}
    assert changed_settings(before, after) == {"seed": "1 → 2", "data.speed.probability": "1.0 → 0.5"}
    assert flat(before)["data.speed.probability"] == 1.0
    assert changed_settings(before, before) == {}


def test_a_setting_that_an_older_record_lacks_has_its_default() -> None:
    before, after = ({"optimizer": {"lr": 0.1} | newer} for newer in ({}, {"ema_decay": 0.0}))
    assert changed_settings(before, after) == {}
    assert changed_settings(before, {"optimizer": {"lr": 0.1, "ema_decay": 0.5}}) == {
        "optimizer.ema_decay": "0.0 → 0.5"
    }
