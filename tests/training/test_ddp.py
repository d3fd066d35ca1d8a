"""Two gloo processes train as one does: the same batches, gradients and figures, one folder, one log."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seq2seq_asr.data.manifest import write_manifest
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.metrics import read_rows

EPOCHS = 2
SETTINGS: dict[str, Any] = {
    "data": {"batching": {"batch_seconds": 1.2, "max_utterances": 3}, "speed": {"probability": 0.0}},
    "tokenizer": {"kind": "char", "vocabulary_size": 16},
    "model": {
        "features": {"rate": 8000, "bins": 16},
        "specaugment": {"frequency_masks": 0, "time_masks": 0},
        "encoder": {"units": 24, "reductions": [2, 1], "dropout": 0.0},
        "attention": {"size": 16, "filters": 2, "width": 5},
        "decoder": {"units": 32, "embedding": 8, "dropout": 0.0},
    },
    "trainer": {
        "epochs": EPOCHS,
        "accelerator": "cpu",
        "precision": "32-true",
        "save_minutes": 0.0,
        "validate_every": 1,
    },
    "logging": {"examples": 2, "every": 1},
}
# Trains as fit does, and notes the utterances and the gradient of every step of each rank.
DRIVER = """
import json, os, sys, torch
from pytorch_lightning.callbacks import Callback
from seq2seq_asr.console import run_entry_point
from seq2seq_asr.fit import parse_fit
from seq2seq_asr.commands.fit.preparation import prepare_session
from seq2seq_asr.training.session import train


class Stop(Exception):
    pass


class Watch(Callback):
    def __init__(self, stop_after):
        self.stop_after, self.steps, self.gradients = stop_after, [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        ids = [id for id, counted in zip(batch.ids, batch.counted.tolist()) if counted]
        self.steps.append((trainer.current_epoch, batch_idx, ids))
        if trainer.global_step == self.stop_after:
            raise Stop

    def on_before_optimizer_step(self, trainer, module, optimizer):
        assert all(parameter.grad is not None for parameter in module.parameters())
        self.gradients.append(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]))

    def on_exception(self, trainer, module, exception):
        self.on_train_end(trainer, module)

    def on_train_end(self, trainer, module):
        name = f"{trainer.default_root_dir}/seen-{trainer.world_size}-{trainer.global_rank}"
        with open(name + ".json", "w") as file:
            json.dump(self.steps, file)
        torch.save(self.gradients, name + ".pt")


def main(argv):
    config = parse_fit(argv)
    session = prepare_session(config)
    train(session, resume=config.resume, extra_callbacks=[Watch(int(os.environ.get("STOP_AFTER", "0")))])
    return 0


if __name__ == "__main__":
    run_entry_point(main)
"""
Seen = list[tuple[int, int, list[str]]]


@pytest.fixture(scope="module")
def folder(tones: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config, manifests and driver; five dev utterances leave the second rank without one at times."""
    folder = tmp_path_factory.mktemp("ddp")
    write_manifest(folder / "train.jsonl", tones)
    write_manifest(folder / "dev.jsonl", tones[:5])
    data = {"train": ["train.jsonl"], "dev": ["dev.jsonl"], **SETTINGS["data"]}
    (folder / "toy.yaml").write_text(yaml.safe_dump({**SETTINGS, "data": data}))
    (folder / "driver.py").write_text(DRIVER)
    return folder


@contextmanager
def launched(folder: Path, *command: str) -> Iterator[subprocess.Popen]:
    """A process that does not outlive the test."""
    strange = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "STOP_AFTER")
    environment = {name: value for name, value in os.environ.items() if name not in strange}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(folder: Path, *command: str) -> str:
    """Run to the end; what was told on stderr."""
    with launched(folder, *command) as process:
        _, told = process.communicate()
        assert process.returncode == 0, told
    return told


