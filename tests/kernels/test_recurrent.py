"""Persistent recurrent layers in Triton's interpreter against cells stepped one by one in double precision."""

import multiprocessing
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("triton")

from triton.runtime import interpreter

from seq2seq_asr.kernels import recurrent
from seq2seq_asr.kernels.recurrent import Kind, plan_for, recurrent_layer
from seq2seq_asr.nn.cells import CellKind, PeepholeConfig
from seq2seq_asr.nn.recurrent import BidirectionalLayer, UnidirectionalLayer

CPU = torch.device("cpu")
CELLS = {"lstm": None, "gru": None, "new": PeepholeConfig(), "old": PeepholeConfig(output_sees="old")}
CELLS |= {"elman": None, "elman_relu": None}
KINDS = ["lstm", "gru", "tanh", "relu"]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Memory that a kernel must write holds NaN before."""
    real = torch.empty_like
    monkeypatch.setattr(recurrent.torch, "empty_like", lambda x, **given: real(x, **given).fill_(torch.nan))


def build(name: Any, layer: type[UnidirectionalLayer], inputs: int, units: int) -> UnidirectionalLayer:
    """A layer that takes its kernel, here in the interpreter, with weights that are not small."""
    kind: CellKind = "peephole_lstm" if name in ("new", "old") else name
    made = layer(kind, inputs, units, CELLS[name])
    made.kernels = "require"
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def one_by_one(layer: UnidirectionalLayer, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Hidden states by calling the cells of a layer step by step, utterance by utterance."""
    units = 5
    both: list[torch.Tensor] = []
    for way in [layer.ahead, layer.back] if isinstance(layer, BidirectionalLayer) else [layer.ahead]:
        rows = []
        for row, length in zip(frames, lengths.tolist(), strict=True):
            state, found = row.new_zeros(1, 2 * units), {}
            for place in list(range(length))[:: -1 if both else 1]:
                state = step(way, row[place : place + 1], state)
                found[place] = state[0, :units]
            rows.append(torch.stack([found.get(place, row.new_zeros(units)) for place in range(len(row))]))
        both.append(torch.stack(rows))
    return torch.cat(both, dim=-1)


def step(way: Any, frame: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """By PyTorch's own cells, whose weights stay the layer's."""
    if not isinstance(way, nn.RNNBase):
        return way.cell(frame, state)
    weights = [way.get_parameter(f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    output, memory = state.chunk(2, dim=-1)
    if isinstance(way, nn.GRU):
        return torch.gru_cell(frame, output, *weights).repeat(1, 2)
    if isinstance(way, nn.RNN):
        return getattr(torch, f"rnn_{way.nonlinearity}_cell")(frame, output, *weights).repeat(1, 2)
    return torch.cat(torch.lstm_cell(frame, (output, memory), *weights), dim=-1)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.detach().double() - wanted.detach()).norm() / wanted.detach().norm())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, BidirectionalLayer) for name in CELLS),
        *((name, UnidirectionalLayer) for name in ("lstm", "gru", "new")),
        # One direction is the first of two: what a cell computes does not ask which.
        *(
            pytest.param(name, UnidirectionalLayer, marks=pytest.mark.nightly)
            for name in ("old", "elman", "elman_relu")
        ),
    ],
)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("32", 5e-5), pytest.param("bf16", 5e-2, marks=pytest.mark.nightly)]
)
def test_layer_and_every_gradient_equal_cells_stepped_in_double_precision(name, kind, precision, tolerance):
    layer = build(name, kind, 3, 5)
    frames, lengths = torch.randn(3, 4, 3), torch.tensor([4, 1, 3])
    frames[1, 1:], frames[2, 3:] = 1e3, -1e3  # padding may hold anything finite
    frames.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        states = layer(frames, lengths)
    assert states.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert (states[1, 1:] == 0).all() and (states[2, 3:] == 0).all()
    weights = torch.randn(states.shape)
    found = torch.autograd.grad((states.float() * weights).sum(), [frames, *layer.parameters()])

    exact = build(name, kind, 3, 5).double()
    exact.load_state_dict(layer.state_dict())
    inputs = frames.detach().double().requires_grad_()
    expected = one_by_one(exact, inputs, lengths)
    wanted = torch.autograd.grad((expected * weights).sum(), [inputs, *exact.parameters()])
    assert error(states, expected) < tolerance
    for (parameter, _), one, other in zip([("frames", 0), *layer.named_parameters()], found, wanted, strict=True):
        assert error(one, other) < tolerance, parameter
    assert (found[0][1, 1:] == 0).all() and (found[0][2, 3:] == 0).all()


