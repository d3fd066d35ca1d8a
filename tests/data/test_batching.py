import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.data.batching import (
    BUCKET_RATIO,
    BatchingConfig,
    Item,
    PlannedBatches,
    batch_size,
    bucket_of,
    plan_epoch,
    plan_in_order,
    shard,
)
from seq2seq_asr.errors import UsageError

duration_lists = st.lists(st.floats(0.1, 30), min_size=1, max_size=60).map(np.array)
configs = st.builds(
    BatchingConfig,
    batch_seconds=st.floats(1, 100),
    max_utterances=st.integers(1, 12),
    shortest_first=st.booleans(),
)


def same(plan: list, other: list) -> bool:
    return len(plan) == len(other) and all(map(np.array_equal, plan, other))


def within_limits(batch: np.ndarray, durations: np.ndarray, config: BatchingConfig) -> bool:
    """A batch keeps the limits; an utterance too long for any batch stands alone."""
    padded = len(batch) * durations[batch].max()
    return len(batch) == 1 or (len(batch) <= config.max_utterances and padded <= config.batch_seconds)


@given(duration_lists, configs, st.integers(0, 9))
def test_every_epoch_takes_each_utterance_once_in_as_many_batches_within_the_limits(durations, config, seed):
    counts = set()
    for epoch in range(4):
        plan = plan_epoch(durations, config, seed, epoch)
        assert sorted(np.concatenate(plan).tolist()) == list(range(len(durations)))
        assert all(within_limits(batch, durations, config) for batch in plan)
        assert same(plan, plan_epoch(durations.copy(), config, seed, epoch)), "the same seed and epoch, another plan"
        counts.add(len(plan))
    assert len(counts) == 1


@given(duration_lists, configs)
def test_evaluation_takes_each_utterance_once_longest_first_within_the_limits(durations, config):
    plan = plan_in_order(durations, config)
    assert all(within_limits(batch, durations, config) for batch in plan)
    order = np.concatenate(plan)
    assert sorted(order.tolist()) == list(range(len(durations)))
    assert (np.diff(durations[order]) <= 0).all()


@given(duration_lists)
def test_a_bucket_spans_no_more_than_the_ratio(durations):
    buckets = bucket_of(durations)
    for bucket in set(buckets.tolist()):
        members = durations[buckets == bucket]
        assert members.max() <= members.min() * BUCKET_RATIO * (1 + 1e-6)
    order = np.argsort(durations)
    assert (np.diff(buckets[order]) >= 0).all()


@given(st.floats(0.1, 200), configs)
def test_a_batch_is_as_large_as_the_limits_allow(longest, config):
    size = batch_size(longest, config)
    assert within_limits(np.arange(size), np.full(size, longest), config)
    assert size == config.max_utterances or (size + 1) * longest > config.batch_seconds


def test_seed_and_epoch_change_the_plan():
    durations = np.random.default_rng(0).uniform(1, 10, 200)
    plans = [plan_epoch(durations, BatchingConfig(), seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)]
    assert not any(same(plan, other) for i, plan in enumerate(plans) for other in plans[:i])


def test_the_first_epoch_goes_from_short_to_long_and_later_ones_do_not():
    durations = np.random.default_rng(0).uniform(1, 10, 2000)
    config = BatchingConfig(batch_seconds=40.0, max_utterances=16)
    assert (np.diff(durations[np.concatenate(plan_epoch(durations, config, 3, 0))]) >= 0).all()
    longest = [durations[batch].max() for batch in plan_epoch(durations, config, 3, 1)]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3
    unsorted = plan_epoch(durations, BatchingConfig(batch_seconds=40.0, max_utterances=16, shortest_first=False), 3, 0)
    assert abs(np.corrcoef([durations[batch].max() for batch in unsorted], np.arange(len(unsorted)))[0, 1]) < 0.3


def test_little_of_a_batch_is_padding():
    durations = np.random.default_rng(0).uniform(1, 10, 2000)
    plan = plan_epoch(durations, BatchingConfig(), 0, 1)
    padded = sum(len(batch) * durations[batch].max() for batch in plan)
    assert padded < durations.sum() * BUCKET_RATIO


@given(st.integers(1, 9), st.integers(1, 12))
def test_shards_of_any_world_cover_a_batch_once_in_equal_parts(size, world):
    batch = np.random.default_rng(0).permutation(20)[:size]
    shards = [shard(batch, rank, world, epoch=5) for rank in range(world)]
    assert sorted(item.place for one in shards for item in one if item.counted) == sorted(batch.tolist())
    assert all(item.epoch == 5 and item.place in batch for one in shards for item in one)
    sizes = [len(one) for one in shards]
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


@given(duration_lists, configs, st.integers(1, 5), st.integers(0, 2))
def test_ranks_take_equal_steps_and_together_each_global_batch(durations, config, world, epoch):
    samplers = [PlannedBatches(durations, config, seed=7, rank=rank, world=world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    plan = plan_epoch(durations, config, 7, epoch)
    steps = list(zip(*samplers, strict=True))
    assert len(steps) == len(plan) == len(samplers[0])
    for batch, parts in zip(plan, steps, strict=True):
        assert sorted(item.place for part in parts for item in part if item.counted) == sorted(batch.tolist())


@given(duration_lists, configs, st.integers(0, 2), st.data())
def test_seek_continues_where_the_epoch_stood(durations, config, epoch, data):
    whole = PlannedBatches(durations, config, seed=1)
    whole.set_epoch(epoch)
    start = data.draw(st.integers(0, len(whole) - 1))
    resumed = PlannedBatches(durations, config, seed=1)
    resumed.seek(epoch, start)
    resumed.set_epoch(epoch)  # Lightning tells the epoch once more when it goes on
    assert list(resumed) == list(whole)[start:]
    assert len(resumed) == len(whole)
    for sampler in (whole, resumed):
        sampler.set_epoch(epoch + 1)
    assert list(resumed) == list(whole)
    resumed.seek(epoch, len(whole))
    assert list(resumed) == list(whole), "behind the last batch stands the next epoch"


def test_seeking_leaves_an_iteration_under_way_alone():
    sampler = PlannedBatches(np.ones(20), BatchingConfig(max_utterances=4), seed=1)
    expected, under_way = list(sampler), iter(sampler)
    got = [next(under_way)]
    sampler.seek(3, 2)
    assert [*got, *under_way] == expected


def test_a_run_of_one_process_goes_on_as_three():
    durations = np.random.default_rng(0).uniform(1, 10, 100)
    config = BatchingConfig(batch_seconds=30.0, max_utterances=8)
    first = list(PlannedBatches(durations, config, seed=1))[:5]
    rest = [PlannedBatches(durations, config, seed=1, rank=rank, world=3) for rank in range(3)]
    for sampler in rest:
        sampler.seek(0, 5)
    seen = [item for batch in [*first, *(batch for sampler in rest for batch in sampler)] for item in batch]
    assert sorted(item.place for item in seen if item.counted) == list(range(100))


def test_lightning_finds_set_epoch_where_it_looks():
    sampler = PlannedBatches(np.ones(3), BatchingConfig(), seed=0)
    assert sampler.sampler is sampler
    assert next(iter(sampler))[0] == Item(next(iter(sampler))[0].place, 0, True)


@pytest.mark.parametrize(
    "settings", [*({"batch_seconds": float(seconds)} for seconds in ("0", "inf", "nan")), {"max_utterances": 0}]
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(UsageError, match=f"data.batching.*{next(iter(settings))}"):
        BatchingConfig(**settings)
