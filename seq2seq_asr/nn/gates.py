"""What happens inside a recurrent cell: its gates, its recurrent matrices, and a library layer as the cell it steps.

The library's kernels hide their gates and all states but the outputs; here the same weights are put into the cells of
`nn.cells`, whose every step is at hand.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.cells import Cell, CellKind, ElmanCell, GruCell, LightGruCell, LstmCell, PeepholeLstmCell
from seq2seq_asr.nn.recurrent import UnrolledLayer

Squashing = Literal["sigmoid", "tanh", "relu"]
BLOCKS: dict[CellKind, tuple[str, ...]] = {
    "lstm": ("input", "forget", "candidate", "output"),
    "peephole_lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
    "light_gru": ("update", "candidate"),
    "elman": ("state",),
    "elman_relu": ("state",),
}
"""Gates of each cell, in the order of their blocks in the recurrent matrix."""


class Gate(NamedTuple):
    """One gate at some steps."""

    squashing: Squashing
    values: Float[Tensor, "B D"]


class Saturation(NamedTuple):
    """Shares of a gate's values from which hardly any gradient comes back.

    Below 0.05 and above 0.95 of a logistic function, below -0.95 and above 0.95 of a hyperbolic tangent, 0 of a ReLU.
    """

    low: float
    high: float


def kind_of(cell: nn.Module) -> CellKind:
    """Which cell this is.

    Raises:
        TypeError: None of `nn.cells`.
    """
    match cell:
        case nn.LSTMCell():
            return "lstm"
        case nn.GRUCell():
            return "gru"
        case nn.RNNCell():
            return "elman" if cell.nonlinearity == "tanh" else "elman_relu"
        case PeepholeLstmCell():
            return "peephole_lstm"
        case LightGruCell():
            return "light_gru"
    raise TypeError(f"no cell of ours: {type(cell).__name__}")


def stepped(layer: nn.Module) -> Cell:
    """The cell that a left-to-right layer steps, with the same weights.

    Raises:
        TypeError: No layer of `nn.recurrent`.
    """
    if isinstance(layer, UnrolledLayer):
        return layer.cell
    if not isinstance(layer, nn.RNNBase):
        raise TypeError(f"no recurrent layer of ours: {type(layer).__name__}")
    cell: Cell
    match layer:
        case nn.LSTM():
            cell = LstmCell(layer.input_size, layer.hidden_size)
        case nn.GRU():
            cell = GruCell(layer.input_size, layer.hidden_size)
        case nn.RNN():
            cell = ElmanCell(layer.input_size, layer.hidden_size, "tanh" if layer.nonlinearity == "tanh" else "relu")
    weights = {name.removesuffix("_l0"): value for name, value in layer.state_dict().items()}
    cell.to(layer.get_parameter("weight_hh_l0")).load_state_dict(weights)
    return cell


def units_of(cell: nn.Module) -> int:
    """Size of a cell's output (D)."""
    return recurrent_weight(cell).shape[1]


def recurrent_weight(cell: nn.Module) -> Float[Tensor, "G D"]:
    """The matrix from the last output to all gates."""
    return cell.get_parameter("recurrent.weight" if hasattr(cell, "recurrent") else "weight_hh")


def spectral_radii(cell: nn.Module) -> dict[str, float]:
    """Largest absolute eigenvalue of each gate's block of the recurrent matrix."""
    names = BLOCKS[kind_of(cell)]
    blocks = recurrent_weight(cell).detach().double().cpu().chunk(len(names))
    return {name: float(torch.linalg.eigvals(block).abs().max()) for name, block in zip(names, blocks, strict=True)}


def gates(cell: nn.Module, frames: Float[Tensor, "B I"], states: Float[Tensor, "B K"]) -> dict[str, Gate]:
    """The gates of steps from these states with these inputs, by name.

    Raises:
        TypeError: No cell of `nn.cells`.
    """
    match cell:
        case nn.LSTMCell() | nn.RNNCell():
            return _named(cell, _from_input(cell, frames) + _from_output(cell, states[:, : cell.hidden_size]))
        case nn.GRUCell():
            return _gru_gates(cell, frames, states)
        case PeepholeLstmCell():
            return _peephole_gates(cell, frames, states)
        case LightGruCell():
            return _named(cell, cell.project(frames) + cell.recurrent(states))
    raise TypeError(f"no cell of ours: {type(cell).__name__}")


def saturation(gate: Gate) -> Saturation:
    """How much of a gate is shut, or wide open."""
    low, high = {"sigmoid": (0.05, 0.95), "tanh": (-0.95, 0.95), "relu": (0.0, torch.inf)}[gate.squashing]
    below = gate.values <= low if gate.squashing == "relu" else gate.values < low
    return Saturation(float(below.double().mean()), float((gate.values > high).double().mean()))


def _from_input(cell: nn.RNNCellBase, frames: Float[Tensor, "B I"]) -> Float[Tensor, "B G"]:
    return F.linear(frames, cell.get_parameter("weight_ih"), cell.get_parameter("bias_ih"))


def _from_output(cell: nn.RNNCellBase, outputs: Float[Tensor, "B D"]) -> Float[Tensor, "B G"]:
    return F.linear(outputs, cell.get_parameter("weight_hh"), cell.get_parameter("bias_hh"))


def _named(cell: nn.Module, arguments: Float[Tensor, "B G"]) -> dict[str, Gate]:
    """Every block squashed as its gate is: candidates, and the state of an Elman cell, by their own function."""
    kind = kind_of(cell)
    own: Squashing = "relu" if kind in ("elman_relu", "light_gru") else "tanh"
    names = BLOCKS[kind]
    return {
        name: _squashed(part, own if name in ("candidate", "state") else "sigmoid")
        for name, part in zip(names, arguments.chunk(len(names), dim=-1), strict=True)
    }


def _squashed(argument: Float[Tensor, "B D"], squashing: Squashing) -> Gate:
    return Gate(squashing, {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}[squashing](argument))


def _gru_gates(cell: nn.GRUCell, frames: Float[Tensor, "B I"], states: Float[Tensor, "B D"]) -> dict[str, Gate]:
    """The reset gate acts on what the output gives to the candidate, bias included, as in cuDNN."""
    reset, update, candidate = _from_input(cell, frames).chunk(3, dim=-1)
    reset_back, update_back, candidate_back = _from_output(cell, states).chunk(3, dim=-1)
    reset = torch.sigmoid(reset + reset_back)
    return {
        "reset": Gate("sigmoid", reset),
        "update": _squashed(update + update_back, "sigmoid"),
        "candidate": _squashed(candidate + reset * candidate_back, "tanh"),
    }


def _peephole_gates(
    cell: PeepholeLstmCell, frames: Float[Tensor, "B I"], states: Float[Tensor, "B K"]
) -> dict[str, Gate]:
    """The memory after the step, which the output gate may see, is the second half of the next state."""
    output, memory = states.chunk(2, dim=-1)
    seen = cell(frames, states).chunk(2, dim=-1)[1] if cell.config.output_sees == "new" else memory
    parts = (cell.project(frames) + cell.recurrent(output)).chunk(4, dim=-1)
    weights = {"input": (0, memory), "forget": (1, memory), "output": (2, seen)}
    arguments = []
    for name, part in zip(BLOCKS["peephole_lstm"], parts, strict=True):
        place, told = weights.get(name, (0, torch.zeros_like(memory)))
        weight = cell.peepholes[place]
        arguments.append(part + (F.linear(told, weight) if cell.config.full else told * weight))
    return _named(cell, torch.cat(arguments, dim=-1))
