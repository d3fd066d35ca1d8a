"""Regularisation of recurrences: dropout with one mask for all steps, zoneout, noise on the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.dropout import shared_mask


@dataclass(frozen=True, kw_only=True)
class RegularisationConfig:
    """What is done to a recurrence while it trains; all of it is off by default."""

    variational: bool = False
    """Dropout draws one mask an utterance, the same at every step (Gal & Ghahramani 2016)."""
    recurrent_dropout: float = 0.0
    """Dropout of the last output as recurrent weights see it, with one mask an utterance (Gal & Ghahramani 2016)."""
    zoneout: float = 0.0
    """Probability that an output keeps its last value (Krueger et al. 2017)."""
    zoneout_memory: float = 0.0
    """The same for the memory of an LSTM."""
    weight_noise: float = 0.0
    """Standard deviation of the noise on all matrices, drawn once a batch (Graves 2011, 2013)."""

    def __post_init__(self) -> None:
        for name in ("recurrent_dropout", "zoneout", "zoneout_memory"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"regularisation.{name}: must lie in [0, 1)")
        if not 0 <= self.weight_noise < math.inf:
            raise UsageError("regularisation.weight_noise: must be 0 or more, and finite")

    @property
    def stepwise(self) -> bool:
        """Whether it acts between two steps, where no library kernel lets it."""
        return max(self.recurrent_dropout, self.zoneout, self.zoneout_memory) > 0

    def recurrent_mask(self, outputs: Float[Tensor, "*B D"], training: bool) -> Float[Tensor, "*B D"] | None:
        """Factors on the outputs that recurrent weights see, for all steps of a batch; None changes nothing."""
        return shared_mask(outputs, self.recurrent_dropout) if training and self.recurrent_dropout > 0 else None

    def zone_out(
        self, new: Float[Tensor, "B K"], old: Float[Tensor, "B K"], units: int, training: bool
    ) -> Float[Tensor, "B K"]:
        """Let some values of a cell's state keep what they were.

        In evaluation every value becomes its mean over what may be kept (Krueger et al. 2017, section 3.1).

        Args:
            new: State after the step: ``units`` outputs, and any memory behind them.
            old: State before it.
            units: Outputs.
            training: Whether to draw, or to take the mean.
        """
        if max(self.zoneout, self.zoneout_memory) == 0:
            return new
        kept = new.new_full(new.shape[1:], self.zoneout_memory)
        kept[:units] = self.zoneout
        if training:
            return torch.where(torch.rand_like(new) < kept, old.to(new.dtype), new)
        return kept * old + (1 - kept) * new


@contextmanager
def noisy(module: nn.Module, deviation: float) -> Iterator[None]:
    """Add Gaussian noise to a module's matrices within a block, while it trains (Graves 2011, 2013).

    The gradient is that at the noisy weights, and goes to the clean ones. Unlike in Graves 2011 the deviation is not
    learnt. Biases and norms are spared.

    Args:
        module: Its weights are as before when the block ends.
        deviation: Standard deviation of the noise; 0 changes nothing.
    """
    clean = [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner._parameters.items()
        if parameter is not None and parameter.ndim > 1 and module.training and deviation > 0
    ]
    try:
        for owner, name, parameter in clean:
            _swap(owner, name, parameter + deviation * torch.randn_like(parameter))
        yield
    finally:
        for owner, name, parameter in clean:
            _swap(owner, name, parameter)


def _swap(owner: nn.Module, name: str, weight: Tensor) -> None:
    owner._parameters[name] = cast(nn.Parameter, weight)
    if isinstance(owner, nn.RNNBase):  # it has a list of them, too, which must not keep noise and graph past the block
        held: Any = owner
        held._flat_weights = [owner._parameters[one] for one in held._flat_weights_names]
