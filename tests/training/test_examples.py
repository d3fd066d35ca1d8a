"""A few validation utterances to look at, in the run folder and in W&B, which never stands in the way."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
import torch

from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.dataset import SpeechDataset, collate
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.training.datamodule import Feeding
from seq2seq_asr.training.examples import (
    example_media,
    file_name,
    first_examples,
    heading,
    plot_example,
    transcribe_with_attention,
)
from seq2seq_asr.training.metrics import read_rows
from seq2seq_asr.training.plots import attention_figure
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.session import Session, build_parts, train
from seq2seq_asr.training.settings import LoggingConfig
from seq2seq_asr.vocabulary import EOS

Build = Callable[..., Session]


def with_logs(session: Session, mode: Literal["offline", "off"] = "offline", every: int = 1) -> Session:
    logging = LoggingConfig(wandb=mode, examples=2, every=every)
    return replace(session, logging=logging, record={"config": {"seed": 3, "marker": "resolved-config"}})


@pytest.fixture
def parts(toy_session: Build) -> tuple[Session, torch.nn.Module, Feeding]:
    session = toy_session()
    module, feeding = build_parts(session)
    return session, module.eval(), feeding


def test_examples_are_the_first_of_dev_and_their_attention_sums_to_one(parts) -> None:
    session, module, feeding = parts
    batch = first_examples(feeding, 3)
    assert batch.ids == tuple(one.id for one in session.dev[:3])
    for example in transcribe_with_attention(module.model, session.tokenizer, batch):
        assert example.alignment.shape[0] == len(example.pieces)
        assert example.alignment.sum(axis=1) == pytest.approx(np.ones(len(example.pieces)), abs=1e-5)
        assert session.tokenizer.decode(session.tokenizer.encode(example.reference)) == example.reference


def test_only_a_transcript_that_ended_has_an_end_in_its_plot(parts) -> None:
    session, module, feeding = parts
    batch = first_examples(feeding, 2)
    for bias, ends in ((20.0, True), (-20.0, False)):
        module.model.decoder.output.bias.data[EOS] = bias
        for example in transcribe_with_attention(module.model, session.tokenizer, batch):
            assert ("</s>" in example.pieces) is ends and example.alignment.shape[0] == len(example.pieces) > 0


def test_without_attention_there_are_transcripts_and_no_plots(toy_session: Build) -> None:
    session = with_logs(toy_session(epochs=1), "off")
    assert isinstance(session.model, Seq2Seq)
    config = replace(session.model.config, attention=AttentionConfig(kind="none"))
    session = replace(session, model=Seq2Seq(config, len(session.tokenizer)))
    train(session)
    assert not list(session.run.plots.glob("attention_*.png"))
    module, feeding = build_parts(session)
    assert isinstance(module.model, Seq2Seq) and isinstance(session.tokenizer, Tokenizer)
    examples = transcribe_with_attention(module.model, session.tokenizer, first_examples(feeding, 2))
    assert example_media(examples, []).keys() == {"examples/transcripts"}


def test_an_example_is_the_same_alone_and_in_company(parts) -> None:
    session, module, feeding = parts
    together = transcribe_with_attention(module.model, session.tokenizer, first_examples(feeding, 4))
    dataset = SpeechDataset(session.dev, session.tokenizer, input_reader(session.model.features))
    for place, example in enumerate(together):
        (alone,) = transcribe_with_attention(module.model, session.tokenizer, collate([dataset[Item(place, 0)]]))
        assert alone.hypothesis == example.hypothesis and alone.pieces == example.pieces
        assert alone.alignment == pytest.approx(example.alignment, abs=1e-5)


def test_a_plot_is_named_after_its_utterance_within_the_folder(parts, tmp_path: Path) -> None:
    session, module, feeding = parts
    (example, *_) = transcribe_with_attention(module.model, session.tokenizer, first_examples(feeding, 1))
    path = plot_example(example._replace(id="../a b/ü"), tmp_path / "plots", 0.02)
    assert path.parent == tmp_path / "plots" and path.read_bytes().startswith(b"\x89PNG")
    assert plot_example(example._replace(id="语" * 83), tmp_path / "plots", 0.02).is_file(), "249 bytes"


def test_a_plot_says_what_was_said_and_what_was_recognised(parts) -> None:
    session, module, feeding = parts
    (example, *_) = transcribe_with_attention(module.model, session.tokenizer, first_examples(feeding, 1))
    assert heading(example._replace(hypothesis=example.reference)) == example.reference
    figure = attention_figure(example.alignment, example.pieces, 0.02, heading(example._replace(hypothesis="oh")))
    title = figure.axes[0].get_title(loc="left")
    assert title.splitlines() == [f"reference: {example.reference}", "hypothesis: oh"]


def test_ids_that_differ_have_files_that_differ() -> None:
    names = [file_name(id) for id in ("a_1", "a:1", "a/1", "x" * 200, "x" * 201, "语" * 83)]
    assert len(set(names)) == len(names) and names[0] == "a_1"
    assert all(len(name.encode()) < 170 for name in names)


def test_a_plot_that_cannot_be_written_ends_no_training(toy_session: Build, capsys: pytest.CaptureFixture) -> None:
    session = toy_session(epochs=1)
    session = replace(session, logging=replace(session.logging, examples=1))
    session.run.plots.write_text("a file, where a folder is wanted")
    train(session)
    told = capsys.readouterr().err
    assert "warning: attention is not drawn" in told and "warning: learning curves are not drawn" in told
    assert read_rows(session.run.metrics)[0]["epoch"] == "0" and session.run.best.is_file()


def test_offline_logs_hold_what_one_wants_to_look_at(toy_session: Build, tones, capfd: pytest.CaptureFixture) -> None:
    session = with_logs(toy_session(epochs=2))
    train(session)
    (offline,) = session.run.path.glob("wandb/offline-run-*")
    media = offline / "files" / "media"
    assert len(list(media.glob("images/attention/*.png"))) == 2 * 2
    assert len(list(media.glob("audio/examples/*.wav"))) == 2
    lengths = {soundfile.info(str(path)).frames for path in media.glob("audio/examples/*.wav")}
    assert lengths == {round(one.duration * 8000) for one in tones[:2]}
    tables = sorted(media.glob("table/examples/*.json"), key=lambda path: path.stat().st_mtime)
    table = json.loads(tables[-1].read_text())
    assert table["columns"] == ["id", "reference", "hypothesis", "WER"]
    assert [row[:2] for row in table["data"]] == [[one.id, one.text] for one in tones[:2]]
    (log,) = offline.glob("*.wandb")
    for wanted in (b"resolved-config", b"val_wer", b"train/loss"):
        assert wanted in log.read_bytes()
    assert {path.name for path in session.run.plots.iterdir()} == {
        "learning_curves.png",
        "attention_health.png",
        *(f"attention_{one.id}.png" for one in tones[:2]),
    }
    out, err = capfd.readouterr()
    assert out == "" and all(line.startswith("epoch ") for line in err.splitlines())


def test_a_resumed_run_is_the_same_in_wandb_and_in_its_folder_wherever_wandbs_service_was_started(
    toy_session: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(with_logs(toy_session(epochs=1)))
    monkeypatch.chdir("/")
    session = with_logs(toy_session(epochs=2), every=0)  # no step has its loss logged then
    train(session, resume=True)
    logs = list(session.run.path.glob("wandb/offline-run-*/*.wandb"))
    assert len(logs) == 2 and len({log.parent.name.rsplit("-", 1)[1] for log in logs}) == 1


def test_wandb_off_writes_nothing_of_it(toy_session: Build) -> None:
    session = with_logs(toy_session(epochs=1), "off")
    train(session)
    assert not (session.run.path / "wandb").exists()
    assert (session.run.plots / "attention_0.png").exists()


def test_training_goes_on_where_wandb_cannot_write(toy_session: Build, capsys: pytest.CaptureFixture[str]) -> None:
    session = with_logs(toy_session(epochs=1))
    (session.run.path / "wandb").write_text("in the way")
    train(session)
    assert session.run.best.is_file()
    told = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
    assert len(told) == 1 and told[0].endswith("metrics.csv goes on")