def by_hand(given, weights, start, lengths, cell):
    """Outputs and last states in plain PyTorch, from what is given to the sums of every unit."""
    outputs, carried = [], []
    for way in range(given.shape[2]):
        rows, ends = [], []
        for b, length in enumerate(lengths.tolist()):
            output, memory = start[0][way, b], start[1][way, b]
            found = {}
            for t in list(range(length))[:: -1 if way else 1]:
                a, *more = (given[b, t, way] + weights[way] @ output).unbind(-1)
                b_, c, d = more or (a, a, a)
                if cell == "lstm":
                    memory = b_.sigmoid() * memory + a.sigmoid() * c.tanh()
                    output = d.sigmoid() * memory.tanh()
                elif cell != "gru":
                    memory = output = getattr(torch, cell)(a)
                else:
                    output = (1 - b_.sigmoid()) * (c + a.sigmoid() * d).tanh() + b_.sigmoid() * output
                    memory = output
                found[t] = output
            rows.append(torch.stack([found.get(t, torch.zeros_like(output)) for t in range(given.shape[1])]))
            ends.append((output, memory))
        outputs.append(torch.stack(rows))
        carried.append([torch.stack(part) for part in zip(*ends, strict=True)])
    last = (torch.stack(part) for part in zip(*carried, strict=True))
    return torch.stack(outputs, dim=2), *last


def drawn(batch: int, frames: int, units: int, cell: Any = "lstm", start: float = 0.5) -> list[torch.Tensor]:
    """What is given, weights and first states, in both directions."""
    gates = Kind(cell).gates
    given, weights = torch.randn(batch, frames, 2, units, gates), torch.randn(2, units, gates, units) * units**-0.5
    if cell == "gru":
        weights[:, :, 2] = 0
    output, memory = start * torch.randn(2, 2, batch, units)
    return [given, weights, output, memory if cell == "lstm" else output]


def check_against_hand(given, weights, output, memory, lengths, cell, plan, tolerance=5e-5):
    """Outputs, last states and every gradient."""
    single = [one.clone().requires_grad_() for one in (given, weights, output, memory)]
    double = [one.double().requires_grad_() for one in (given, weights, output, memory)]
    if cell != "lstm":
        single[3], double[3] = single[2], double[2]
    found = recurrent_layer(*single[:2], lengths, Kind(cell), plan, start=(single[2], single[3]))
    wanted = by_hand(*double[:2], double[2:], lengths, cell)
    factors = [torch.randn(one.shape) for one in wanted]
    losses = [sum((a * b).sum() for a, b in zip(all_, factors, strict=True)) for all_ in (found, wanted)]
    assert max(error(a, b) for a, b in zip(found, wanted, strict=True)) < tolerance
    leaves = slice(4 if cell == "lstm" else 3)
    gradients = [torch.autograd.grad(loss, of[leaves]) for loss, of in zip(losses, (single, double), strict=True)]
    assert [error(a, b) < tolerance for a, b in zip(*gradients, strict=True)] == [True] * len(gradients[0])


@pytest.mark.parametrize("cell", KINDS)
def test_first_and_last_states_and_their_gradients(cell):
    drawing, lengths = drawn(3, 4, 6, cell), torch.tensor([3, 4, 1])
    check_against_hand(*drawing, lengths, cell, plan_for(CPU, torch.float32, 6, 2, 3, Kind(cell).gates))


