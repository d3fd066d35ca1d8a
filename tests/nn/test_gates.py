"""Gates, recurrent blocks and the cells that library layers step, of every kind."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seq2seq_asr.nn.cells import CellKind, PeepholeConfig, build_cell, state_size
from seq2seq_asr.nn.gates import (
    BLOCKS,
    Gate,
    gates,
    kind_of,
    recurrent_weight,
    saturation,
    spectral_radii,
    stepped,
    units_of,
)
from seq2seq_asr.nn.recurrent import recurrence

PEEPHOLES = [PeepholeConfig(full=full, output_sees=sees) for full in (False, True) for sees in ("new", "old")]
KINDS: list[tuple[CellKind, PeepholeConfig]] = [("peephole_lstm", config) for config in PEEPHOLES]
KINDS += [(kind, PeepholeConfig()) for kind in BLOCKS if kind != "peephole_lstm"]
every_cell = pytest.mark.parametrize(("kind", "peephole"), KINDS)


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=0.7)
    return module


def next_state(kind: str, found: dict[str, Tensor], state: Tensor) -> Tensor:
    """The state after a step, by the published equations, from nothing but its gates."""
    match kind:
        case "lstm" | "peephole_lstm":
            memory = found["forget"] * state.chunk(2, dim=1)[1] + found["input"] * found["candidate"]
            return torch.cat([found["output"] * torch.tanh(memory), memory], dim=1)
        case "gru" | "light_gru":
            return found["update"] * state + (1 - found["update"]) * found["candidate"]
        case _:
            return found["state"]


@every_cell
def test_the_gates_give_the_next_state(kind, peephole):
    cell = randomised(build_cell(kind, 3, 4, peephole))
    frames = torch.randn(5, 3, dtype=torch.float64)
    states = torch.randn(5, state_size(kind, 4), dtype=torch.float64)
    found = gates(cell, frames, states)
    assert tuple(found) == BLOCKS[kind] and kind_of(cell) == kind and units_of(cell) == 4
    values = {name: gate.values for name, gate in found.items()}
    torch.testing.assert_close(next_state(kind, values, states), cell(frames, states))
    inside = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, torch.inf)}
    for gate in found.values():
        low, high = inside[gate.squashing]
        assert ((gate.values >= low) & (gate.values <= high)).all()
    negative = {name for name, gate in found.items() if gate.squashing == "tanh"}
    assert negative == {
        name for name in found if name in ("candidate", "state") and kind not in ("light_gru", "elman_relu")
    }


def test_the_reset_gate_is_the_first_of_a_gru():
    cell = randomised(build_cell("gru", 3, 4, PeepholeConfig()))
    frames, states = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    expected = torch.sigmoid(
        frames @ cell.weight_ih[:4].T + cell.bias_ih[:4] + states @ cell.weight_hh[:4].T + cell.bias_hh[:4]
    )
    torch.testing.assert_close(gates(cell, frames, states)["reset"].values, expected)


@every_cell
def test_a_layer_equals_its_cell_step_by_step(kind, peephole):
    layer = randomised(recurrence(kind, 3, 4, peephole))
    cell, frames = stepped(layer), torch.randn(2, 6, 3, dtype=torch.float64)
    state, outputs = frames.new_zeros(2, state_size(kind, 4)), layer(frames)[0]
    for time in range(6):
        state = cell(frames[:, time], state)
        torch.testing.assert_close(outputs[:, time], state[:, :4])


@every_cell
def test_spectral_radii_are_those_of_numpy(kind, peephole):
    cell = randomised(build_cell(kind, 3, 5, peephole))
    weight = recurrent_weight(cell).detach().numpy()
    assert weight.shape == (5 * len(BLOCKS[kind]), 5)
    for place, (name, radius) in enumerate(spectral_radii(cell).items()):
        assert name == BLOCKS[kind][place]
        assert radius == pytest.approx(np.abs(np.linalg.eigvals(weight[5 * place : 5 * place + 5])).max())


def test_the_radius_of_a_rotation_is_its_scale():
    cell = build_cell("elman", 2, 2, PeepholeConfig())
    turn = torch.tensor([[np.cos(1.0), -np.sin(1.0)], [np.sin(1.0), np.cos(1.0)]], dtype=torch.float32)
    cell.weight_hh.data = 0.8 * turn
    assert spectral_radii(cell) == {"state": pytest.approx(0.8)}


@pytest.mark.parametrize(
    ("squashing", "values", "low", "high"),
    [
        ("sigmoid", [0.04, 0.06, 0.94, 0.96], 0.25, 0.25),
        ("sigmoid", [0.01, 0.02, 0.5, 0.96], 0.5, 0.25),
        ("tanh", [-0.96, -0.94, 0.0, 0.96, 0.97], 0.2, 0.4),
        ("relu", [0.0, 0.0, 3.0, 0.5], 0.5, 0.0),
    ],
)
def test_saturation_counts_both_ends(squashing, values, low, high):
    found = saturation(Gate(squashing, torch.tensor([values])))
    assert found.low == pytest.approx(low) and found.high == pytest.approx(high)


@pytest.mark.parametrize(("kind", "bias", "name"), [("lstm", 1, "forget"), ("gru", 1, "update"), ("gru", 0, "reset")])
def test_a_large_bias_opens_its_gate_and_no_other(kind, bias, name):
    cell = build_cell(kind, 3, 4, PeepholeConfig())
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    cell.bias_hh.data.chunk(len(BLOCKS[kind]))[bias].fill_(9.0)
    found = gates(cell, torch.randn(6, 3), torch.randn(6, state_size(kind, 4)))
    for gate in found:
        assert saturation(found[gate]) == ((0.0, 1.0) if gate == name else (0.0, 0.0))


def test_what_is_no_recurrence_is_refused():
    with pytest.raises(TypeError, match="Linear"):
        stepped(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="Linear"):
        kind_of(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="Linear"):
        gates(nn.Linear(2, 2), torch.zeros(1, 2), torch.zeros(1, 2))
