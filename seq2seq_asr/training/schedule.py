"""Optimiser, learning-rate schedules and the scheduled-sampling ramp."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from seq2seq_asr.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and how its learning rate moves."""

    lr: float = 3e-3
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay on matrices; biases and norms are spared."""
    schedule: Literal["cosine", "hold-decay", "constant"] = "cosine"
    """After the warm-up: cosine to zero, hold then exponential decay to 1 % (Park 2019), or constant."""
    warmup: float = 0.05
    """Share of all steps in which the learning rate rises from zero."""
    hold: float = 0.4
    """Share of all steps at the peak (hold-decay only)."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient."""
    ema_decay: float = 0.0
    """Decay a step of an average of the weights, validated and saved in their place; 0 is none, 0.998 is usual."""
    sampling: float = 0.0
    """Final probability of scheduled sampling (Bengio 2015); 0 is plain teacher forcing."""
    sampling_start: float = 0.3
    """Share of all steps after which scheduled sampling begins to rise."""

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf or self.clip_norm <= 0:
            raise UsageError("optimizer.lr and optimizer.clip_norm: must be above 0, optimizer.lr finite")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError("optimizer.weight_decay: must be 0 or more, and finite")
        if not 0 <= self.ema_decay < 1:
            raise UsageError("optimizer.ema_decay: must be 0 or more, and below 1")
        held = self.hold if self.schedule == "hold-decay" else 0.0
        if min(self.warmup, self.hold) < 0 or self.warmup + held >= 1:
            raise UsageError("optimizer.warmup and optimizer.hold: shares of all steps, together below 1")
        if not 0 <= self.sampling <= 1 or not 0 <= self.sampling_start < 1:
            raise UsageError("optimizer.sampling: must lie in [0, 1], sampling_start in [0, 1)")


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) with weight decay on matrices only."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)


def adopt_rates(checkpoint: Mapping[str, Any], config: OptimizerConfig) -> None:
    """Let a stored optimiser go on with this learning rate and weight decay; equal ones change no bit of it."""
    for state in checkpoint.get("optimizer_states", ()):
        for group, decay in zip(state["param_groups"], (config.weight_decay, 0.0), strict=True):
            group["lr"] *= config.lr / group["initial_lr"]
            group |= {"initial_lr": config.lr, "weight_decay": decay}
    for state in checkpoint.get("lr_schedulers", ()):
        state["_last_lr"] = [
            last * (config.lr / base) for last, base in zip(state["_last_lr"], state["base_lrs"], strict=True)
        ]
        state["base_lrs"] = [config.lr] * len(state["base_lrs"])


def build_scheduler(optimizer: torch.optim.Optimizer, config: OptimizerConfig, steps: int) -> LambdaLR:
    """The learning rate as a function of the step, over ``steps`` steps in all."""
    return LambdaLR(optimizer, lambda step: rate_factor(step / max(1, steps), config, 1 / max(1, steps)))


def rate_factor(progress: float, config: OptimizerConfig, first: float = 0.0) -> float:
    """Learning rate over its peak after a share ``progress`` of all steps; ``first`` keeps step 0 above zero."""
    if progress < config.warmup:
        return (progress + first) / (config.warmup + first)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - config.warmup) / (1 - config.warmup))))
    held = config.warmup + config.hold
    return 0.01 ** min(1.0, max(0.0, progress - held) / (1 - held))


def sampling_probability(progress: float, config: OptimizerConfig) -> float:
    """Scheduled-sampling probability: zero until ``sampling_start``, then a line up to ``sampling``."""
    risen = (progress - config.sampling_start) / (1 - config.sampling_start)
    return config.sampling * min(1.0, max(0.0, risen))
