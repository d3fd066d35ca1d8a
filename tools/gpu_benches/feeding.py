"""How long training waits for its data: a real `fit` on FLAC files of the embedded corpus, no audio kept in memory.

The model is as large as the base job's; the share of training time spent waiting is that of metrics.csv, of every
epoch but the first, in which workers start and steps are recorded.
"""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from gpu_common import FOLDER, Where

ALLOWED = 0.05
"""Share of the training time."""
BASE = """
    --trainer.accelerator gpu --trainer.devices 1 --trainer.precision bf16-mixed --trainer.epochs 5
    --trainer.validate_every 5 --trainer.validation_utterances 50 --model.kernels auto
    --data.batching.batch_seconds 480 --data.batching.max_utterances 64 --data.batching.no_shortest_first
    --model.encoder.units 512 --model.decoder.units 512 --model.attention.size 512 --model.attention.width 201
""".split()
TINY = """
    --trainer.accelerator cpu --trainer.precision 32-true --trainer.epochs 2 --trainer.validation_utterances 2
    --data.spoken.train 24 --data.spoken.dev 2 --data.spoken.test 1 --data.batching.max_utterances 4
    --tokenizer.kind char --tokenizer.vocabulary_size 64 --model.encoder.units 8 --model.decoder.units 8
""".split()
AUGMENTED = ["--data.speed.probability", "1", "--data.noise.probability", "1"]


def waiting(where: Where, workers: int, more: Sequence[str]) -> dict[str, object]:
    """Train in a process of its own and read what its metrics.csv says.

    Args:
        where: The device.
        workers: Processes that read audio.
        more: Further flags.
    """
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--checkpoints", folder, "--data.workers", str(workers), "--data.memory_mb", "0", *more]
        flags += ["--logging.wandb", "off", "--logging.examples", "0", "--trainer.no_progress"]
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        environment["PYTHONPATH"] = str(FOLDER.parent)
        if where.tiny:
            environment["SEQ2SEQ_ASR_CACHE"] = folder
        command = [sys.executable, "-m", "seq2seq_asr.fit", *(TINY if where.tiny else BASE), *flags]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        with next(Path(folder).glob("*/metrics.csv")).open() as file:
            epochs = list(csv.DictReader(file))
    waits = [float(epoch["data_wait"]) for epoch in epochs]
    return {
        "data_wait_median": statistics.median(waits[1:]),
        "allowed": ALLOWED,
        "data_wait": waits,
        "epoch_seconds": [float(epoch["seconds"]) for epoch in epochs],
        "workers": workers,
    }


def benches(where: Where) -> Iterator[tuple[str, Callable[[], Mapping[str, object]], Mapping[str, object]]]:
    """With and without what the workers do besides reading."""
    workers = 1 if where.tiny else max(1, (os.cpu_count() or 1) - 2)
    yield "feeding", partial(waiting, where, workers, []), {}
    yield "feeding, speed perturbation and noise", partial(waiting, where, workers, AUGMENTED), {}
