"""Whether a GPU kernel takes the place of the PyTorch reference, and the reference's weights as a kernel wants them."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.console import say
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.cells import PeepholeLstmCell

Kernels = Literal["auto", "off", "require"]

_SAID: set[str] = set()


def set_kernels(model: nn.Module, kernels: Kernels) -> None:
    """Tell every part of a model that has the choice whether to use its kernels."""
    for module in model.modules():
        if hasattr(type(module), "kernels"):
            cast(Any, module).kernels = kernels


def chosen(kernels: Kernels, device: torch.device, part: str, reason: str | None) -> bool:
    """Whether a kernel is used; said once where there is a GPU.

    Args:
        kernels: The user's choice.
        device: Where the values are.
        part: What the kernel computes.
        reason: Why it cannot, if so.

    Raises:
        UsageError: It is required and cannot be used.
    """
    if kernels == "require" and reason is not None:
        raise UsageError(f"model.kernels: require, but the kernel of {part} cannot be used: {reason}")
    if kernels == "off" or device.type == "cpu":
        return kernels != "off" and reason is None
    text = f"{part}: {'Triton kernel' if reason is None else f'PyTorch, not the Triton kernel: {reason}'}"
    if text not in _SAID and not _is_follower():
        _SAID.add(text)
        say(text)
    return reason is None


def compute_dtype(values: Tensor) -> torch.dtype:
    """In what a matrix product of these values would be computed."""
    kind = values.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype


def recurrent_states(
    layers: Sequence[nn.Module],
    frames: Float[Tensor, "B T F"],
    lengths: Int[Tensor, " B"],
    kernels: Kernels,
    start: Float[Tensor, "B K"] | None = None,
) -> Float[Tensor, "B T E"] | None:
    """Hidden states of one left-to-right layer, or of two, the second from right to left; None if PyTorch is to do it.

    Args:
        layers: Recurrences of `nn.recurrent` or cells of `nn.cells`, each with its own weights.
        frames: What they read.
        lengths: Frames of each utterance.
        kernels: The user's choice.
        start: What a single layer's cell carries before the first step; by default zeros.

    Raises:
        UsageError: The kernel is required and cannot be used.
    """
    if kernels == "off" or (kernels == "auto" and not frames.is_cuda):
        return None
    sums = [_sums(layer) for layer in layers]
    plan = _plan(sums, frames)
    if not chosen(kernels, frames.device, "recurrent layers", plan if isinstance(plan, str) else None):
        return None
    from seq2seq_asr.kernels import recurrent  # imports Triton

    found = [one for one in sums if one is not None]
    units = found[0].recurrent.shape[0]
    weight, bias = (
        torch.cat([one.flatten(0, 1) for one in part]) for part in zip(*(o[:2] for o in found), strict=True)
    )
    given = F.linear(frames, weight, bias).view(*frames.shape[:2], len(found), units, -1)
    peepholes = [one.peepholes for one in found if one.peepholes is not None]
    states = recurrent.recurrent_layer(
        given,
        torch.stack([one.recurrent for one in found]),
        lengths,
        recurrent.Kind(found[0].cell, found[0].sees),
        plan,
        torch.stack(peepholes) if peepholes else None,
        None if start is None else _parts(start.unsqueeze(0), found[0].cell == "lstm"),
    )
    return states.outputs.flatten(2)


def _parts(state: Float[Tensor, "1 B K"], lstm: bool) -> tuple[Float[Tensor, "1 B H"], Float[Tensor, "1 B H"]]:
    """Output and memory of what a cell carries; the memory of all but an LSTM is its output."""
    output, memory = state.chunk(2, dim=-1) if lstm else (state, state)
    return output.contiguous(), memory.contiguous()


class _Sums(NamedTuple):
    """Weights of one direction, ordered by unit, then by its sums; see `kernels.cells`."""

    input: Float[Tensor, "D G F"]
    bias: Float[Tensor, "D G"]
    recurrent: Float[Tensor, "D G D"]
    cell: Literal["lstm", "gru", "tanh", "relu"]
    peepholes: Float[Tensor, "3 D"] | None = None
    sees: int = 0


def _sums(layer: nn.Module) -> _Sums | None:
    """The weights of a recurrence that there is a kernel for."""
    cell: Any = getattr(layer, "cell", layer)
    regularisation = getattr(layer, "regularisation", None)
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        suffix = "_l0" if isinstance(layer, nn.RNNBase) else ""
        read, back, bias, bias_back = (
            _by_unit(layer.get_parameter(f"{name}{suffix}"), layer.hidden_size)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if not isinstance(layer, nn.GRU | nn.GRUCell):
            return _Sums(read, bias + bias_back, back, getattr(layer, "nonlinearity", "lstm"))
        none = torch.zeros_like(bias[:, :1])
        apart = torch.cat([bias[:, :2] + bias_back[:, :2], bias[:, 2:], bias_back[:, 2:]], dim=1)
        read = torch.cat([read, none.unsqueeze(-1).expand(-1, 1, read.shape[-1])], dim=1)
        back = torch.cat([back[:, :2], none.unsqueeze(-1).expand(-1, 1, back.shape[-1]), back[:, 2:]], dim=1)
        return _Sums(read, apart, back, "gru")
    stepwise = regularisation is not None and regularisation.stepwise
    if isinstance(cell, PeepholeLstmCell) and not cell.config.full and not stepwise:
        read, back, bias = (
            _by_unit(one, cell.units) for one in (cell.input.weight, cell.recurrent.weight, cell.input.bias)
        )
        return _Sums(read, bias, back, "lstm", cell.peepholes, 1 if cell.config.output_sees == "new" else 2)
    return None


def _by_unit(weights: Float[Tensor, "GD *F"], units: int) -> Float[Tensor, "units G *F"]:
    """Rows that the library orders by gate, ordered by unit."""
    return weights.unflatten(0, (-1, units)).transpose(0, 1)


def _plan(sums: Sequence[_Sums | None], frames: Float[Tensor, "B T F"]) -> Any:
    """The kernel's plan, or in a few words why there is none."""
    if any(one is None for one in sums):
        return "there is none for this cell or what is done between its steps"
    if frames.numel() == 0:
        return "nothing to read"
    if find_spec("triton") is None:
        return "Triton is not installed"
    from seq2seq_asr.kernels.recurrent import plan_for  # imports Triton

    units, gates, _ = sums[0].recurrent.shape  # type: ignore[union-attr]
    return plan_for(frames.device, compute_dtype(frames), units, len(sums), len(frames), gates)


def _is_follower() -> bool:
    """Whether another process speaks for all."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0
