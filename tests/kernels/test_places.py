"""How many recordings a training needs: one a bucket of shapes, in each direction."""

import numpy as np
import pytest

pytest.importorskip("triton")
from seq2seq_asr.data.batching import BatchingConfig, plan_epoch  # noqa: E402
from seq2seq_asr.kernels.buffers import Sizes  # noqa: E402
from seq2seq_asr.kernels.places import bucket_of  # noqa: E402


def sizes(batch: int, steps: int, frames: int) -> Sizes:
    return Sizes(batch, steps, frames, 512, 1, 512, 10, 201, False, 1.0)


@pytest.mark.parametrize(("seconds", "utterances"), [(100.0, 16), (480.0, 32), (1600.0, 128)])
def test_an_epoch_has_few_buckets_of_shapes(seconds, utterances):
    """Durations and transcripts about as LibriSpeech's; 80 ms an encoded frame, 3.2 tokens a second."""
    random = np.random.default_rng(0)
    durations = np.concatenate([random.uniform(1.5, 12, 8_000), random.normal(14.3, 1, 20_000).clip(10, 24)])
    tokens = (durations * random.normal(3.2, 0.5, len(durations)).clip(1.8, 4.9)).astype(int)
    plan = plan_epoch(durations, BatchingConfig(batch_seconds=seconds, max_utterances=utterances), seed=1, epoch=1)
    shapes = [(len(one), 1 + int(tokens[one].max()), int(12.5 * durations[one].max()) + 1) for one in plan]
    buckets = {bucket_of(sizes(*shape)) for shape in shapes}
    assert len(buckets) <= 40 < len(set(shapes)) / 2


def test_a_bucket_holds_what_is_put_into_it_and_is_not_much_larger():
    for shape in [(1, 1, 1), (8, 8, 32), (9, 33, 97), (32, 50, 188)]:
        bucket = bucket_of(sizes(*shape))
        room = bucket.batch - shape[0], bucket.steps - shape[1], bucket.frames - shape[2]
        assert all(0 <= more < step for more, step in zip(room, (8, 8, 32), strict=True))
        assert bucket._replace(batch=shape[0], steps=shape[1], frames=shape[2]) == sizes(*shape)
