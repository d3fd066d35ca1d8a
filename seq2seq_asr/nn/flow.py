"""How the gradient flows back through time: norms of vector-Jacobian products over the distance in steps.

Whether a recurrence can learn a dependency over k steps depends on the Jacobian of its output at T by its state at
T - k: a product of k matrices, which vanishes or explodes with k (Hochreiter 1991; Bengio et al. 1994; Pascanu et al.
2013, section 2). Its norm is sampled here: the norm of v times the Jacobian for random unit vectors v, whose root mean
square is the Jacobian's Frobenius norm divided by the square root of the units. At distance 0 it is 1, and where the
recurrence is linear by an orthogonal matrix times a, it is a to the power of k.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.cells import CellKind, state_size
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.gates import Saturation, Squashing, gates, kind_of, saturation, spectral_radii, stepped, units_of
from seq2seq_asr.nn.recurrent import UnrolledLayer
from seq2seq_asr.nn.regularisation import RegularisationConfig
from seq2seq_asr.vocabulary import SOS


class GateShare(NamedTuple):
    """A gate, and how much of it is saturated."""

    squashing: Squashing
    saturation: Saturation


class LayerFlow(NamedTuple):
    """One recurrence on one utterance."""

    name: str
    """Of the layer; the directions of a layer share it."""
    cell: CellKind
    units: int
    frames: int
    """Steps of the recurrence."""
    norms: Float[Tensor, "P D"]
    """Of probe p over distance d from 0; NaN before the first step."""
    gates: dict[str, GateShare]
    radii: dict[str, float]
    """Spectral radius of each block of the recurrent matrix."""


def encoder_flow(
    encoder: nn.Module, features: Float[Tensor, "1 T F"], probes: int, generator: torch.Generator
) -> list[LayerFlow]:
    """Every recurrence of an encoder on one utterance, in double precision.

    Args:
        encoder: Called with features and their lengths; its recurrences are found wherever they stand in it.
        features: Frames of one utterance, without padding.
        probes: Random vectors, each at another end T in the utterance's second half.
        generator: Draws the vectors.
    """
    encoder = copy.deepcopy(encoder).double().eval()
    named = {name: layer for name, layer in encoder.named_modules() if isinstance(layer, nn.RNNBase | UnrolledLayer)}
    with torch.no_grad(), ExitStack() as stack:
        read = {name: stack.enter_context(_watched(layer)) for name, layer in named.items()}
        encoder(features.double(), torch.tensor([features.shape[1]], device=features.device))
    names = _layer_names(list(named))
    return [
        layer_flow(f"encoder {names[name]}", stepped(layer), read[name][0][0][0], probes, generator, between(layer))
        for name, layer in named.items()
    ]


def layer_flow(
    name: str,
    cell: nn.Module,
    frames: Float[Tensor, "T I"],
    probes: int,
    generator: torch.Generator,
    regularisation: RegularisationConfig | None = None,
) -> LayerFlow:
    """A cell over the frames of one utterance.

    Args:
        name: Name of the layer.
        cell: A cell of `nn.cells`.
        frames: What it reads.
        probes: Random vectors.
        generator: Draws them.
        regularisation: What stands between two steps: of zoneout, its mean as in evaluation.
    """
    kept, units = regularisation or RegularisationConfig(), units_of(cell)
    states = [frames.new_zeros(probes, 1, state_size(kind_of(cell), units), requires_grad=True)]
    for frame in frames:
        new = cell(frame.expand(probes, -1), states[-1][:, 0])
        states.append(kept.zone_out(new, states[-1][:, 0], units, training=False).unsqueeze(1))
    before = torch.stack([state[0, 0] for state in states[:-1]])
    return _flow(name, cell, probe(states[1:], 0, units, generator), frames, before)


def between(layer: nn.Module) -> RegularisationConfig | None:
    """What happens between two steps of a layer; a library's kernel allows nothing."""
    return layer.regularisation if isinstance(layer, UnrolledLayer) else None


