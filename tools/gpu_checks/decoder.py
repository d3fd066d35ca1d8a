"""Checks of the decoder's kernels against ``Decoder.advance`` in float64, over many shapes."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from gpu_common import Check, Failed, Where, compare, poisoned
from torch import Tensor

from seq2seq_asr.kernels import places
from seq2seq_asr.kernels.energies import additive_energies
from seq2seq_asr.kernels.teacher_forcing import How
from seq2seq_asr.nn import fused_decoder
from seq2seq_asr.nn.attention import AttentionConfig, Memory
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
Way = Callable[[Decoder, Tensor, Memory], tuple[Tensor, ...]]


class Shape(NamedTuple):
    """Of a decoder and a batch, in the letters of the house."""

    batch: int = 3
    steps: int = 5
    frames: int = 40
    encoder: int = 64
    units: int = 64
    size: int = 32
    """Of each head."""
    heads: int = 1
    kind: Any = "location"
    filters: int = 10
    width: int = 31


BASE = Shape(batch=32, steps=50, frames=188, encoder=1024, units=512, size=512, width=201)
LARGE = [
    BASE,
    BASE._replace(size=128),
    *(Shape(kind=kind, heads=heads) for kind in ("location", "additive", "dot", "scaled_dot") for heads in (1, 4)),
    Shape(batch=1, steps=1, frames=1),
    Shape(batch=1, steps=7, frames=33, units=65, size=33, encoder=66, filters=17, width=201),
    Shape(batch=33, steps=2, frames=31, units=31, size=15, encoder=62, width=1),
    Shape(batch=2, steps=3, frames=750, units=256, size=128, encoder=512, width=201),
    Shape(batch=16, steps=20, frames=100, units=1024, size=256, encoder=1024),
    Shape(batch=17, steps=9, frames=65, units=96, size=48, encoder=192, heads=3, filters=3, width=63),
]
TINY = Shape(batch=2, steps=2, frames=5, encoder=6, units=7, size=6, filters=3, width=5)
SMALL = [TINY, TINY._replace(kind="scaled_dot", heads=2)]
ENERGIES = [(32, 50, 188, 128), (1, 1, 1, 1), (3, 8, 65, 33), (2, 1, 750, 512)]
"""Utterances, rows of each, frames, size."""


class Case(NamedTuple):
    """A decoder with its batch; the utterances are of all lengths from one frame on."""

    decoder: Decoder
    encoded: Tensor
    keys: Tensor
    embedded: Tensor
    lengths: Tensor


def draw(shape: Shape, dtype: torch.dtype, device: torch.device) -> Case:
    """Random weights and utterances; keys and frames are rounded to ``dtype``, everything else is float32."""
    attention = AttentionConfig(
        kind=shape.kind, size=shape.size * shape.heads, heads=shape.heads, filters=shape.filters, width=shape.width
    )
    config = DecoderConfig(units=shape.units, embedding=16, dropout=0.0)
    decoder = Decoder(config, attention, shape.encoder, 20).to(device)
    lengths = torch.linspace(shape.frames, 1, shape.batch, device=device).long()
    encoded = torch.randn(shape.batch, shape.frames, shape.encoder, device=device).to(dtype)
    if shape.heads > 1:  # each head's float32 weights make its own of them
        encoded = encoded.float()
    keys = torch.randn(shape.batch, shape.frames, shape.size * shape.heads, device=device).to(dtype)
    return Case(decoder, encoded, keys, torch.randn(shape.batch, shape.steps, 16, device=device), lengths)


def doubled(case: Case) -> Case:
    """The same in float64."""
    tensors = (case.encoded.double(), case.keys.double(), case.embedded.double())
    return Case(copy.deepcopy(case.decoder).double(), *tensors, case.lengths)


def by_kernels(decoder: Decoder, embedded: Tensor, memory: Memory, how: How | None = None) -> tuple[Tensor, ...]:
    """The way that is checked."""
    cell: Any = decoder.cells[0]
    return fused_decoder.unroll(embedded, memory, cell, decoder.attention, how)


def step_by_step(decoder: Decoder, embedded: Tensor, memory: Memory) -> tuple[Tensor, ...]:
    """The reference."""
    state, states = decoder.start(memory), []
    for token in embedded.unbind(1):
        state = decoder.advance(token, state, memory)
        states.append((state.output, state.context, state.alignment))
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))


def results(way: Way, case: Case) -> dict[str, Tensor]:
    """Hidden states, contexts, alignments, and the gradients of a weighted sum of them by everything given."""
    given = {"encoded": case.encoded, "keys": case.keys, "embedded": case.embedded}
    given = {name: value.detach().requires_grad_() for name, value in given.items()}
    found = way(case.decoder, given["embedded"], Memory(given["encoded"], case.lengths, given["keys"]))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(x.shape, generator=generator).to(x) for x in found]
    loss = torch.stack([(w * x).sum() for w, x in zip(weights, found, strict=True)]).sum()
    learnt = {name: p for name, p in case.decoder.named_parameters() if name.startswith(("cells", "attention"))}
    wanted = given | {name: p for name, p in learnt.items() if "key" not in name}
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    named = {f"by {name}": gradient for name, gradient in zip(wanted, gradients, strict=True)}
    return dict(zip(("hidden", "context", "alignment"), (x.detach() for x in found), strict=True)) | named


def right(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """Everything equals the reference."""
    case = draw(shape, dtype, where.device)
    with poisoned():
        found = results(by_kernels, case)
    return compare(found, results(step_by_step, doubled(case)), TOLERANCE[dtype])


def replayed(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """Recorded and replayed, with everything it has to write poisoned before, it gives what single launches give."""
    case = draw(shape, dtype, where.device)
    launched = results(partial(by_kernels, how=How(replay=False)), case)
    for _ in range(4):  # as it is, recorded, replayed, replayed
        for place in places.PLACES.items():
            poison(place)
        same(results(by_kernels, case), launched)
    return "the same bits 4 times"


def poison(place: places.Place) -> None:
    """Overwrite what the loops have to write."""
    for tensors in (place.kept, place.errors, place.sums):
        for tensor in tensors or ():
            tensor.fill_(torch.nan)


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Bits that may not differ.

    Raises:
        Failed: They do.
    """
    moved = [name for name in wanted if not torch.equal(found[name], wanted[name])]
    if moved:
        raise Failed(f"other bits: {', '.join(moved)}")


