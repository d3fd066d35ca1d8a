"""The teacher-forced decoder: PyTorch, kernels launched one by one and replayed as CUDA graphs, SpeechBrain's decoder.

The base job is 32 utterances of 15 s, 188 frames after 8-fold reduction, and 50 targets. All are of full length.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from gpu_common import Where
from torch import Tensor

from seq2seq_asr.kernels.teacher_forcing import How
from seq2seq_asr.kernels.tiles import TILES
from seq2seq_asr.nn import fused_decoder
from seq2seq_asr.nn.attention import AttentionConfig, Memory
from seq2seq_asr.nn.cell_stack import NO_MASKS
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.fused import set_kernels

Sides = Mapping[str, Callable[[], object]]
Way = Callable[[Decoder, Tensor, Memory], tuple[Tensor, ...]]


class Job(NamedTuple):
    """One decoder and one batch."""

    utterances: int = 32
    frames: int = 188
    """Encoded ones of every utterance."""
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
    cuts: bool = False
    """Not beside others, but cut up in other ways: which tiles are best."""


BASE = Job()
TINY = Job(2, 5, 2, 6, 7, 4, 6, 3, 5)
JOBS = {
    "decoder of the base job": BASE,
    "decoder of the base job, attention of 128": BASE._replace(attention=128),
    "additive decoder": BASE._replace(kind="additive"),
    "scaled dot decoder, 4 heads": BASE._replace(kind="scaled_dot", heads=4),
    "parallel additive decoder": BASE._replace(kind="additive", parallel=True),
    "parallel scaled dot decoder, 4 heads": BASE._replace(kind="scaled_dot", heads=4, parallel=True),
    **{
        f"decoder of {seconds} s": BASE._replace(frames=round(12.5 * seconds), targets=round(50 * seconds / 15))
        for seconds in (1, 5, 10, 20, 40, 60)
    },
    "decoder of the base job, cut up in other ways": BASE._replace(cuts=True),
}
CUTS: dict[str, dict[str, int]] = {
    "frames 16": {"frames": 16},
    "frames 64": {"frames": 64},
    "size 16": {"size": 16},
    "size 64": {"size": 64},
    "taps 16": {"taps": 16},
    "mixed 16": {"mixed": 16},
    "mixed 64": {"mixed": 64},
    "units 16": {"units": 16},
    "units 64": {"units": 64},
    "outputs 32": {"outputs": 32},
    "inner 64": {"inner": 64},
    "splits 4": {"splits": 4},
    "splits 16": {"splits": 16},
    "warps 2": {"warps": 2},
    "warps 8": {"warps": 8},
}
TINY_JOBS = {
    "decoder of the base job": TINY,
    "parallel additive decoder": TINY._replace(kind="additive", parallel=True),
}


def sides(job: Job, where: Where, dtype: torch.dtype, *, backward: bool) -> Sides:
    """What runs: ours and, if it has such a decoder and is there, SpeechBrain's."""
    attention = AttentionConfig(
        kind=job.kind, size=job.attention, heads=job.heads, filters=job.filters, width=job.width
    )
    config = DecoderConfig(
        units=job.units, embedding=job.embedding, dropout=0.0, context="parallel" if job.parallel else "input_feeding"
    )
    decoder = Decoder(config, attention, job.encoder, 30).to(where.device)
    encoded = torch.randn(job.utterances, job.frames, job.encoder, device=where.device).to(dtype)
    embedded = torch.randn(job.utterances, job.targets, job.embedding, device=where.device)
    nets = {name: Ours(decoder, way) for name, way in ways(job).items()} | speechbrain(job, where)
    return {name: run_of(net, embedded, encoded.clone(), backward=backward) for name, net in nets.items()}


def ways(job: Job) -> Mapping[str, Way]:
    """Ours: by PyTorch, by launches one by one, and as training does it."""
    if job.cuts:
        return {"ours": fused} | {
            name: partial(fused, how=How(tiles=TILES._replace(**cut))) for name, cut in CUTS.items()
        }
    if job.parallel:
        return {"ours": partial(unrolled, kernels="require"), "pytorch": partial(unrolled, kernels="off")}
    return {
        "ours": fused,
        "launches": partial(fused, how=How(replay=False)),
        "pytorch": partial(unrolled, kernels="off"),
    }


def unrolled(decoder: Decoder, embedded: Tensor, memory: Memory, *, kernels: Any) -> tuple[Tensor, ...]:
    """By the decoder's own choice of way."""
    set_kernels(decoder, kernels)
    return decoder._unroll(embedded, memory, NO_MASKS)


def fused(decoder: Decoder, embedded: Tensor, memory: Memory, how: How | None = None) -> tuple[Tensor, ...]:
    """By the kernels of a whole loop."""
    cell: Any = decoder.cells[0]
    return fused_decoder.unroll(embedded, memory, cell, decoder.attention, how)


class Ours(torch.nn.Module):
    """Our decoder without its embedding and output."""

    def __init__(self, decoder: Decoder, way: Way) -> None:
        super().__init__()
        self.cells, self.attention = decoder.cells, decoder.attention
        self.held, self.way = [decoder], way

    def forward(self, embedded: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """State and context of every step; all utterances have full length."""
        lengths = torch.full((len(encoded),), encoded.shape[1], device=encoded.device)
        hidden, context, _ = self.way(self.held[0], embedded, self.held[0].memory(encoded, lengths))
        return hidden, context


class Theirs(torch.nn.Module):
    """SpeechBrain's, whose output is already a projection of state and context."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embedded: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths are shares of the longest."""
        return self.decoder(embedded, encoded, torch.ones(len(encoded), device=encoded.device))


def speechbrain(job: Job, where: Where) -> dict[str, torch.nn.Module]:
    """Theirs by name; empty where there is none."""
    kinds = {"location": "location", "additive": "content"}
    try:
        from speechbrain.nnet.RNN import AttentionalRNNDecoder
    except ModuleNotFoundError:
        return {}
    if job.cuts or job.parallel or job.heads > 1 or job.kind not in kinds:
        return {}
    decoder = AttentionalRNNDecoder(
        "gru", kinds[job.kind], job.units, job.attention, 1, enc_dim=job.encoder, input_size=job.embedding,
        channels=job.filters, kernel_size=job.width // 2, dropout=0.0,
    )  # fmt: skip
    return {"speechbrain": Theirs(decoder.to(where.device))}


def run_of(net: torch.nn.Module, embedded: Tensor, encoded: Tensor, *, backward: bool) -> Callable[[], object]:
    """Outputs of a decoder, and its gradients too."""
    encoded.requires_grad_(backward)
    half = encoded.dtype == torch.bfloat16

    def run() -> object:
        with torch.autocast(encoded.device.type, torch.bfloat16, enabled=half), torch.set_grad_enabled(backward):
            hidden, context = net(embedded, encoded)
        if not backward:
            return hidden, context
        loss = hidden.float().sum() + context.float().sum()
        return torch.autograd.grad(loss, [encoded, *net.parameters()], allow_unused=True)

    return run


def benches(where: Where) -> Iterator[tuple[str, Callable[[], Sides], Mapping[str, object]]]:
    """All of them."""
    for dtype in (torch.float32, torch.bfloat16):
        for backward in (False, True):
            kind = f"{str(dtype).removeprefix('torch.')} {'forward and backward' if backward else 'forward'}"
            for name, job in (TINY_JOBS if where.tiny else JOBS).items():
                yield (
                    f"{name}, {kind}",
                    partial(sides, job, where, dtype, backward=backward),
                    {"dtype": str(dtype), "backward": backward, **job._asdict()},
                )
