"""``python -m seq2seq_asr.fit`` as a user meets it: exit codes, one line an error, resume, folders."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from seq2seq_asr.console import exit_code_of
from seq2seq_asr.fit import main, parse_fit
from seq2seq_asr.training import claim, metrics, module
from seq2seq_asr.training.checkpoint import read_checkpoint, write_atomically
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.wandb_log import without_places

SETTINGS: dict[str, Any] = {
    "name": "toy",
    "data": {
        "train": ["train.jsonl"],
        "dev": ["dev.jsonl"],
        "batching": {"batch_seconds": 1.2, "max_utterances": 4},
        "speed": {"probability": 0.0},
    },
    "tokenizer": {"kind": "char", "vocabulary_size": 16},
    "model": {
        "features": {"kind": "precomputed", "bins": 4},
        "specaugment": {"frequency_masks": 0, "time_masks": 0},
        "encoder": {"units": 8, "reductions": [2]},
        "attention": {"size": 8, "filters": 2, "width": 3},
        "decoder": {"units": 8, "embedding": 4},
    },
    "trainer": {"epochs": 2, "accelerator": "cpu", "devices": 1, "precision": "32-true"},
    "logging": {"wandb": "off", "examples": 0},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw_no_curves: None) -> Path:
    """A folder with ``toy.yaml`` and a corpus of features, made the working directory."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("dev", 3)):
        with open(f"{split}.jsonl", "w") as file:
            for index in range(count):
                name, frames = f"{split}-{index}.npy", 12 + 4 * (index % 3)
                np.save(name, draw.normal(size=(frames, 4)).astype(np.float32))
                text = "".join(draw.choice(list("abc"), size=1 + index % 3))
                file.write(json.dumps({"features_filepath": name, "duration": frames / 100, "text": text}) + "\n")
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(SETTINGS))
    return tmp_path


def fit(*flags: str) -> int:
    return exit_code_of(main, list(flags))


def train(*flags: str) -> int:
    return fit("--config", "toy.yaml", *flags)


def test_a_run_has_its_files_and_a_second_one_gets_a_number(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    out, err = capsys.readouterr()
    assert out == "next: python -m seq2seq_asr.decode --run checkpoints/toy --beam 8\n"
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    files = {path.name for path in (home / "checkpoints" / "toy").iterdir()}
    assert {"config.yaml", "tokenizer.model", "last.ckpt", "best.ckpt", "metrics.csv"} <= files
    assert not any(name.startswith(".") for name in files)

    assert train() == 0
    assert parse_fit(["--config", "checkpoints/toy-2/config.yaml"]).name == "toy-2"


def test_resume_of_a_finished_run_says_so_and_more_epochs_train_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    files = [path for path in (home / "checkpoints/toy").rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    capsys.readouterr()
    for flags in ((), ("--optimizer.lr", "0.5", "--trainer.epochs", "1")):
        assert fit("--resume", "--name", "toy", *flags) == 0
        assert "all 2 epochs are done; more with --trainer.epochs" in capsys.readouterr().err
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before

    assert fit("--resume", "--name", "toy", "--trainer.epochs", "3") == 0
    assert "resuming with changed settings: trainer.epochs 2 → 3" in capsys.readouterr().err
    assert [row["epoch"] for row in metrics.read_rows(home / "checkpoints/toy/metrics.csv")] == ["0", "1", "2"]
    again = parse_fit(["--config", "checkpoints/toy/config.yaml"])
    assert again.trainer.epochs == 3 and not again.resume


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (["--name", "none"], 2, "error: --resume: no run to resume, checkpoints/none/config.yaml does not exist"),
        (["--model.decoder.units", "9"], 2, "model.decoder.units cannot change (8 → 9)"),
        (["--tokenizer.kind", "bpe"], 2, "tokenizer.kind cannot change (char → bpe)"),
        (["--init_from", "checkpoints/toy"], 2, "init_from cannot change (None → checkpoints/toy)"),
        (["--init_from", "checkpoints/toy", "--keep_tokenizer"], 2, "init_from cannot change"),
        (["--data.train", "missing.jsonl", "--data.dev", "dev.jsonl"], 1, "missing.jsonl"),
    ],
)
def test_what_cannot_be_resumed_is_told_in_one_line(
    flags: list[str], code: int, told: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "checkpoints/toy/config.yaml").read_bytes()
    assert fit("--resume", "--name", "toy", *flags) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert (trained / "checkpoints/toy/config.yaml").read_bytes() == before


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"folder": tmp_path_factory.mktemp("trained")}


