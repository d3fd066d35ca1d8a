"""The longest batch goes through the model before training: memory runs out at once, or not after hours."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.data.batching import shard
from seq2seq_asr.data.dataset import Batch, SpeechDataset, collate
from seq2seq_asr.nn.device import is_out_of_memory
from seq2seq_asr.nn.specaugment import SpecAugment
from seq2seq_asr.training.callbacks import agreed
from seq2seq_asr.training.faults import out_of_memory, release


class ProbeMemory(Callback):
    """Forward and backward over the epoch's largest batch, on a GPU; all processes go on, or none.

    Args:
        everywhere: Probe on a CPU too, where the memory is not all ours.
    """

    def __init__(self, everywhere: bool = False) -> None:
        self.everywhere = everywhere

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Probe.

        Raises:
            TrainingError: The memory does not hold it.
        """
        if not (self.everywhere or pl_module.device.type == "cuda"):
            return
        feeding = trainer.datamodule  # type: ignore[attr-defined]
        tempo = pl_module.model.config.specaugment.slowest
        batch = largest_batch(feeding, trainer.global_rank, trainer.world_size, tempo)
        fits = fits_in_memory(trainer, pl_module, batch)
        release(pl_module)
        if agreed(trainer, not fits):
            raise out_of_memory(batch.ids, feeding)


def fits_in_memory(trainer: pl.Trainer, module: Any, batch: Batch) -> bool:
    """Whether the memory holds the batch, as long as it is, and its gradients."""
    tensors = {name: part for name, part in batch._asdict().items() if isinstance(part, torch.Tensor)}
    moved: Any = {name: part.to(module.device) for name, part in tensors.items()}
    on_device = batch._replace(**moved)
    try:
        with trainer.precision_plugin.forward_context(), at_its_own_tempo(module):
            loss = module.losses(on_device).total.sum()
        loss.backward()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


@contextmanager
def at_its_own_tempo(module: torch.nn.Module) -> Iterator[None]:
    """Without tempos of chance: the batch is as long as the slowest of them makes it."""
    augmenting = [part for part in module.modules() if isinstance(part, SpecAugment)]
    for part in augmenting:
        part.eval()
    try:
        yield
    finally:
        for part in augmenting:
            part.train()


def largest_batch(feeding: Any, rank: int, world: int, tempo: float = 1.0) -> Batch:
    """This rank's share of the global batch with the most padded seconds, stretched as far as augmentation may.

    Args:
        feeding: The training data.
        rank: This process.
        world: All processes.
        tempo: The slowest that tempo perturbation draws.
    """
    plan = feeding.training_plan()
    durations = np.array([utterance.duration for utterance in feeding.train])
    largest = max(plan, key=lambda batch: float(durations[batch].max()) * len(batch))
    dataset = SpeechDataset(feeding.train, feeding.tokenizer, feeding.reader)
    batch = collate([dataset[item] for item in shard(largest, rank, world, epoch=0)])
    slowest = min(feeding.config.speed.factors) if feeding.config.speed.probability > 0 else 1.0
    return stretched_inputs(batch, 1 / min(1.0, slowest) / tempo)


def stretched_inputs(batch: Batch, factor: float) -> Batch:
    """The batch with longer inputs, repeated from the beginning."""
    size = batch.inputs.shape[1]
    length = math.ceil(size * factor)
    inputs = batch.inputs[:, torch.arange(length) % size]
    return batch._replace(inputs=inputs, lengths=(batch.lengths * factor).ceil().long().clamp(max=length))
