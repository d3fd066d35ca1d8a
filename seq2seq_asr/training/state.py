"""Whether a checkpoint's tensors fit the model that takes them, found out before Lightning takes it apart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import model_weights
from seq2seq_asr.training.schedule import OptimizerConfig, build_optimizer

NEEDED = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "Feeding", "epoch", "global_step")
"""Without one of these Lightning would begin that part anew, in silence."""
AVERAGED = ("current_model_state", "averaging_state")
"""What a training that averages its weights saves beside their average, which is its ``state_dict``."""
MOMENTS = ("exp_avg", "exp_avg_sq")
_TOLD = 3


def require_state(checkpoint: Mapping[str, Any], model: nn.Module, optimizer: OptimizerConfig, path: Path) -> None:
    """Refuse a state that a resumed training cannot go on from.

    Args:
        checkpoint: What was read.
        model: The model that is to go on.
        optimizer: Its optimiser, whose moments are as large as the weights.
        path: The file, for errors.

    Raises:
        CheckpointError: Parts are missing, or tensors have other names or shapes than the model's.
    """
    averaged = any(name in checkpoint for name in AVERAGED)
    if missing := [name for name in NEEDED + AVERAGED * averaged if name not in checkpoint]:
        raise CheckpointError(f"{path}: no state to go on from, it has no {', '.join(missing)}")
    for part in ("state_dict", "current_model_state")[: 1 + averaged]:
        found, wanted = model_weights(checkpoint, part), model.state_dict()
        if wrong := [f"{name} is missing" for name in wanted if name not in found] + misfits(found, wanted):
            raise CheckpointError(f"{path}: weights do not fit the model of config.yaml: {told(wrong)}")
    # A parameter that has had no gradient yet has no moments.
    if wrong := misfits(_moments(checkpoint), _wanted_moments(model, optimizer)):
        raise CheckpointError(f"{path}: the optimiser's state does not fit the model of config.yaml: {told(wrong)}")


def misfits(found: Mapping[str, Any], wanted: Mapping[str, torch.Tensor]) -> list[str]:
    """Tensors that nobody wants, and those of a wanted name and another shape, with both."""
    wrong = [f"{name} is not known" for name in found if name not in wanted]
    common = ((name, _shape(found[name]), _shape(value)) for name, value in wanted.items() if name in found)
    return wrong + [f"{name} is {there}, not {here}" for name, there, here in common if there != here]


def told(wrong: list[str]) -> str:
    """The first of many, and how many more there are."""
    more = f" and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
    return ", ".join(wrong[:_TOLD]) + more


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "a number" if isinstance(value, torch.Tensor) else "no tensor"


def _moments(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """AdamW's moments by the place of their parameter."""
    try:
        (state,) = checkpoint["optimizer_states"]
        return {f"{kind} {place}": kept.get(kind) for place, kept in state["state"].items() for kind in MOMENTS}
    except (TypeError, ValueError, KeyError, AttributeError):
        return {"what there is": None}


def _wanted_moments(model: nn.Module, optimizer: OptimizerConfig) -> dict[str, torch.Tensor]:
    groups = build_optimizer(model, optimizer).param_groups
    parameters = [parameter for group in groups for parameter in group["params"]]
    return {f"{kind} {place}": value for place, value in enumerate(parameters) for kind in MOMENTS}
