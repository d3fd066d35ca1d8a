"""Recurrent encoder: by default the pyramid of Chan et al. 2016 ("Listen, Attend and Spell", section 3.1)."""

from dataclasses import dataclass, field
from math import prod

from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.cells import CellKind, PeepholeConfig, has_memory
from seq2seq_asr.nn.convolution import FrontEndKind, build_front_end
from seq2seq_asr.nn.dropout import Dropout, VariationalDropout
from seq2seq_asr.nn.masks import ceil_division, valid_mask
from seq2seq_asr.nn.recurrent import BidirectionalLayer, UnidirectionalLayer
from seq2seq_asr.nn.reduction import Reduction, ReductionKind
from seq2seq_asr.nn.regularisation import RegularisationConfig, noisy


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The listener: how deep, how wide and how strongly it shortens time."""

    cell: CellKind = "lstm"
    """Recurrent cell."""
    peephole: PeepholeConfig = field(default_factory=PeepholeConfig)
    """What the gates of a peephole LSTM see."""
    units: int = 128
    """Hidden units a direction in every layer."""
    layer_units: tuple[int, ...] = ()
    """Hidden units a direction, one number a layer, where layers differ in size; none takes `units` for all."""
    bidirectional: bool = True
    """Read each utterance from both ends; one direction can follow a speaker while he speaks."""
    reductions: tuple[int, ...] = (2, 2, 2)
    """One number a layer: how many neighbouring frames become one before it (1 keeps the rate)."""
    reduce: ReductionKind = "concatenate"
    """How they become one: joined, the first kept, their maximum or mean, or a strided convolution."""
    convolutions: tuple[int, ...] = ()
    """Channels of 3 x 3 convolutions before the layers, each of which halves time and frequency; none by default."""
    front_end: FrontEndKind = "strided"
    """Those convolutions: one with a stride of 2, or two and a maximum over 2 x 2 (VGG-like, Hori 2017)."""
    projection: int = 0
    """Size to which a linear layer brings every layer's output; 0 leaves it out."""
    residual: bool = False
    """Add every layer's input to its output, from the second layer on."""
    dropout: float = 0.1
    """Dropout after every layer."""
    layer_norm: bool = True
    """Layer normalisation after every layer."""
    regularisation: RegularisationConfig = field(default_factory=RegularisationConfig)
    """Variational dropout, zoneout, noise on the weights."""

    def __post_init__(self) -> None:
        if not self.reductions or min(self.reductions) < 1:
            raise UsageError("encoder.reductions: needs at least one layer, every number 1 or more")
        if min(self.convolutions, default=1) < 1:
            raise UsageError("encoder.convolutions: every number of channels must be 1 or more")
        if self.front_end != "strided" and not self.convolutions:
            raise UsageError(f"encoder.front_end: {self.front_end} needs channels in encoder.convolutions")
        if self.units < 1:
            raise UsageError("encoder.units: must be 1 or more")
        if self.layer_units and (len(self.layer_units) != len(self.reductions) or min(self.layer_units) < 1):
            raise UsageError("encoder.layer_units: needs one number for each of encoder.reductions, each 1 or more")
        if self.layer_units and self.residual and not self.projection:
            raise UsageError("encoder.residual: layers of encoder.layer_units differ in size; set encoder.projection")
        if self.projection < 0:
            raise UsageError("encoder.projection: must be 0 or more")
        if not 0 <= self.dropout < 1:
            raise UsageError("encoder.dropout: must lie in [0, 1)")
        if self.residual and len(self.reductions) == 1:
            raise UsageError("encoder.residual: needs two layers or more in encoder.reductions")
        if self.residual and self.reduce == "concatenate" and max(self.reductions[1:]) > 1:
            raise UsageError("encoder.residual: joined frames are wider than a layer's output; choose another reduce")
        if self.regularisation.zoneout_memory > 0 and not has_memory(self.cell):
            raise UsageError(f"encoder.regularisation.zoneout_memory: the cell {self.cell} has no memory")

    @property
    def reduction(self) -> int:
        """Feature frames an encoded frame."""
        return 2 ** len(self.convolutions) * prod(self.reductions)

    @property
    def size(self) -> int:
        """Values of an encoded frame (E)."""
        return self.sizes[-1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values of a frame after every layer."""
        layers = self.layer_units or (self.units,) * len(self.reductions)
        return tuple(self.projection or units * (2 if self.bidirectional else 1) for units in layers)


class Encoder(nn.Module):
    """Feature frames to hidden states, ``reduction`` times fewer.

    Args:
        config: The settings.
        bins: Values of a frame that are neighbours in frequency; they come first.
        others: Values of a frame that have no place in frequency: they pass convolutions by.
        deltas: Orders of time derivatives of all bins, which come between the two.
    """

    def __init__(self, config: EncoderConfig, bins: int, others: int = 0, deltas: int = 0) -> None:
        super().__init__()
        self.config = config
        self.size = config.size
        self.front = None
        if config.convolutions:
            self.front = build_front_end(config.front_end, config.convolutions, bins, others, deltas)
        sizes = [self.front.size if self.front else bins * (1 + deltas) + others, *config.sizes[:-1]]
        shorten = [Reduction(config.reduce, factor, n) for n, factor in zip(sizes, config.reductions, strict=True)]
        self.shorten = nn.ModuleList(shorten)
        layer = BidirectionalLayer if config.bidirectional else UnidirectionalLayer
        layers = [
            layer(config.cell, reduction.size, units, config.peephole, config.regularisation)
            for reduction, units in zip(shorten, config.layer_units or (config.units,) * len(shorten), strict=True)
        ]
        self.layers = nn.ModuleList(layers)
        self.projections = nn.ModuleList(
            nn.Linear(layer.size, config.projection) if config.projection else nn.Identity() for layer in layers
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) if config.layer_norm else nn.Identity() for size in config.sizes)
        self.dropout = (VariationalDropout if config.regularisation.variational else Dropout)(config.dropout)

    def forward(
        self, features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B S E"], Int[Tensor, " B"]]:
        """Encode a padded batch.

        Args:
            features: Frames, zero past each utterance's length.
            lengths: Frames of each utterance.

        Returns:
            Hidden states and their lengths; an utterance's states do not depend on its batch mates.
        """
        with noisy(self, self.config.regularisation.weight_noise):
            states, lengths = self.front(features, lengths) if self.front else (features, lengths)
            for place in range(len(self.layers)):
                states, lengths = self.shorten[place](states, lengths)
                states = self.dropout(self._layer(place, states, lengths))
                if self.config.layer_norm or self.config.projection:  # their biases would leak from the padding
                    states = states * valid_mask(lengths, states.shape[1]).unsqueeze(-1)
        return states, lengths

    def _layer(self, place: int, frames: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T E"]:
        states = self.projections[place](self.layers[place](frames, lengths))
        if self.config.residual and place > 0:
            states = states + frames
        return self.norms[place](states)

    def encoded_lengths(self, lengths: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Hidden states that feature sequences of these lengths become."""
        for factor in (*[2] * len(self.config.convolutions), *self.config.reductions):
            lengths = ceil_division(lengths, factor)
        return lengths
