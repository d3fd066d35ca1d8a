"""Hands the loaders to Lightning, and remembers how far the epoch has come."""

import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from seq2seq_asr.data.batching import plan_epoch
from seq2seq_asr.data.dataset import InputReader
from seq2seq_asr.data.loading import DataConfig, evaluation_loader, training_loader
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.training.signals import SIGNALS
from seq2seq_asr.training.trace import Trace, TracedReader, shared_trace


class Feeding(pl.LightningDataModule):
    """Training and validation batches of this rank.

    Its state is (epoch, global batches consumed): a resumed run seeks there, also with another number of
    processes, and sees every utterance of the epoch exactly once.
    """

    def __init__(
        self,
        train: Sequence[Utterance],
        dev: Sequence[Utterance],
        tokenizer: Targets,
        config: DataConfig,
        reader: InputReader,
        *,
        seed: int,
        timeout: float = 300.0,
    ) -> None:
        super().__init__()
        self.train, self.dev, self.tokenizer, self.config, self.seed = train, dev, tokenizer, config, seed
        self.reader, self.timeout = reader, timeout
        self.position = (0, 0)
        self.traces: list[Trace] = []
        self.loaders: list[Any] = []

    def train_dataloader(self) -> DataLoader:
        """This rank's share of the planned batches, from where the run stands."""
        reader, place = self._traced(), self._place()
        loader = training_loader(self.train, self.tokenizer, self.config, reader, seed=self.seed, **place)
        loader.batch_sampler.seek(*self.position)  # type: ignore[union-attr]
        return self._shielded(loader)

    def val_dataloader(self) -> DataLoader:
        """This rank's share of the fixed validation subset."""
        loader = evaluation_loader(self.dev, self.tokenizer, self.config, self._traced(), **self._place())
        return self._shielded(loader)

    def training_plan(self) -> list[np.ndarray]:
        """The global batches of the first epoch; the largest of other epochs are about as large."""
        durations = np.array([utterance.duration for utterance in self.train])
        return plan_epoch(durations, self.config.batching, self.seed, epoch=0)

    def suspect(self, message: str) -> str | None:
        """The utterance to blame for a loader's error message, if a worker was reading one."""
        return next((id for trace in self.traces if (id := trace.suspect(message))), None)

    def kill_workers(self) -> None:
        """End all data workers at once; torch must not hear of it, for it would raise wherever we are then."""
        before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for trace in self.traces:
            trace.kill()
        for loader in self.loaders:
            if loader._iterator is not None:
                loader._iterator._shutdown_workers()
        signal.signal(signal.SIGCHLD, before)

    def _traced(self) -> InputReader:
        if self.config.workers == 0:
            return self.reader
        self.traces.append(shared_trace(self.config.workers))
        return TracedReader(self.reader, self.traces[-1])

    def _shielded(self, loader: DataLoader) -> DataLoader:
        """Signals to the whole process group are for the training process, which ends its workers itself.

        For a GPU, batches wait in memory from which they can be copied while it computes.
        """
        loader.worker_init_fn = _ignore_signals
        loader.pin_memory = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        loader.timeout = self.timeout if self.config.workers else 0
        self.loaders.append(loader)
        return loader

    def _place(self) -> dict[str, int]:
        return {"rank": self.trainer.global_rank, "world": self.trainer.world_size} if self.trainer else {}

    def state_dict(self) -> dict[str, Any]:
        """Epoch and global batches of it that were trained on."""
        assert self.trainer is not None
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        consumed = 0 if epochs.processed > epochs.completed else batches.processed
        return {"epoch": epochs.processed, "consumed": consumed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Seek on resume."""
        self.position = (state_dict["epoch"], state_dict["consumed"])


def _ignore_signals(worker: int) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
