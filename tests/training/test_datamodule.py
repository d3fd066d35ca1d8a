"""How batches reach the device; that each comes once, also on resume, stands in test_resume and test_loading."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seq2seq_asr.data.dataset import InputReader
from seq2seq_asr.data.loading import DataConfig
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.training.datamodule import Feeding


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_for_a_gpu_wait_in_pinned_memory_and_workers_stay(device, pinned, workers, tmp_path):
    utterances = [Utterance(id=f"u{n}", text="ab", duration=1.0, audio=tmp_path / f"{n}.flac") for n in range(3)]
    tokenizer = Tokenizer.train(["ab"], TokenizerConfig(kind="char", vocabulary_size=8))
    feeding = Feeding(utterances, utterances, tokenizer, DataConfig(workers=workers), InputReader(8000), seed=0)
    place: Any = SimpleNamespace(
        global_rank=0, world_size=1, strategy=SimpleNamespace(root_device=torch.device(device))
    )
    feeding.trainer = place
    for loader in (feeding.train_dataloader(), feeding.val_dataloader()):
        assert loader.pin_memory is pinned
        assert loader.persistent_workers is (workers > 0) and loader.num_workers == workers
