"""From an utterance's hidden states to one vector of fixed length."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.masks import valid_mask


@dataclass(frozen=True, kw_only=True)
class PoolingConfig:
    """How a classifier sums up what it has heard."""

    kind: Literal["last", "mean", "attention"] = "last"
    """The encoder's last state, the mean of all states, or their mean under learnt attention weights."""
    size: int = 64
    """Hidden units of the attention's scores."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError("pooling.size: must be 1 or more")


class LastState(nn.Module):
    """The state after the whole utterance (Graves et al. 2006 call it the summary of the sequence).

    Args:
        backward: How many of a state's last values come from a recurrence that ends at the first frame.
    """

    def __init__(self, backward: int) -> None:
        super().__init__()
        self.backward = backward

    def forward(self, states: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """The last frame's values of the forward direction beside the first frame's of the backward direction."""
        rows, ahead = torch.arange(len(states), device=states.device), states.shape[2] - self.backward
        return torch.cat([states[rows, lengths - 1, :ahead], states[:, 0, ahead:]], dim=-1)


class MeanState(nn.Module):
    """The mean over the utterance's frames."""

    def forward(self, states: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """Sum of the valid states over their number."""
        inside = valid_mask(lengths, states.shape[1]).unsqueeze(-1)
        return torch.where(inside, states, 0.0).sum(dim=1) / lengths.unsqueeze(1)


class AttentionPooling(nn.Module):
    """The mean under weights that the states themselves decide (Yang et al. 2016, equations 5 to 7).

    Args:
        state_size: Size of a state (E).
        size: Hidden units of the scores.
    """

    def __init__(self, state_size: int, size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(state_size, size)
        self.query = nn.Linear(size, 1, bias=False)

    def weights(self, states: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B S"]:
        """Attention of each frame: sums to 1 over the utterance, 0 in its padding."""
        scores = self.query(torch.tanh(self.hidden(states))).squeeze(-1)
        return scores.masked_fill(~valid_mask(lengths, states.shape[1]), float("-inf")).softmax(dim=-1)

    def forward(self, states: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """Weighted sum of the states."""
        inside = valid_mask(lengths, states.shape[1]).unsqueeze(-1)
        return (self.weights(states, lengths).unsqueeze(-1) * torch.where(inside, states, 0.0)).sum(dim=1)


def build_pooling(config: PoolingConfig, encoder: EncoderConfig) -> nn.Module:
    """The pooling of this kind over what such an encoder gives."""
    match config.kind:
        case "last":
            return LastState(encoder.size // 2 if encoder.bidirectional else 0)
        case "mean":
            return MeanState()
        case "attention":
            return AttentionPooling(encoder.size, config.size)