@pytest.mark.parametrize("cell", KINDS[:3])
def test_several_tiles_launched_one_by_one_and_more_units_than_the_narrowest_width(cell):
    drawing, lengths = drawn(17, 2, 67, cell), torch.tensor([1, 2] * 8 + [2])
    plan = plan_for(CPU, torch.float32, 67, 2, 17, Kind(cell).gates)
    assert plan.tiles == 2 and plan.width == 128
    check_against_hand(*drawing, lengths, cell, replace(plan, tiles=1, directions=1))


class Concurrent:
    """A kernel whose programs run at the same time, each in a process of its own, in memory that they share."""

    def __init__(self, kernel) -> None:
        self.kernel = kernel

    def __getitem__(self, grid):
        def run(*arguments, **constants):
            for one in arguments:
                if isinstance(one, torch.Tensor):
                    one.share_memory_()
            fork = multiprocessing.get_context("fork")
            programs = [fork.Process(target=self.alone, args=(k, grid, arguments, constants)) for k in range(grid[0])]
            for program in programs:
                program.start()
            for program in programs:
                program.join(60)
                program.kill()
            assert [program.exitcode for program in programs] == [0] * grid[0]

        return run

    def alone(self, program, grid, arguments, constants):
        """One program of the grid, in the interpreter."""
        builder = interpreter.interpreter_builder
        place = builder.set_grid_idx
        builder.set_grid_idx = lambda *first: place(program, 0, 0)
        size = builder.set_grid_dim
        builder.set_grid_dim = lambda *one: size(grid[0], 1, 1)
        # It would copy arguments onto themselves, over what others have written meanwhile.
        interpreter.GridExecutor._restore_args_dev = lambda *given: None
        self.kernel[(1,)](*arguments, **constants)


@pytest.mark.nightly
@pytest.mark.parametrize(("cell", "chunks", "warps"), [("lstm", 4, 8), ("gru", 1, 8), ("relu", 1, 4)])
def test_programs_that_share_units_and_run_at_the_same_time(cell, chunks, warps, monkeypatch):
    drawing, lengths = drawn(2, 7, 41, cell), torch.tensor([7, 4])
    plan = plan_for(CPU, torch.float32, 41, 2, 2, Kind(cell).gates)
    plan = replace(plan, units=16, slices=3, chunks=chunks, warps=warps)
    for kernel in ("layer_forward", "layer_backward"):
        monkeypatch.setattr(recurrent, kernel, Concurrent(getattr(recurrent, kernel)))
    check_against_hand(*drawing, lengths, cell, plan)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_utterance_gets_the_same_bits_alone_and_beside_others(dtype):
    given, weights, *_ = drawn(18, 3, 6)
    lengths = torch.tensor([2, 1, 3] * 6)
    given = given.to(dtype)
    plans = [plan_for(CPU, dtype, 6, 2, batch) for batch in (18, 1)]
    together = recurrent_layer(given, weights, lengths, Kind(), plans[0]).outputs
    for b in (0, 17):  # in the first tile and in the second
        one = slice(b, b + 1)
        alone = recurrent_layer(given[one, : lengths[b]], weights, lengths[one], Kind(), plans[1]).outputs
        assert torch.equal(together[one, : lengths[b]], alone)


def test_only_what_is_asked_for_gets_a_gradient():
    layer = build("gru", BidirectionalLayer, 3, 4).requires_grad_(False)
    frames = torch.randn(2, 3, 3, requires_grad=True)
    layer(frames, torch.tensor([3, 2])).sum().backward()
    assert (frames.grad[0] != 0).any() and all(parameter.grad is None for parameter in layer.parameters())


def test_lengths_beyond_the_frames_write_nothing_beyond_them():
    given, weights, *_ = drawn(2, 3, 4)
    plan = plan_for(CPU, torch.float32, 4, 2, 2)
    found = [recurrent_layer(given, weights, torch.tensor(n), Kind(), plan).outputs for n in ([9, 3], [3, 3])]
    assert torch.equal(*found)


def test_without_first_states_they_are_zero():
    given, weights, output, memory = drawn(2, 3, 4, start=0.0)
    plan, lengths = plan_for(CPU, torch.float32, 4, 2, 2), torch.tensor([3, 2])
    found = [recurrent_layer(given, weights, lengths, Kind(), plan, start=one) for one in (None, (output, memory))]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
