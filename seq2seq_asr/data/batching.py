"""Which utterances form which batch: a pure function of (seed, epoch), shared by all ranks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seq2seq_asr.errors import UsageError

BUCKET_RATIO = 1.1
"""Longest over shortest duration in a bucket: at most this much padding, half of it on average."""


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Size and order of the global batch, however many devices share it."""

    batch_seconds: float = 100.0
    """Padded seconds of the global batch as recorded (speed 0.8 makes them 1.25 times); it is split over devices."""
    max_utterances: int = 16
    """Utterances in the global batch, at most."""
    shortest_first: bool = True
    """Sort the first epoch by duration, which helps attention to form (Amodei et al. 2016, SortaGrad)."""

    def __post_init__(self) -> None:
        if not (0 < self.batch_seconds < float("inf") and self.max_utterances >= 1):
            raise UsageError("data.batching: batch_seconds must be above 0 and finite, max_utterances 1 or more")


class Item(NamedTuple):
    """One utterance of a batch: where it is, in which epoch, and whether its loss counts."""

    place: int
    epoch: int
    counted: bool = True


def bucket_of(durations: np.ndarray) -> np.ndarray:
    """Bucket number of each duration: bucket k holds durations up to shortest × ratio^k."""
    relative = np.log(durations / durations.min()) / np.log(BUCKET_RATIO)
    return np.ceil(relative - 1e-9).astype(np.int64)


def plan_epoch(durations: np.ndarray, config: BatchingConfig, seed: int, epoch: int) -> list[np.ndarray]:
    """Global batches of one epoch.

    Utterances are shuffled within buckets of similar duration; what does not fill a batch moves up to the next
    bucket, so every epoch has the same number of batches and none exceeds the limit. A first epoch that is to be
    shortest-first is sorted in place of shuffled.

    Args:
        durations: Seconds of each utterance.
        config: Limits and order.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        Indices into ``durations``, an array a batch; each index occurs exactly once.
    """
    random = np.random.default_rng([seed, epoch])
    buckets = bucket_of(durations)
    order = np.argsort(buckets, kind="stable")
    edges = np.flatnonzero(np.diff(buckets[order])) + 1
    batches: list[np.ndarray] = []
    left = np.empty(0, dtype=np.int64)
    in_order = config.shortest_first and epoch == 0
    for members in np.split(order, edges):
        pool = np.concatenate([left, members])
        pool = pool[np.argsort(durations[pool], kind="stable")] if in_order else random.permutation(pool)
        size = batch_size(float(durations[members].max()), config)
        full = len(pool) // size * size
        batches.extend(pool[:full].reshape(-1, size))
        left = pool[full:]
    if len(left):
        batches.append(left)
    return batches if in_order else [batches[place] for place in random.permutation(len(batches))]


def batch_size(longest: float, config: BatchingConfig) -> int:
    """Utterances of ``longest`` seconds that fit one global batch, at least one."""
    return max(1, min(config.max_utterances, int(config.batch_seconds / longest)))


def shard(batch: np.ndarray, rank: int, world: int, epoch: int) -> list[Item]:
    """The part of a global batch one rank works on.

    A rank left without work repeats the first utterance uncounted, so that all ranks take equal steps.
    """
    mine = [Item(int(index), epoch) for index in batch[rank::world]]
    return mine or [Item(int(batch[0]), epoch, counted=False)]


class PlannedBatches:
    """Batch sampler over planned epochs: this rank's share of every global batch, resumable at any of them.

    Args:
        durations: Seconds of each utterance.
        config: Limits and order.
        seed: Of the run.
        rank: This process.
        world: All processes.
    """

    def __init__(
        self, durations: np.ndarray, config: BatchingConfig, *, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.durations, self.config, self.seed = durations, config, seed
        self.rank, self.world = rank, world
        self.sampler = self  # where Lightning looks for set_epoch
        self.seek(0, 0)

    def seek(self, epoch: int, start: int) -> None:
        """Stand before global batch ``start`` of ``epoch``; behind the last one is before the next epoch's first."""
        self.epoch, self.start = epoch, start
        self.plan = plan_epoch(self.durations, self.config, self.seed, epoch)
        if start >= len(self.plan):
            self.seek(epoch + 1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Move to the beginning of another epoch; the present one keeps its place."""
        if epoch != self.epoch:
            self.seek(epoch, 0)

    def __len__(self) -> int:
        """Global batches of a whole epoch, the same for every epoch."""
        return len(self.plan)

    def __iter__(self) -> Iterator[list[Item]]:
        # A list, not a generator: a later seek must not move batches that workers already fetch.
        return iter([shard(batch, self.rank, self.world, self.epoch) for batch in self.plan[self.start :]])


def plan_in_order(durations: np.ndarray, config: BatchingConfig) -> list[np.ndarray]:
    """Batches for validation and decoding: longest first, so that memory runs out at once or never."""
    batches: list[np.ndarray] = []
    batch: list[int] = []
    for index in np.argsort(-durations, kind="stable"):
        if batch and len(batch) >= batch_size(float(durations[batch[0]]), config):
            batches.append(np.array(batch))
            batch = []
        batch.append(int(index))
    if batch:
        batches.append(np.array(batch))
    return batches