@pytest.fixture
def trained(home: Path, kept: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run, trained once for all tests that only read it."""
    if "run" not in kept:
        home.rename(kept["folder"] / "home")
        kept["run"] = kept["folder"] / "home"
        monkeypatch.chdir(kept["run"])
        assert train() == 0
    monkeypatch.chdir(kept["run"])
    return kept["run"]


def test_resume_without_a_checkpoint_says_what_to_do(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = trained / "checkpoints" / "broken"
    broken.mkdir()
    for name in ("config.yaml", "tokenizer.model"):
        (broken / name).write_bytes((trained / "checkpoints/toy" / name).read_bytes())
    capsys.readouterr()
    assert fit("--resume", "--name", "broken") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "last.ckpt is missing" in line and "train again without --resume" in line


def test_a_run_begun_from_another_one_can_be_resumed(trained: Path) -> None:
    assert train("--name", "tuned", "--init_from", "checkpoints/toy", "--trainer.epochs", "1") == 0
    assert fit("--resume", "--name", "tuned", "--trainer.epochs", "2") == 0


def test_a_run_that_keeps_a_tokenizer_is_resumed_by_its_own_command_without_its_source(trained: Path) -> None:
    shutil.copytree(trained / "checkpoints" / "toy", trained / "checkpoints" / "source")
    flags = ("--name", "kept", "--tokenizer.kind", "bpe", "--init_from", "checkpoints/source", "--keep_tokenizer")
    assert train(*flags, "--trainer.epochs", "1") == 0
    shutil.rmtree(trained / "checkpoints" / "source")
    assert train(*flags, "--resume") == 0
    assert read_checkpoint(trained / "checkpoints/kept/last.ckpt")["Feeding"] == {"epoch": 2, "consumed": 0}
    kept = parse_fit(["--config", "checkpoints/kept/config.yaml"])
    assert kept.tokenizer.kind == "char"
    assert train("--name", "kept", "--resume", "--trainer.epochs", "3") == 0, "what it began from may be left out"
    again = parse_fit(["--config", "checkpoints/kept/config.yaml"])
    assert (again.init_from, again.keep_tokenizer) == (kept.init_from, True) and again.tokenizer == kept.tokenizer


def test_a_run_with_a_model_of_pieces_is_resumed_by_its_own_command(trained: Path) -> None:
    flags = ("--name", "pieces", "--tokenizer.model", "checkpoints/toy/tokenizer.model", "--tokenizer.kind", "bpe")
    assert train(*flags, "--trainer.epochs", "1") == 0
    assert train(*flags, "--resume") == 0
    assert fit("--resume", "--name", "pieces", "--trainer.epochs", "3") == 0
    last = trained / "checkpoints/pieces/last.ckpt"
    older = read_checkpoint(last)
    older["seq2seq_asr"]["config"]["tokenizer"] |= {"kind": "unigram", "vocabulary_size": 999, "normaliser": "basic"}
    write_atomically(older, last)
    assert fit("--resume", "--name", "pieces", "--trainer.epochs", "4") == 0, "it told what was asked for, in vain"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data.train", "missing.jsonl", "--data.dev", "dev.jsonl"], "missing.jsonl"),
        (["--data.max_seconds", "0.001", "--data.min_seconds", "0"], "no training utterance"),
        (
            ["--model.features.kind", "fbank", "--data.noise.probability", "1", "--data.noise.folders", "nowhere"],
            "nowhere: no folder with",
        ),
        (["--init_from", "nowhere"], "nowhere: no such run folder"),
    ],
)
def test_what_fails_before_the_first_step_leaves_no_folder(
    home: Path, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*flags) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and told in line
    assert not list((home / "checkpoints").iterdir())


def test_an_unwritable_folder_is_told_before_anything_is_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "file").write_text("")
    assert train("--checkpoints", "file", "--data.train", "missing.jsonl", "--data.dev", "dev.jsonl") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: file/toy: cannot be created")


@pytest.mark.parametrize("seed", [-1, 2**32, 20240131123])
def test_a_seed_out_of_range_is_told_before_anything_is_made(
    home: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(f"--seed={seed}") == 2
    assert capsys.readouterr() == ("", f"error: seed: must be from 0 to 4294967295, got {seed}\n")
    assert not (home / "checkpoints").exists()
    assert parse_fit(["--seed", "4294967295"]).seed == 2**32 - 1
    module.seed_step(2**32 - 1, 10**12, 4098)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_damaged_file_met_while_training_is_one_line(
    home: Path, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "train-5.npy").write_bytes(b"no array")
    assert train("--data.workers", workers) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and "train-5.npy: not a .npy array" in line
    assert "Traceback" not in line and "Caught" not in line


def test_a_loss_that_stays_nan_ends_with_code_1_and_the_last_sound_weights(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, steps = module.Recognition.losses, iter(range(10_000))

    def spoilt(*arguments: Any) -> Any:
        losses = usual(*arguments)
        return losses._replace(total=losses.total * float("nan")) if next(steps) >= 3 else losses

    monkeypatch.setattr(module.Recognition, "losses", spoilt)
    flags = ("--trainer.max_skipped", "2", "--trainer.save_minutes", "0", "--data.batching.max_utterances", "1")
    assert train(*flags) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "error: 3 steps in a row had a loss or gradient that is not finite"
    assert [line.split(":")[0] for line in lines if "skipped" in line] == [f"step {n} skipped" for n in (3, 4, 5)]
    weights = read_checkpoint(home / "checkpoints/toy/last.ckpt")["state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_flipped_bit_in_the_last_state_costs_one_save_and_is_told_loudly(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    run = home / "checkpoints" / "toy"
    with zipfile.ZipFile(run / "last.ckpt") as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content = bytearray((run / "last.ckpt").read_bytes())
    content[largest.header_offset + largest.file_size // 2] ^= 4
    (run / "last.ckpt").write_bytes(content)
    capsys.readouterr()
    assert fit("--resume", "--name", "toy", "--trainer.epochs", "3") == 0
    told = capsys.readouterr().err
    assert "WARNING: checkpoints/toy/last.ckpt: damaged, or not a checkpoint of seq2seq_asr (the CRC-32 of " in told
    assert "going on from the older checkpoints/toy/" in told and "renamed checkpoints/toy/last.ckpt" in told
    assert [row["epoch"] for row in metrics.read_rows(run / "metrics.csv")] == ["0", "1", "2"]
    for path in run.glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:500])
    assert fit("--resume", "--name", "toy", "--trainer.epochs", "4") == 1
    assert "neither previous.ckpt nor best.ckpt is complete either" in capsys.readouterr().err.splitlines()[-1]


def test_two_trainings_of_one_run_refuse_each_other(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claim, "PATIENCE", 0.2)
    run = trained / "checkpoints" / "toy"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with claim.held(RunFolder(run)):
        assert fit("--resume", "--name", "toy", "--trainer.epochs", "3") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: checkpoints/toy: another training writes there"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_state_of_another_shape_is_not_resumed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained / "checkpoints" / "forged"
    shutil.copytree(trained / "checkpoints" / "toy", run)
    contents = read_checkpoint(run / "last.ckpt")
    contents["state_dict"]["model.decoder.output.bias"] = torch.zeros(3)
    write_atomically(contents, run / "last.ckpt")
    before = (run / "last.ckpt").read_bytes()
    capsys.readouterr()
    assert fit("--resume", "--name", "forged", "--trainer.epochs", "3") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: checkpoints/forged/last.ckpt: weights do not fit the model of config.yaml: ")
    assert "decoder.output.bias is 3, not " in line and (run / "last.ckpt").read_bytes() == before


def another_run(home: Path, name: str, state: str) -> Path:
    """A copy of the finished run under another name, as it was when the state was saved."""
    run = home / "checkpoints" / name
    shutil.copytree(home / "checkpoints" / "toy", run)
    contents = read_checkpoint(run / state)
    write_atomically(contents, run / "last.ckpt")
    return run


def test_an_epoch_half_done_goes_on_with_its_own_utterances_alone(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    another_run(trained, "half", "previous.ckpt")
    assert read_checkpoint(trained / "checkpoints/half/last.ckpt")["Feeding"]["consumed"] > 0
    lines = (trained / "train.jsonl").read_text().splitlines(keepends=True)
    (trained / "fewer.jsonl").write_text("".join(lines[1:]))
    (trained / "moved.jsonl").write_text("".join(lines))
    before = (trained / "checkpoints/half/config.yaml").read_bytes()
    capsys.readouterr()
    resume = ("--resume", "--name", "half", "--data.dev", "dev.jsonl", "--data.train")
    assert fit(*resume, "fewer.jsonl") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: checkpoints/half/last.ckpt: an epoch is half done, and data.train holds other")
    for flags in (["--seed", "9"], ["--data.batching.max_utterances", "1"]):
        assert fit("--resume", "--name", "half", *flags) == 2
        assert "cannot change while an epoch is half done" in capsys.readouterr().err
    assert (trained / "checkpoints/half/config.yaml").read_bytes() == before
    assert fit(*resume, "moved.jsonl") == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "dev"])
def test_other_utterances_at_the_start_of_an_epoch_are_warned_of(
    trained: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    another_run(trained, f"other_{split}", "last.ckpt")
    lines = (trained / f"{split}.jsonl").read_text().splitlines(keepends=True)
    (trained / "fewer.jsonl").write_text("".join(lines[1:]))
    capsys.readouterr()
    other = {"train": "train.jsonl", "dev": "dev.jsonl", split: "fewer.jsonl"}
    changed = ("--data.train", other["train"], "--data.dev", other["dev"], "--trainer.epochs", "3")
    for flags, warnings in (((), 0), (changed, 1), ((), 0)):
        assert fit("--resume", "--name", f"other_{split}", *flags) == 0
        text = f"warning: data.{split} holds other utterances than "
        assert capsys.readouterr().err.count(text) == warnings


def test_a_job_that_slurm_restarts_resumes_by_itself_what_it_has_begun(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where its script has no srun, and the name had got a number."""
    (home / "checkpoints" / "toy").mkdir(parents=True)  # of last week
    (home / "checkpoints" / "toy" / "config.yaml").write_bytes((home / "toy.yaml").read_bytes())
    (home / "checkpoints" / "toy" / "last.ckpt").write_bytes(b"")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv(claim.RUN_VARIABLE, "")  # to be as before when the test ends
    flags = ["--config", "toy.yaml", "--trainer.epochs", "1"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not parse_fit(flags).resume, "nothing was begun"
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert fit(*flags) == 0
    assert not parse_fit(flags).resume
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    resumed = parse_fit(flags)
    assert (resumed.name, resumed.resume) == ("toy-2", True)
    capsys.readouterr()
    assert fit(*flags) == 0
    assert "checkpoints/toy-2: all 1 epochs are done" in capsys.readouterr().err
    for state in (home / "checkpoints" / "toy-2").glob("*.ckpt"):
        state.unlink()
    assert not parse_fit(flags).resume, "nothing was saved"


def names_of(folder: Path, *words: str) -> list[str]:
    """Files below a folder that hold one of the words, not within a longer one: a machine may be called vm."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    whole = {word: re.compile(rb"(?<!\w)" + re.escape(word.encode()) + rb"(?!\w)") for word in words}
    return [
        f"{path.relative_to(folder)}: {word}"
        for path in files
        for word, pattern in whole.items()
        if pattern.search(path.read_bytes())
    ]


def test_a_run_folder_tells_nothing_of_the_machine_or_its_owner(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "c0ffee" * 7
    for name in ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("HOME", str(home))
    words = (key, str(home), str(home.resolve()), socket.gethostname())
    assert train("--logging.wandb", "offline") == 0
    run = home / "checkpoints" / "toy"
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    assert names_of(run, *words) == []
    assert train("--logging.wandb", "offline", "--name", "whole", "--checkpoints", str(home / "checkpoints")) == 0
    whole = home / "checkpoints" / "whole"
    assert list(whole.glob("wandb/offline-run-*/logs/debug.log")) and names_of(whole / "wandb", *words) == []
    (run / "wandb" / "canary").write_text(f"at {home}")
    assert names_of(run, str(home)) == [f"wandb/canary: {home}"]


def test_absolute_paths_are_cut_down_for_wandb() -> None:
    config = {"data": {"train": ["/home/ann/train.jsonl", "dev.jsonl"], "root": "~/audio"}, "seed": 1}
    assert without_places(config) == {"data": {"train": ["…/train.jsonl", "dev.jsonl"], "root": "…/audio"}, "seed": 1}


def test_sigint_of_the_program_and_resume(home: Path) -> None:
    command = [sys.executable, "-m", "seq2seq_asr.fit"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--config", "toy.yaml", "--trainer.epochs", "5000", "--trainer.validate_every", "5000"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    lines = [line for line in told.splitlines() if not line.startswith("epoch")]
    assert lines[0] == "SIGINT: finishing the step, then saving; once more stops at once"
    assert lines[1].startswith("stopped after step ") and lines[1].endswith("; --resume goes on from there")
    assert len(lines) == 2
    done = read_checkpoint(home / "checkpoints/toy/last.ckpt")["Feeding"]["epoch"]
    assert fit("--resume", "--name", "toy", "--trainer.epochs", str(done + 1)) == 0
    rows = metrics.read_rows(home / "checkpoints/toy/metrics.csv")
    assert [int(row["epoch"]) for row in rows] == list(range(done + 1))
