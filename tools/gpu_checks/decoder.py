"""The decoder's kernels against ``Decoder.advance`` in float64, over many shapes."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq_asr.kernels import teacher_forcing
from seq2seq_asr.kernels.energies import additive_energies
from seq2seq_asr.nn import fused_decoder
from seq2seq_asr.nn.attention import AttentionConfig, Memory
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig

Way = Callable[[Decoder, Tensor, Memory], tuple[Tensor, ...]]


class Shape(NamedTuple):
    """Of a decoder and a batch, in the letters of the house."""

    batch: int = 3
    steps: int = 5
    frames: int = 40
    encoder: int = 64
    units: int = 64
    size: int = 32
    heads: int = 1
    kind: Any = "location"
    filters: int = 10
    width: int = 31


class Case(NamedTuple):
    """A decoder with its batch; the utterances are of all lengths from one frame on."""

    decoder: Decoder
    encoded: Tensor
    keys: Tensor
    embedded: Tensor
    lengths: Tensor


SHAPES: tuple[Shape, ...] = (
    Shape(batch=32, steps=50, frames=188, encoder=1024, units=512, size=128, width=201),
    Shape(batch=32, steps=50, frames=188, encoder=1024, units=512, size=512, width=201),
    *(Shape(kind=kind, heads=heads) for kind in ("location", "additive", "dot", "scaled_dot") for heads in (1, 4)),
    Shape(batch=1, steps=1, frames=1),
    Shape(batch=1, steps=7, frames=33, units=65, size=33, encoder=66, filters=17, width=201),
    Shape(batch=33, steps=2, frames=31, units=31, size=15, encoder=62, width=1),
    Shape(batch=2, steps=3, frames=750, units=256, size=128, encoder=512, width=201),
    Shape(batch=16, steps=20, frames=100, units=1024, size=256, encoder=1024),
    Shape(batch=17, steps=9, frames=65, units=96, size=48, encoder=192, heads=3, filters=3, width=63),
)


def build(shape: Shape, device: torch.device, dtype: torch.dtype) -> Case:
    """Random weights and utterances; keys and frames are rounded to ``dtype``, everything else is float32."""
    torch.manual_seed(sum(value for value in shape if isinstance(value, int)))
    attention = AttentionConfig(
        kind=shape.kind, size=shape.size * shape.heads, heads=shape.heads, filters=shape.filters, width=shape.width
    )
    config = DecoderConfig(units=shape.units, embedding=16, dropout=0.0)
    decoder = Decoder(config, attention, shape.encoder, 20).to(device)
    lengths = torch.linspace(shape.frames, 1, shape.batch, device=device).long()
    encoded = torch.randn(shape.batch, shape.frames, shape.encoder, device=device).to(dtype)
    keys = torch.randn(shape.batch, shape.frames, shape.size * shape.heads, device=device).to(dtype)
    return Case(decoder, encoded, keys, torch.randn(shape.batch, shape.steps, 16, device=device), lengths)


def by_kernels(decoder: Decoder, embedded: Tensor, memory: Memory, *, replay: bool = True) -> tuple[Tensor, ...]:
    """The way that is checked."""
    cell: Any = decoder.cells[0]
    return fused_decoder.unroll(embedded, memory, cell, decoder.attention, replay=replay)


def step_by_step(decoder: Decoder, embedded: Tensor, memory: Memory) -> tuple[Tensor, ...]:
    """The reference."""
    state, states = decoder.start(memory), []
    for token in embedded.unbind(1):
        state = decoder.advance(token, state, memory)
        states.append((state.output, state.context, state.alignment))
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))


def results(way: Way, case: Case) -> list[Tensor]:
    """Hidden states, contexts, alignments, and the gradients of a weighted sum of them by everything given."""
    decoder = case.decoder
    decoder.zero_grad()
    given = [x.detach().requires_grad_() for x in (case.encoded, case.keys, case.embedded)]
    found = way(decoder, given[2], Memory(given[0], case.lengths, given[1]))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(x.shape, generator=generator).to(x) for x in found]
    torch.stack([(w * x).sum() for w, x in zip(weights, found, strict=True)]).sum().backward()
    learnt = [p.grad for part in (decoder.cells, decoder.attention) for p in part.parameters() if p.grad is not None]
    return [*(x.detach() for x in found), *(x.grad for x in given if x.grad is not None), *learnt]


def doubled(case: Case) -> Case:
    """The same in float64."""
    tensors = (case.encoded.double(), case.keys.double(), case.embedded.double())
    return Case(copy.deepcopy(case.decoder).double(), *tensors, case.lengths)


def worst(ours: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest distance of a result from what is expected, as a share of its norm; not a number is infinitely far."""
    pairs = [(a.double(), b.double()) for a, b in zip(ours, expected, strict=True)]
    errors = [float((a - b).norm() / b.norm().clamp(min=1e-6)) for a, b in pairs]
    return max(error if error == error else float("inf") for error in errors)


