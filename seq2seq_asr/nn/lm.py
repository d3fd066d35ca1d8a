"""LSTM language model over the recogniser's own pieces."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """A stacked LSTM that predicts the next piece (Sundermeyer et al. 2012)."""

    embedding: int = 128
    """Size of the piece embedding."""
    units: int = 256
    """Hidden units of every layer."""
    layers: int = 1
    """Number of stacked LSTM layers."""
    dropout: float = 0.2
    """Dropout on embeddings, between layers and before the output."""

    def __post_init__(self) -> None:
        if min(self.embedding, self.units, self.layers) < 1:
            raise UsageError("model.embedding, model.units and model.layers: must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise UsageError("model.dropout: must lie in [0, 1)")


class LanguageModelState(NamedTuple):
    """What every layer carries from piece to piece."""

    hidden: Float[Tensor, "B L D"]
    cell: Float[Tensor, "B L D"]

    def select(self, parents: Int[Tensor, " B2"]) -> "LanguageModelState":
        """The states of these parents, in this order; a parent may repeat."""
        return LanguageModelState(self.hidden[parents], self.cell[parents])


class LanguageModel(nn.Module):
    """Scores of the next piece given those before it in the sentence."""

    def __init__(self, config: LanguageModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.embedding = nn.Embedding(vocabulary, config.embedding)
        sizes = [config.embedding] + [config.units] * (config.layers - 1)
        # A module a layer: dropout between them is then ours, and a state needs no unpacking.
        self.layers = nn.ModuleList(nn.LSTM(size, config.units, batch_first=True) for size in sizes)
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.units, vocabulary)

    def start(self, rows: int) -> LanguageModelState:
        """The state before the start token."""
        zeros = self.output.weight.new_zeros(rows, self.config.layers, self.config.units)
        return LanguageModelState(zeros, zeros)

    def step(
        self, tokens: Int[Tensor, " B"], state: LanguageModelState
    ) -> tuple[Float[Tensor, "B V"], LanguageModelState]:
        """Advance every sentence by one piece.

        Args:
            tokens: Last pieces; the start token at first.
            state: The state before them.

        Returns:
            Unnormalised scores of the next piece, and the state after ``tokens``.
        """
        logits, state = self.unroll(tokens[:, None], state)
        return logits[:, 0], state

    def forward(self, inputs: Int[Tensor, "B U"]) -> Float[Tensor, "B U V"]:
        """Scores of what follows each input, the start token first."""
        return self.unroll(inputs, self.start(len(inputs)))[0]

    def unroll(
        self, inputs: Int[Tensor, "B U"], state: LanguageModelState
    ) -> tuple[Float[Tensor, "B U V"], LanguageModelState]:
        """Read pieces from a state on: scores after each of them, and the state after the last."""
        below, hidden, cell = self.dropout(self.embedding(inputs)), [], []
        for layer, h, c in zip(self.layers, state.hidden.unbind(1), state.cell.unbind(1), strict=True):
            above, (h, c) = layer(below, (h[None].contiguous(), c[None].contiguous()))
            hidden.append(h[0])
            cell.append(c[0])
            below = self.dropout(above)
        return self.output(below), LanguageModelState(torch.stack(hidden, 1), torch.stack(cell, 1))
