"""Attention health over the validation utterances."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seq2seq_asr.data.dataset import Batch
from seq2seq_asr.nn.attention.fixed import FixedVector
from seq2seq_asr.nn.attention.health import Health, attention_health
from seq2seq_asr.nn.model import Seq2Seq

HEALTH_COLUMNS = tuple(f"attention_{name}" for name in Health._fields)
"""Of ``metrics.csv``: means over the validation utterances."""
HEALTH_SUMS = ("attended", *HEALTH_COLUMNS)
"""What each rank adds up: utterances with attention, and their measures."""


def add_health(sums: dict[str, float], model: Seq2Seq, batch: Batch, alignments: Tensor) -> None:
    """Add the health of a batch's teacher-forced alignments; a vector of fixed length has none.

    Args:
        sums: By the names of ``HEALTH_SUMS``.
        model: What made the alignments.
        batch: Its utterances.
        alignments: Weights of every step, the end token's included, ``(B, U, S)``.
    """
    if isinstance(model.decoder.attention, FixedVector):
        return
    frames = torch.tensor([model.features.frame_count(length) for length in batch.lengths.tolist()])
    encoded = model.encoder.encoded_lengths(frames).to(alignments.device)
    health = attention_health(alignments, batch.token_lengths + 1, encoded)
    sums["attended"] += float(batch.counted.sum())
    for name, values in zip(HEALTH_COLUMNS, health, strict=True):
        sums[name] += float((values * batch.counted).sum())


def health_rates(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over the utterances; nothing without attention."""
    if not sums.get("attended"):
        return {}
    return {name: sums[name] / sums["attended"] for name in HEALTH_COLUMNS}
