"""The recurrent part of the decoder: cells one above the other, a step or all steps at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.cells import Cell, CellKind, PeepholeConfig, build_cell, has_memory
from seq2seq_asr.nn.dropout import Dropout, shared_mask
from seq2seq_asr.nn.fused import Kernels, recurrent_states
from seq2seq_asr.nn.recurrent import run_steps
from seq2seq_asr.nn.regularisation import RegularisationConfig


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The speller: recurrent layers over the last token and the attended context."""

    cell: CellKind = "gru"
    """Recurrent cell."""
    peephole: PeepholeConfig = field(default_factory=PeepholeConfig)
    """What the gates of a peephole LSTM see."""
    units: int = 256
    """Hidden units of every layer."""
    layers: int = 1
    """Number of stacked layers; the top one asks the attention."""
    embedding: int = 128
    """Size of the token embedding."""
    context: Literal["input_feeding", "parallel"] = "input_feeding"
    """Whether a step reads the last context, or the recurrence runs before the attention, all target steps at once."""
    projection: int = 0
    """Size of a tanh layer over state and context before the output (Luong 2015, equation 5); 0 leaves it out."""
    tied: bool = False
    """Output weights are the token embedding (Press & Wolf 2017): projection, or units + encoder size, must fit it."""
    residual: bool = False
    """Add every layer's input to its output, from the second layer on."""
    layer_norm: bool = False
    """Layer normalisation of every layer's output."""
    dropout: float = 0.1
    """Dropout on embeddings, between layers and before the output."""
    regularisation: RegularisationConfig = field(default_factory=RegularisationConfig)
    """Variational dropout, zoneout, noise on the weights."""

    def __post_init__(self) -> None:
        if min(self.units, self.layers, self.embedding) < 1:
            raise UsageError("decoder.units, decoder.layers and decoder.embedding: must be 1 or more")
        if self.projection < 0:
            raise UsageError("decoder.projection: must be 0 or more")
        if not 0 <= self.dropout < 1:
            raise UsageError("decoder.dropout: must lie in [0, 1)")
        if self.residual and self.layers == 1:
            raise UsageError("decoder.residual: needs decoder.layers 2 or more")
        if self.regularisation.zoneout_memory > 0 and not has_memory(self.cell):
            raise UsageError(f"decoder.regularisation.zoneout_memory: the cell {self.cell} has no memory")


class Masks(NamedTuple):
    """Dropout factors that are the same at all steps of a batch; None where each step draws its own, or none."""

    embedded: Float[Tensor, "B M"] | None = None
    seen: Float[Tensor, "L B D"] | None = None
    """On the last output as the recurrent weights see it."""
    between: Float[Tensor, "L B D"] | None = None
    output: Float[Tensor, "B O"] | None = None


NO_MASKS = Masks()


class CellStack(nn.Module):
    """Cells one above the other, with what stands between them; a sequence of its cells.

    Args:
        config: Of the decoder.
        input_size: Values that the lowest cell reads.
    """

    kernels: Kernels = "auto"
    """Whether a GPU kernel may do what ``run`` says, or must."""

    def __init__(self, config: DecoderConfig, input_size: int) -> None:
        super().__init__()
        self.config = config
        for place in range(config.layers):
            size = config.units if place else input_size
            self.add_module(str(place), build_cell(config.cell, size, config.units, config.peephole))
        norms = (nn.LayerNorm(config.units) if config.layer_norm else nn.Identity() for _ in range(config.layers))
        self.norms = nn.ModuleList(norms)
        self.dropout = Dropout(config.dropout)

    def __len__(self) -> int:
        return self.config.layers

    def __getitem__(self, place: int) -> Cell:
        return cast(Cell, self.get_submodule(str(place)))

    def __iter__(self) -> Iterator[Cell]:
        return (self[place] for place in range(len(self)))

    def masks(self, encoded: Float[Tensor, "B S E"], scored: int) -> Masks:
        """What variational and recurrent dropout draw for a batch, while training.

        Args:
            encoded: Encoded utterances: how many there are, and where.
            scored: Values that the output reads.
        """
        config, regularisation = self.config, self.config.regularisation
        if not self.training:
            return NO_MASKS
        like = encoded.new_empty(config.layers, len(encoded), config.units)
        masks = Masks(seen=regularisation.recurrent_mask(like, self.training))
        if not regularisation.variational or config.dropout == 0:
            return masks
        embedded, output = (encoded.new_empty(len(encoded), size) for size in (config.embedding, scored))
        embedded, between, output = (shared_mask(x, config.dropout) for x in (embedded, like, output))
        return masks._replace(embedded=embedded, between=between, output=output)

    def step(
        self, below: Float[Tensor, "BK I"], hidden: Float[Tensor, "BK L K"], masks: Masks
    ) -> tuple[Float[Tensor, "BK D"], Float[Tensor, "BK L K"]]:
        """Output of the top, and what all cells carry, after one input."""
        carried, output, units = [], below, self.config.units
        for place, (cell, before) in enumerate(zip(self, hidden.unbind(dim=1), strict=True)):
            seen = _at(masks.seen, place)
            after = cell(below, before) if seen is None else cell(below, before, seen * before[:, :units])
            carried.append(self.config.regularisation.zone_out(after, before, units, self.training))
            output = self._output(place, carried[-1][:, :units], below)
            below = drop(self.dropout, output, _at(masks.between, place))
        return output, torch.stack(carried, dim=1)

    def run(
        self, below: Float[Tensor, "B U I"], hidden: Float[Tensor, "B L K"], masks: Masks
    ) -> Float[Tensor, "B U D"]:
        """Outputs of the top at steps over all inputs: layer by layer, by a kernel where there is one."""
        output, regularisation = below, self.config.regularisation
        for place, (cell, before) in enumerate(zip(self, hidden.unbind(dim=1), strict=True)):
            if regularisation.stepwise:
                states, _ = run_steps(cell, below, before, regularisation, _at(masks.seen, place))
            else:
                full = torch.full(below.shape[:1], below.shape[1], device=below.device)
                fused = recurrent_states([cell], below, full, self.kernels, before)
                states = cell.run(below, before) if fused is None else fused
            output = self._output(place, states, below)
            below = drop(self.dropout, output, _at(masks.between, place))
        return output

    def _output(self, place: int, states: Float[Tensor, "*B D"], below: Float[Tensor, "*B I"]) -> Float[Tensor, "*B D"]:
        return self.norms[place](states + below if self.config.residual and place > 0 else states)


def _at(masks: Tensor | None, place: int) -> Tensor | None:
    return None if masks is None else masks[place]


def drop(dropout: Dropout, x: Float[Tensor, "B *U I"], mask: Float[Tensor, "B I"] | None) -> Float[Tensor, "B *U I"]:
    """Dropout by factors for all steps, or by new ones."""
    if mask is None:
        return dropout(x)
    return x * (mask if x.ndim == 2 else mask.unsqueeze(1))


class TiedOutput(nn.Module):
    """Token scores by weights that belong to another layer (Press & Wolf 2017)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Float[Tensor, "*B M"], weight: Float[Tensor, "V M"]) -> Float[Tensor, "*B V"]:
        """Unnormalised scores."""
        return F.linear(x, weight, self.bias)
