"""Hands the loaders to Lightning, and remembers how far the epoch has come."""

import signal
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from seq2seq_asr.data.dataset import InputReader
from seq2seq_asr.data.loading import DataConfig, evaluation_loader, training_loader
from seq2seq_asr.data.manifest import Utterance
from seq2seq_asr.data.tokenizer import Tokenizer


class Feeding(pl.LightningDataModule):
    """Training and validation batches of this rank.

    Its state is (epoch, global batches consumed): a resumed run seeks there, also with another number of
    processes, and sees every utterance of the epoch exactly once.
    """

    def __init__(
        self,
        train: Sequence[Utterance],
        dev: Sequence[Utterance],
        tokenizer: Tokenizer,
        config: DataConfig,
        reader: InputReader,
        *,
        seed: int,
    ) -> None:
        super().__init__()
        self.train, self.dev, self.tokenizer, self.config, self.seed = train, dev, tokenizer, config, seed
        self.reader = reader
        self.position = (0, 0)

    def train_dataloader(self) -> DataLoader:
        """This rank's share of the planned batches, from where the run stands."""
        loader = training_loader(self.train, self.tokenizer, self.config, self.reader, seed=self.seed, **self._place())
        loader.batch_sampler.seek(*self.position)  # type: ignore[union-attr]
        return _shielded(loader)

    def val_dataloader(self) -> DataLoader:
        """This rank's share of the fixed validation subset."""
        return _shielded(evaluation_loader(self.dev, self.tokenizer, self.config, self.reader, **self._place()))

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


def _shielded(loader: DataLoader) -> DataLoader:
    """Signals to the whole process group are for the training process, which ends its workers itself."""
    loader.worker_init_fn = _ignore_signals
    return loader


def _ignore_signals(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
