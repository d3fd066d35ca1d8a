"""Where a run computes, and how precisely: its settings in Lightning's words."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.training.processes import devices_started_outside
from seq2seq_asr.training.settings import TrainerConfig


class Devices(NamedTuple):
    """What a run trains on."""

    accelerator: Literal["cpu", "cuda"]
    per_node: int
    """GPUs, or processes on the CPU."""


def find_devices(config: TrainerConfig) -> Devices:
    """GPUs where there are any and they are not declined, else the CPU: Apple's MPS lacks operations, such as CTC.

    Raises:
        UsageError: There are not the devices asked for.
    """
    count = config.devices or devices_started_outside()
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.accelerator == "cpu" or (config.accelerator == "auto" and there == 0):
        return Devices("cpu", count or 1)
    if there == 0:
        raise UsageError("trainer.accelerator: gpu was asked for, but torch sees no GPU")
    if count is not None and count > there:
        raise UsageError(f"trainer.devices: {count} a node were asked for, but torch sees {there} GPU(s) here")
    return Devices("cuda", count or there)


def find_precision(config: TrainerConfig) -> Literal["32-true", "bf16-mixed"]:
    """The precision to train in: bfloat16 by itself only where it is no emulation."""
    if config.precision != "auto":
        return config.precision
    if find_devices(config).accelerator == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = cpu_has_bfloat16(torch.cpu.get_capabilities())
    return "bf16-mixed" if native else "32-true"


def cpu_has_bfloat16(capabilities: Mapping[str, Any]) -> bool:
    """Whether a processor multiplies bfloat16 itself.

    oneDNN's own answer is yes for every AVX-512, where it may emulate: a training step then takes 1.6 times as long as
    in 32 bit.

    Args:
        capabilities: What `torch.cpu.get_capabilities` tells of it.
    """
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
