"""Recurrent cells that the library has kernels for, and what all cells share."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Cell(nn.Module):
    """What all cells share."""

    units: int
    """Size of the output."""

    def project(self, frames: Float[Tensor, "*B I"]) -> Float[Tensor, "*B G"]:
        """What inputs give to their steps, whatever came before; the inputs themselves where a kernel wants those."""
        return frames

    def advance(
        self, given: Float[Tensor, "B G"], state: Float[Tensor, "B K"], seen: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B K"]:
        """The state after a step.

        Args:
            given: What the input gives.
            state: Before the step.
            seen: The last output as the recurrent weights see it, where that differs (recurrent dropout).
        """
        raise NotImplementedError

    def run(self, frames: Float[Tensor, "B T I"], state: Float[Tensor, "B K"]) -> Float[Tensor, "B T D"]:
        """Outputs of steps over all frames, from this state."""
        outputs = []
        for given in self.project(frames).unbind(dim=1):
            state = self.advance(given, state)
            outputs.append(state[:, : self.units])
        return torch.stack(outputs, dim=1)

    def forward(
        self, frame: Float[Tensor, "B I"], state: Float[Tensor, "B K"], seen: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B K"]:
        """The next state; see `advance`."""
        return self.advance(self.project(frame), state, seen)


class LstmCell(Cell, nn.LSTMCell):  # type: ignore[misc]
    """Long short-term memory with forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    Forget gates start open (Jozefowicz et al. 2015).
    """

    def __init__(self, input_size: int, units: int) -> None:
        nn.LSTMCell.__init__(self, input_size, units)
        self.units = units
        open_forget_gate(self.bias_hh)

    def advance(  # noqa: D102
        self, given: Float[Tensor, "B I"], state: Float[Tensor, "B K"], seen: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B K"]:
        output, memory = state.chunk(2, dim=-1)
        return torch.cat(nn.LSTMCell.forward(self, given, (output if seen is None else seen, memory)), dim=-1)

    def run(self, frames: Float[Tensor, "B T I"], state: Float[Tensor, "B K"]) -> Float[Tensor, "B T D"]:
        """By the library's kernel."""
        parts = tuple(part.unsqueeze(0).contiguous() for part in state.chunk(2, dim=-1))
        return torch.lstm(frames, parts, _weights(self), True, 1, 0.0, self.training, False, True)[0]


class GruCell(Cell, nn.GRUCell):  # type: ignore[misc]
    """Gated recurrent unit (Cho et al. 2014), the reset gate behind the recurrent product as in cuDNN."""

    def __init__(self, input_size: int, units: int) -> None:
        nn.GRUCell.__init__(self, input_size, units)
        self.units = units

    def advance(  # noqa: D102
        self, given: Float[Tensor, "B I"], state: Float[Tensor, "B K"], seen: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B K"]:
        if seen is None:
            return nn.GRUCell.forward(self, given, state)
        reset, update, new = F.linear(given, self.weight_ih, self.bias_ih).chunk(3, dim=-1)
        reset_back, update_back, new_back = F.linear(seen, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
        new = torch.tanh(new + torch.sigmoid(reset + reset_back) * new_back)
        return new + torch.sigmoid(update + update_back) * (state - new)

    def run(self, frames: Float[Tensor, "B T I"], state: Float[Tensor, "B K"]) -> Float[Tensor, "B T D"]:
        """By the library's kernel."""
        return torch.gru(frames, state[None].contiguous(), _weights(self), True, 1, 0.0, self.training, False, True)[0]


class ElmanCell(Cell, nn.RNNCell):  # type: ignore[misc]
    """Simple recurrence (Elman 1990), by tanh or ReLU."""

    def __init__(self, input_size: int, units: int, nonlinearity: Literal["tanh", "relu"]) -> None:
        nn.RNNCell.__init__(self, input_size, units, nonlinearity=nonlinearity)
        self.units = units

    def advance(  # noqa: D102
        self, given: Float[Tensor, "B I"], state: Float[Tensor, "B K"], seen: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B K"]:
        return nn.RNNCell.forward(self, given, state if seen is None else seen)

    def run(self, frames: Float[Tensor, "B T I"], state: Float[Tensor, "B K"]) -> Float[Tensor, "B T D"]:
        """By the library's kernel."""
        kernel = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
        return kernel(frames, state[None].contiguous(), _weights(self), True, 1, 0.0, self.training, False, True)[0]


def open_forget_gate(bias: nn.Parameter) -> None:
    """Set the forget gate's part of an LSTM's bias, the second of four, to one."""
    nn.init.ones_(bias.chunk(4)[1])


def _weights(cell: nn.RNNCellBase) -> list[Tensor]:
    return [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