def check_against_steps(shape: Shape, device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Relative error of results and gradients."""
    case = build(shape, device, dtype)
    return worst(results(by_kernels, case), results(step_by_step, doubled(case)))


def check_replay(shape: Shape, device: torch.device, calls: int = 4) -> float:
    """How far recorded calls are from launches one by one, with everything poisoned in between; 0 is to the bit."""
    case = build(shape, device, torch.float32)
    launched = results(partial(by_kernels, replay=False), case)
    errors = []
    for _ in range(calls):
        for place in teacher_forcing.PLACES.items():
            poison(place)
        errors.append(worst(results(by_kernels, case), launched))
    return max(errors)


def poison(place: teacher_forcing.Place) -> None:
    """Overwrite what the loops have to write."""
    for tensors in (place.kept, place.errors, place.sums):
        for tensor in tensors or ():
            tensor.fill_(torch.nan)


def check_two_batches(shape: Shape, device: torch.device) -> float:
    """Gradients of a batch when another has gone through its place in between."""
    case, other = build(shape, device, torch.float32), build(shape._replace(filters=3), device, torch.float32)
    expected = results(by_kernels, case)

    def interrupted(decoder: Decoder, embedded: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        found = by_kernels(decoder, embedded, memory)
        mixed = case._replace(encoded=other.encoded.flip(0), keys=other.keys.flip(0))
        by_kernels(decoder, embedded, Memory(mixed.encoded, mixed.lengths, mixed.keys))
        return found

    return worst(results(interrupted, case), expected)


def check_energies(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Additive energies of all steps at once."""
    errors = []
    for batch, rows, frames, size in ((32, 50, 188, 128), (1, 1, 1, 1), (3, 8, 65, 33), (2, 1, 750, 512)):
        drawn = torch.randn(batch * rows, size), torch.randn(batch, frames, size).to(dtype), torch.randn(size)
        ours = [x.to(device).requires_grad_() for x in drawn]
        exact = [x.detach().double().requires_grad_() for x in ours]
        outer = torch.randn(batch * rows, frames).to(device)
        found = additive_energies(*ours)
        asked = exact[0].unflatten(0, (batch, -1)).unsqueeze(2)
        expected = (torch.tanh(asked + exact[1].unsqueeze(1)) @ exact[2]).flatten(0, 1)
        gradients = torch.autograd.grad(found, ours, outer), torch.autograd.grad(expected, exact, outer.double())
        errors.append(worst([found, *gradients[0]], [expected, *gradients[1]]))
    return max(errors)


def check_many_launches(device: torch.device, calls: int = 100) -> float:
    """Thousands of launches, replayed, of which the last gives what the first gave."""
    case = build(Shape(steps=16), device, torch.float32)
    first = results(by_kernels, case)
    for _ in range(calls):
        last = results(by_kernels, case)
    return worst(last, first)
