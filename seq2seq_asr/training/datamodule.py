"""Hands the loaders to Lightning, and remembers how far the epoch has come."""

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
        loader = training_loader(
            self.train, self.tokenizer, self.config, self.reader, seed=self.seed, **self._place()
        )
        loader.batch_sampler.seek(*self.position)  # type: ignore[union-attr]
        return loader

    def val_dataloader(self) -> DataLoader:
        """This rank's share of the fixed validation subset."""
        return evaluation_loader(self.dev, self.tokenizer, self.config, self.reader, **self._place())

    def _place(self) -> dict[str, int]:
        return {"rank": self.trainer.global_rank, "world": self.trainer.world_size} if self.trainer else {}

    def state_dict(self) -> dict[str, Any]:
        """Epoch and global batches of it that were trained on."""
        loop = self.trainer.fit_loop
        if loop.epoch_progress.current.processed > loop.epoch_progress.current.completed:
            return {"epoch": loop.epoch_progress.current.processed, "consumed": 0}
        consumed = loop.epoch_loop.batch_progress.current.processed
        return {"epoch": loop.epoch_progress.current.processed, "consumed": consumed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Seek on resume."""
        self.position = (state_dict["epoch"], state_dict["consumed"])