def decoder_flow(
    decoder: Decoder,
    encoded: Float[Tensor, "1 S E"],
    tokens: Int[Tensor, " U"],
    probes: int,
    generator: torch.Generator,
) -> list[LayerFlow]:
    """Every layer of a decoder's recurrence, teacher-forced on one utterance, in double precision.

    The gradient goes from a layer's output to what the same layer has carried, by whatever way leads through later
    steps (attention and input feeding included).

    Args:
        decoder: The decoder.
        encoded: Encoded frames of the utterance, without padding.
        tokens: Its targets.
        probes: Random vectors.
        generator: Draws them.
    """
    decoder = copy.deepcopy(decoder).double().eval()
    lengths = torch.full((probes,), encoded.shape[1], device=encoded.device)
    memory = decoder.memory(encoded.double().detach().expand(probes, -1, -1), lengths)
    state, states = decoder.start(memory), []
    with ExitStack() as stack:
        calls = [stack.enter_context(_watched(cell)) for cell in decoder.cells]
        for token in [SOS, *tokens.tolist()]:
            embedded = decoder.embedding(torch.full_like(lengths, token))
            state = decoder.advance(embedded, state, memory)
            states.append(state.hidden)
    found = []
    for layer, (cell, read) in enumerate(zip(decoder.cells, calls, strict=True)):
        frames, before = (torch.stack([call[side][0] for call in read]) for side in (0, 1))
        norms = probe(states, layer, units_of(cell), generator)
        found.append(_flow(f"decoder {layer + 1}", cell, norms, frames, before))
    return found


def probe(
    states: Sequence[Float[Tensor, "P L K"]], layer: int, units: int, generator: torch.Generator
) -> Float[Tensor, "P D"]:
    """Norms of v times the Jacobian of a layer's output at T by what it carries at T - d, for a v and a T of each row.

    Args:
        states: What all layers carry after each step, outputs first; rows are independent copies.
        layer: The layer.
        units: Size of its output.
        generator: Draws the unit vectors.

    Returns:
        A norm for each probe and distance d from 0; NaN where T - d lies before the first step.
    """
    (probes, *_), steps = states[0].shape, len(states)
    ends = probe_ends(steps, probes)
    drawn = torch.randn(probes, units, generator=generator, dtype=torch.float64).to(states[0])
    vectors = drawn / drawn.norm(dim=-1, keepdim=True)
    reached = torch.stack([states[end][row, layer, :units] for row, end in enumerate(ends)])
    gradients = torch.autograd.grad((vectors * reached).sum(), list(states), retain_graph=True)
    sizes = torch.stack([gradient[:, layer].norm(dim=-1) for gradient in gradients], dim=1)  # (P, T)
    norms = torch.full((probes, steps), torch.nan, dtype=torch.float64)
    for row, end in enumerate(ends):
        norms[row, : end + 1] = sizes[row, : end + 1].flip(0).cpu()
    return norms


def probe_ends(steps: int, probes: int) -> list[int]:
    """The steps T of the probes, spread evenly over the second half of an utterance; the last is its last step."""
    half = steps // 2
    return [steps - 1 - half * row // max(1, probes) for row in range(probes)][::-1]


@torch.no_grad()
def _flow(
    name: str, cell: nn.Module, norms: Float[Tensor, "P D"], frames: Float[Tensor, "T I"], before: Float[Tensor, "T K"]
) -> LayerFlow:
    """With the gates of every step from these states with these inputs."""
    found = {
        gate: GateShare(one.squashing, saturation(one)) for gate, one in gates(cell, frames, before.detach()).items()
    }
    return LayerFlow(name, kind_of(cell), units_of(cell), len(frames), norms, found, spectral_radii(cell))


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[tuple[Any, ...]]]:
    """The arguments of every call of a module, within a block."""
    calls: list[tuple[Any, ...]] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: calls.append(arguments))
    try:
        yield calls
    finally:
        handle.remove()


def _layer_names(paths: Sequence[str]) -> dict[str, int]:
    """A number from 1 for each recurrence; the two directions of a layer have the same."""
    parents = [path.rpartition(".")[0] if path.rpartition(".")[2] in ("ahead", "back") else path for path in paths]
    numbers = {parent: place for place, parent in enumerate(dict.fromkeys(parents), start=1)}
    return {path: numbers[parent] for path, parent in zip(paths, parents, strict=True)}


def by_layer(flows: Sequence[LayerFlow]) -> Iterator[tuple[str, list[LayerFlow]]]:
    """The flows of each layer, in the order in which they came."""
    groups: defaultdict[str, list[LayerFlow]] = defaultdict(list)
    for flow in flows:
        groups[flow.name].append(flow)
    yield from groups.items()
