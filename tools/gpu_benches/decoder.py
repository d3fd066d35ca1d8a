"""The teacher-forced decoder, forward and backward: PyTorch, kernels launched one by one and replayed, SpeechBrain."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq_asr.nn import fused_decoder
from seq2seq_asr.nn.attention import AttentionConfig, Memory
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.unroll import unroll


class Job(NamedTuple):
    """Of the base job of the project's notes: 32 utterances of 15 s, 8-fold reduced, 50 targets."""

    utterances: int = 32
    frames: int = 188
    """Encoded frames of every utterance."""
    targets: int = 50
    encoder: int = 1024
    units: int = 512
    embedding: int = 128
    attention: int = 512
    filters: int = 10
    width: int = 201
    kind: Any = "location"
    heads: int = 1
    parallel: bool = False
    """The recurrence runs before the attention, which then is done for all steps at once."""


BASE = Job()
JOBS: dict[str, Job] = {
    "decoder, location-aware": BASE,
    "decoder, location-aware, attention of 128": BASE._replace(attention=128),
    "decoder, additive": BASE._replace(kind="additive"),
    "decoder, scaled dot, 4 heads": BASE._replace(kind="scaled_dot", heads=4),
    "parallel decoder, additive": BASE._replace(kind="additive", parallel=True),
    "parallel decoder, scaled dot, 4 heads": BASE._replace(kind="scaled_dot", heads=4, parallel=True),
    **{
        f"decoder, {seconds} s": BASE._replace(frames=round(12.5 * seconds), targets=round(50 / 15 * seconds))
        for seconds in (1, 5, 10, 20, 40, 60)
    },
}
"""What is measured, by name; the last against the length of the utterances."""


def sides(job: Job, device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Ways to run the job once, forward and backward, each on its own; SpeechBrain's where it is installed.

    Args:
        job: What to run.
        device: Where.
        dtype: float32, or bfloat16 for autocast.
    """
    torch.manual_seed(0)
    config = DecoderConfig(
        units=job.units, embedding=job.embedding, dropout=0.0, context="parallel" if job.parallel else "input_feeding"
    )
    attention = AttentionConfig(
        kind=job.kind, size=job.attention, heads=job.heads, filters=job.filters, width=job.width
    )
    decoder = Decoder(config, attention, job.encoder, 30).to(device)
    encoded = torch.randn(job.utterances, job.frames, job.encoder, device=device).to(dtype).requires_grad_()
    lengths = torch.full((job.utterances,), job.frames, device=device)
    embedded = torch.randn(job.utterances, job.targets, job.embedding, device=device).requires_grad_()
    ways = {name: partial(_run, way, decoder, embedded, encoded, lengths, dtype) for name, way in _ways(job).items()}
    theirs = None if job.parallel or job.heads > 1 else _speechbrain(job, device)
    if theirs is not None:
        ways["speechbrain"] = partial(_run_theirs, theirs, embedded, encoded, dtype)
    return ways


def _ways(job: Job) -> dict[str, Callable[[Decoder, Tensor, Memory], tuple[Tensor, ...]]]:
    if job.parallel:
        return {"ours, PyTorch": _together("off"), "ours": _together("auto")}
    return {
        "ours, PyTorch": _reference,
        "ours, launched": partial(_fused, replay=False),
        "ours": partial(_fused, replay=True),
    }


def _reference(decoder: Decoder, embedded: Tensor, memory: Memory) -> tuple[Tensor, ...]:
    cell, attention = decoder.cells[0], decoder.attention
    if type(attention).__name__ == "LocationAttention":
        return unroll(embedded, memory, cell, attention)  # type: ignore[arg-type]
    return decoder._unroll_steps(embedded, memory, decoder.cells.masks(memory.encoded, decoder.scored))


def _fused(decoder: Decoder, embedded: Tensor, memory: Memory, *, replay: bool) -> tuple[Tensor, ...]:
    return fused_decoder.unroll(embedded, memory, decoder.cells[0], decoder.attention, replay=replay)  # type: ignore[arg-type]


def _together(kernels: Any) -> Callable[[Decoder, Tensor, Memory], tuple[Tensor, ...]]:
    def run(decoder: Decoder, embedded: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        set_kernels(decoder, kernels)
        return decoder._unroll(embedded, memory, decoder.cells.masks(memory.encoded, decoder.scored))

    return run


def _run(
    way: Callable[[Decoder, Tensor, Memory], tuple[Tensor, ...]],
    decoder: Decoder,
    embedded: Tensor,
    encoded: Tensor,
    lengths: Tensor,
    dtype: torch.dtype,
) -> None:
    with torch.autocast(embedded.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        hidden, context, _ = way(decoder, embedded, decoder.memory(encoded, lengths))
    (hidden.float().sum() + context.float().sum()).backward()


def _speechbrain(job: Job, device: torch.device) -> torch.nn.Module | None:
    try:
        from speechbrain.nnet.RNN import AttentionalRNNDecoder
    except ImportError:
        return None
    kind = "location" if job.kind == "location" else "content"
    decoder = AttentionalRNNDecoder(
        "gru", kind, job.units, job.attention, 1, enc_dim=job.encoder, input_size=job.embedding,
        channels=job.filters, kernel_size=job.width // 2, dropout=0.0,
    )  # fmt: skip
    return decoder.to(device)


def _run_theirs(decoder: torch.nn.Module, embedded: Tensor, encoded: Tensor, dtype: torch.dtype) -> None:
    """Their lengths are shares of the longest."""
    with torch.autocast(embedded.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        hidden, _ = decoder(embedded, encoded, torch.ones(len(encoded), device=encoded.device))
    hidden.float().sum().backward()