def interrupted(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """Gradients of a batch are its own when others, shorter and longer, go through its place in between."""
    case, other = (draw(shape, dtype, where.device) for _ in range(2))
    wanted = results(by_kernels, case)

    def between(decoder: Decoder, embedded: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        found = by_kernels(decoder, embedded, memory)
        for last in (None, -1):
            shorter = case._replace(encoded=other.encoded[:last], keys=other.keys[:last], lengths=other.lengths[:last])
            results(by_kernels, shorter._replace(embedded=other.embedded[:last]))
        return found

    for _ in range(3):
        same(results(between, case), wanted)
    return "the same bits"


def launched(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """Many launches in a row end, and the last gives what the first gave."""
    case, calls = draw(shape, dtype, where.device), 1 + where.launches // (6 * shape.steps)
    first = results(by_kernels, case)
    for _ in range(calls):
        last = results(by_kernels, case)
    same(last, first)
    return f"some {6 * shape.steps * calls} launches"


def energies(shape: tuple[int, int, int, int], dtype: torch.dtype, where: Where) -> str:
    """Additive energies of all rows at once, and their gradients."""
    batch, rows, frames, size = shape
    drawn = {"query": (batch * rows, size), "keys": (batch, frames, size), "score": (size,)}
    given = {name: torch.randn(one, device=where.device) for name, one in drawn.items()}
    given["keys"] = given["keys"].to(dtype)
    ours, exact = ([x.to(kind or x.dtype).requires_grad_() for x in given.values()] for kind in (None, torch.float64))
    outer = torch.randn(batch * rows, frames, device=where.device)
    with poisoned():
        found = additive_energies(*ours)
        gradients = torch.autograd.grad(found, ours, outer)
    asked = exact[0].unflatten(0, (batch, -1)).unsqueeze(2)
    wanted = (torch.tanh(asked + exact[1].unsqueeze(1)) @ exact[2]).flatten(0, 1)
    expected = torch.autograd.grad(wanted, exact, outer.double())
    names = [f"by {name}" for name in given]
    named, expected_named = (
        dict(zip(["energies", *names], [x, *y], strict=True)) for x, y in ((found, gradients), (wanted, expected))
    )
    return compare(named, expected_named, TOLERANCE[dtype])


def checks(where: Where) -> Iterator[Check]:
    """All of them, the cheapest first."""
    for dtype in TOLERANCE:
        for size in ENERGIES[1:2] if where.tiny else ENERGIES:
            yield _check("additive energies", energies, size, dtype, where)
        for shape in SMALL if where.tiny else LARGE[::-1]:
            yield _check("equals float64", right, shape, dtype, where)
    few = [TINY] if where.tiny else [Shape(), Shape(kind="scaled_dot", heads=4), BASE]
    for shape in few:
        yield _check("a replay equals launches", replayed, shape, torch.float32, where)
        yield _check("batches in between", interrupted, shape, torch.float32, where)
    yield _check("many launches", launched, few[0], torch.float32, where)
    yield _check("many launches", launched, few[-1], torch.bfloat16, where)


def _check(what: str, run: Callable[[Any, torch.dtype, Where], str], shape: Any, dtype: Any, where: Where) -> Check:
    named = shape._asdict().items() if isinstance(shape, Shape) else zip("BRSA", shape, strict=True)
    sizes = " ".join(f"{name}={value}" for name, value in named)
    return Check(f"decoder {str(dtype).removeprefix('torch.')} {sizes}: {what}", lambda: run(shape, dtype, where))
