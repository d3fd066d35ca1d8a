"""Recurrent cells: one step of each, and many from a given state.

A cell is a module called with an input ``(B, I)`` and a state ``(B, K)`` and gives the next state, whose first
``units`` values are the output; an LSTM carries its memory behind them. The library's own cells and kernels are used
where they exist; the others split a step into what the input gives, computed for all frames at once, and the rest.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.library_cells import Cell, ElmanCell, GruCell, LstmCell, open_forget_gate

__all__ = [
    "Cell", "CellKind", "ElmanCell", "GruCell", "LightGruCell", "LstmCell", "PeepholeConfig", "PeepholeLstmCell",
    "UnrolledCell", "build_cell", "has_memory", "open_forget_gate", "state_size",
]  # fmt: skip

CellKind = Literal["lstm", "gru", "elman", "elman_relu", "peephole_lstm", "light_gru"]


@dataclass(frozen=True, kw_only=True)
class PeepholeConfig:
    """How the gates of a peephole LSTM see its memory."""

    full: bool = False
    """Every gate sees every memory cell; by default its own alone (a diagonal matrix)."""
    output_sees: Literal["new", "old"] = "new"
    """Whether the output gate sees the memory after this step (Graves 2013) or, like the other gates, before it."""


class UnrolledCell(Cell):
    """A cell in plain PyTorch.

    Args:
        input_size: Features of an input.
        units: Size of the output.
        gates: Blocks of ``units`` that input and last output give to a step.
    """

    def __init__(self, input_size: int, units: int, gates: int) -> None:
        super().__init__()
        self.units = units
        self.input = nn.Linear(input_size, gates * units)
        self.recurrent = nn.Linear(units, gates * units, bias=False)
        for parameter in self.parameters():  # as the library's cells start
            nn.init.uniform_(parameter, -(units**-0.5), units**-0.5)

    def project(self, frames: Float[Tensor, "*B I"]) -> Float[Tensor, "*B G"]:
        """What inputs give to their steps, whatever came before."""
        return self.input(frames)


class PeepholeLstmCell(UnrolledCell):
    """LSTM whose gates see the memory (Gers & Schmidhuber 2000; Graves 2013, equations 7 to 11).

    Args:
        input_size: Features of an input.
        units: Size of the output.
        config: What the gates see.
    """

    def __init__(self, input_size: int, units: int, config: PeepholeConfig) -> None:
        super().__init__(input_size, units, gates=4)
        self.config = config
        shape = (3, units, units) if config.full else (3, units)
        self.peepholes = nn.Parameter(torch.empty(shape).uniform_(-(units**-0.5), units**-0.5))
        """Of the input, forget and output gate."""
        open_forget_gate(self.input.bias)

    def advance(
        self, given: Float[Tensor, "B G"], state: Float[Tensor, "B K"], seen: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B K"]:
        """Gates in the library's order: input, forget, candidate, output."""
        output, memory = state.chunk(2, dim=-1)
        parts = given + self.recurrent(output if seen is None else seen)
        enter, forget, candidate, leave = parts.chunk(4, dim=-1)
        enter, forget = (torch.sigmoid(gate + self._seen(place, memory)) for place, gate in enumerate((enter, forget)))
        new = forget * memory + enter * torch.tanh(candidate)
        leave = torch.sigmoid(leave + self._seen(2, new if self.config.output_sees == "new" else memory))
        return torch.cat([leave * torch.tanh(new), new], dim=-1)

    def _seen(self, gate: int, memory: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        weight = self.peepholes[gate]
        return F.linear(memory, weight) if self.config.full else memory * weight


class LightGruCell(UnrolledCell):
    """Light GRU: no reset gate, ReLU candidates (Ravanelli et al. 2018, equations 6 to 8).

    The published cell normalises what the input gives by batch statistics; here that is layer normalisation, which
    does not depend on the other utterances of a batch or on their padding. The recurrent matrix of each gate starts
    orthogonal, as in the authors' code.
    """

    def __init__(self, input_size: int, units: int) -> None:
        super().__init__(input_size, units, gates=2)
        self.norms = nn.ModuleList(nn.LayerNorm(units) for _ in range(2))
        for gate in self.recurrent.weight.detach().chunk(2):
            nn.init.orthogonal_(gate)

    def project(self, frames: Float[Tensor, "*B I"]) -> Float[Tensor, "*B G"]:
        """The normalised update gate and candidate."""
        parts = self.input(frames).chunk(2, dim=-1)
        return torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], dim=-1)

    def advance(
        self, given: Float[Tensor, "B G"], state: Float[Tensor, "B K"], seen: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B K"]:
        """The state is the output."""
        update, candidate = (given + self.recurrent(state if seen is None else seen)).chunk(2, dim=-1)
        return torch.lerp(torch.relu(candidate), state.to(candidate.dtype), torch.sigmoid(update))


def build_cell(kind: CellKind, input_size: int, units: int, peephole: PeepholeConfig) -> Cell:
    """The cell of this kind; ``peephole`` is for a peephole LSTM alone."""
    match kind:
        case "lstm":
            return LstmCell(input_size, units)
        case "gru":
            return GruCell(input_size, units)
        case "elman" | "elman_relu":
            return ElmanCell(input_size, units, "tanh" if kind == "elman" else "relu")
        case "peephole_lstm":
            return PeepholeLstmCell(input_size, units, peephole)
        case "light_gru":
            return LightGruCell(input_size, units)


def has_memory(kind: CellKind) -> bool:
    """Whether a cell carries a memory behind its output."""
    return kind in ("lstm", "peephole_lstm")


def state_size(kind: CellKind, units: int) -> int:
    """Numbers a cell carries from step to step (K)."""
    return 2 * units if has_memory(kind) else units