def train_here(folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str, stop_after: int = 0) -> None:
    """One process, this one."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STOP_AFTER", str(stop_after))
    namespace: dict[str, Any] = {"__name__": "driver"}
    exec(DRIVER, namespace)
    if stop_after:
        with pytest.raises(namespace["Stop"]):
            namespace["main"](list(flags))
    else:
        namespace["main"](list(flags))


def seen(run: Path, world: int) -> list[Seen]:
    """What each rank trained on."""
    return [json.loads((run / f"seen-{world}-{rank}.json").read_text()) for rank in range(world)]


def gradients(run: Path, world: int, rank: int = 0) -> list[torch.Tensor]:
    return torch.load(run / f"seen-{world}-{rank}.pt", weights_only=True)


def together(ranks: list[Seen]) -> list[tuple[int, int, list[str]]]:
    """Utterances of every global batch, whichever rank had them."""
    assert len({len(steps) for steps in ranks}) == 1, "ranks took different numbers of steps"
    batches = []
    for steps in zip(*ranks, strict=True):
        epoch, step, _ = steps[0]
        batches.append((epoch, step, sorted(id for _, _, ids in steps for id in ids)))
    return batches


def close(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    return float((one - other).norm()) <= tolerance * float(other.norm())


@pytest.fixture(scope="module")
def one(folder: Path) -> Iterator[Path]:
    """The run of a single process."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        train_here(folder, monkeypatch, "--config", "toy.yaml", "--name", "one", "--logging.wandb", "off")
    yield folder / "checkpoints" / "one"


def test_two_processes_train_as_one(folder: Path, one: Path, tones: list[Utterance]) -> None:
    told = finish(folder, "driver.py", "--config", "toy.yaml", "--name", "two", "--trainer.devices", "2")
    two = folder / "checkpoints" / "two"
    batches = together(seen(two, 2))
    assert batches == together(seen(one, 1))
    for epoch in range(EPOCHS):
        assert sorted(id for at, _, ids in batches if at == epoch for id in ids) == sorted(u.id for u in tones)

    for mine, other in zip(gradients(two, 2, 0), gradients(two, 2, 1), strict=True):
        assert torch.equal(mine, other)
    for number, (mine, single) in enumerate(zip(gradients(two, 2), gradients(one, 1), strict=True)):
        assert close(mine, single, 1e-5 if number == 0 else 1e-2)
    assert_same_figures(two, one)

    assert [path.name for path in two.parent.glob("two*")] == ["two"]
    assert len(list(two.glob("wandb/offline-run-*"))) == 1
    assert told.count("epoch 1/2") == 1 and told.count("parameters") == 1
    assert all(line.startswith(("run ", "train ", "epoch ")) for line in told.splitlines()), told


def assert_same_figures(run: Path, expected: Path) -> None:
    rows, wanted = read_rows(run / "metrics.csv"), read_rows(expected / "metrics.csv")
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in wanted] == ["0", "1"]
    for row, want in zip(rows, wanted, strict=True):
        for name in ("train_loss", "val_loss", "val_accuracy", "gradient_norm"):
            assert float(row[name]) == pytest.approx(float(want[name]), rel=1e-3), name
        # five words in all: any other denominator counts an utterance twice
        assert float(row["val_wer"]) * 5 == pytest.approx(round(float(row["val_wer"]) * 5), abs=1e-4)


@pytest.mark.nightly
def test_one_process_is_resumed_by_torchrun_as_two_in_the_middle_of_an_epoch(
    folder: Path, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = 3
    flags = ("--config", "toy.yaml", "--name", "half", "--logging.wandb", "off")
    train_here(folder, monkeypatch, *flags, stop_after=stop)
    half = folder / "checkpoints" / "half"
    begun = together(seen(half, 1))
    # The watch stops before the step is saved: the save is one step old, and that step comes again.
    saved = read_checkpoint(half / "last.ckpt")["Feeding"]["consumed"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    told = finish(folder, *launcher, "driver.py", "--resume", "--name", "half")
    assert told.count("epoch 2/2") == 1
    assert begun[:saved] + together(seen(half, 2)) == together(seen(one, 1))
    assert_same_figures(half, one)


@pytest.mark.nightly
def test_sigterm_of_the_main_process_stops_and_saves_both(folder: Path) -> None:
    flags = "--config toy.yaml --name term --trainer.devices 2 --trainer.epochs 2000 --logging.wandb off".split()
    with launched(folder, "-m", "seq2seq_asr.fit", *flags) as process:
        told = wait_for_line(process, "epoch 1/2000")
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate()
    assert process.returncode == 143, told + rest
    assert rest.count("SIGTERM: finishing the step") == 1
    assert rest.splitlines()[-1].startswith("stopped after step ")
    step = int(rest.splitlines()[-1].split(";")[0].split()[-1])
    assert step - 1 <= read_checkpoint(folder / "checkpoints" / "term" / "last.ckpt")["global_step"] <= step


def wait_for_line(process: subprocess.Popen, start: str) -> str:
    """Read stderr up to a line that starts so."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith(start):
            return "".join(lines)
    raise AssertionError("".join(lines))
