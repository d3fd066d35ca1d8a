"""An encoder layer as one operator of ONNX, which knows lengths: no unrolling, no reversal, no packing."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.cells import PeepholeConfig, PeepholeLstmCell
from seq2seq_asr.nn.recurrent import BidirectionalLayer, UnidirectionalLayer, UnrolledLayer

OPSET = 18
"""Version of ONNX's operators that the graphs are written in."""


class OnnxLayer(nn.Module):
    """What an encoder layer computes, by ONNX's LSTM, GRU or RNN; only for export, it computes nothing here.

    Args:
        layer: The layer; its weights are copied.

    Raises:
        UsageError: ONNX has no operator for its cell.
    """

    weight: Tensor
    recurrent: Tensor
    bias: Tensor
    peepholes: Tensor

    def __init__(self, layer: UnidirectionalLayer) -> None:
        super().__init__()
        directions = [layer.ahead, layer.back] if isinstance(layer, BidirectionalLayer) else [layer.ahead]
        self.directions, self.units = len(directions), layer.size // len(directions)
        self.operator, self.attributes = operator_of(layer.ahead)
        if self.operator == "RNN":
            self.attributes["activations"] *= self.directions
        weights = [weights_of(one, self.operator) for one in directions]
        for name, *parts in zip(("weight", "recurrent", "bias", "peepholes"), *weights, strict=False):
            self.register_buffer(name, torch.stack(parts))

    def forward(self, frames: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T E"]:
        """Hidden states of all directions, joined; zero past each utterance's length."""
        inputs: list[Tensor | None] = [frames.transpose(0, 1), self.weight, self.recurrent, self.bias]
        inputs += [lengths.to(torch.int32)]
        if hasattr(self, "peepholes"):
            inputs += [None, None, self.peepholes]
        direction = "bidirectional" if self.directions == 2 else "forward"
        states = torch.onnx.ops.symbolic(
            self.operator,
            inputs,
            {"hidden_size": self.units, "direction": direction, **self.attributes},
            dtype=frames.dtype,
            shape=(frames.shape[1], self.directions, frames.shape[0], self.units),
            version=OPSET,
        )
        return states.permute(2, 0, 1, 3).flatten(2)


def operator_of(layer: nn.Module) -> tuple[str, dict[str, Any]]:
    """The operator and its attributes.

    Raises:
        UsageError: There is none.
    """
    match layer:
        case nn.LSTM():
            return "LSTM", {}
        case nn.GRU():
            return "GRU", {"linear_before_reset": 1}
        case nn.RNN():
            return "RNN", {"activations": [layer.nonlinearity.capitalize()]}
        case UnrolledLayer(cell=PeepholeLstmCell(config=config), regularisation=regularisation) if (
            config == PeepholeConfig() and not regularisation.stepwise
        ):
            return "LSTM", {}  # its peepholes are diagonal, and its output gate sees the new memory
    raise UsageError(
        "format onnx: ONNX has no operator for encoder.cell light_gru, for a peephole_lstm with peephole.full or "
        "peephole.output_sees old, nor for zoneout between steps; --format safetensors takes every encoder"
    )


ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""ONNX's gates by torch's: input, output, forget, candidate; update, reset, candidate."""


def weights_of(layer: nn.Module, operator: str) -> list[Tensor]:
    """Of one direction, in ONNX's order of gates: by the input, by the last output, both biases, peepholes if any."""
    if isinstance(layer, UnrolledLayer):
        assert isinstance(layer.cell, PeepholeLstmCell)
        given, recurrent = layer.cell.input, layer.cell.recurrent
        parts = [given.weight, recurrent.weight, given.bias, torch.zeros_like(given.bias)]
        peepholes = [_reordered(layer.cell.peepholes, (0, 2, 1)).flatten()]
    else:
        parts = [layer.get_parameter(f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        peepholes = []
    weight, recurrent_weight, *biases = [_reordered(part, ORDER[operator]) for part in parts]
    return [weight, recurrent_weight, torch.cat(biases), *peepholes]


def _reordered(rows: Tensor, order: tuple[int, ...]) -> Tensor:
    parts = rows.detach().chunk(len(order))
    return torch.cat([parts[place] for place in order])
