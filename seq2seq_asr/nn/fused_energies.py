"""Additive energies by a GPU kernel, which keeps the tanh layer, rows × frames × size, out of memory."""

from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.fused import Kernels, chosen

_CAPABILITY = (8, 0)
"""Of a GPU whose matrix units take what float32 is split into."""


def additive(
    query: Float[Tensor, "BK A"], keys: Float[Tensor, "B S A"], score: nn.Linear, kernels: Kernels
) -> Float[Tensor, "BK S"] | None:
    """Energies of all frames in float32, or None if PyTorch is to compute them.

    Args:
        query: What rows ask.
        keys: Of the utterances.
        score: Weighs the tanh layer.
        kernels: The user's choice.

    Raises:
        UsageError: The kernel is required and cannot be used.
    """
    if kernels == "off" or (kernels == "auto" and not keys.is_cuda):
        return None
    if not chosen(kernels, keys.device, "additive attention", no_place(keys)):
        return None
    from seq2seq_asr.kernels.energies import additive_energies  # imports Triton

    return additive_energies(query, keys, score.weight[0])


def no_place(keys: Float[Tensor, "*shape"]) -> str | None:
    """Why the kernels of attention and search cannot run on such values; None if they can."""
    if keys.dtype not in (torch.float32, torch.bfloat16):
        return f"{str(keys.dtype).removeprefix('torch.')} values"
    if find_spec("triton") is None:
        return "Triton is not installed"
    from seq2seq_asr.kernels.tiles import interpreted  # imports Triton

    if interpreted():
        return None if keys.device.type == "cpu" else "TRITON_INTERPRET is set"
    if not keys.is_cuda:
        return f"the device is {keys.device.type}"
    old = torch.cuda.get_device_capability(keys.device) < _CAPABILITY
    return "the GPU is older than Ampere" if old else None
