"""Attention over encoded frames: additive, dot-product and location-aware, one class each."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.masks import valid_mask
from seq2seq_asr.nn.precision import at_least_single


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """How the decoder finds the frames of its next token."""

    kind: Literal["location", "additive", "dot"] = "location"
    """location-aware (Chorowski 2015), additive (Bahdanau 2015) or scaled dot product (Vaswani 2017)."""
    size: int = 128
    """Size of the space in which decoder state and frames are compared."""
    filters: int = 10
    """Convolution filters over the previous alignment (location-aware only)."""
    width: int = 31
    """Width of those filters in encoded frames, an odd number (location-aware only)."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.filters < 1:
            raise UsageError("attention.size and attention.filters: must be 1 or more")
        if self.width % 2 == 0:
            raise UsageError(f"attention.width: must be odd, not {self.width}")


class Memory(NamedTuple):
    """Encoded utterances as the decoder sees them, with their keys projected once."""

    encoded: Float[Tensor, "B S E"]
    lengths: Int[Tensor, " B"]
    keys: Float[Tensor, "B S A"]

    def select(self, indices: Int[Tensor, " B2"]) -> "Memory":
        """The utterances at these indices, in this order; an index may repeat."""
        return type(self)(*(part[indices] for part in self))


class Attention(nn.Module):
    """What all kinds share: keys, masked softmax and the context vector.

    A kind defines ``energies``; padding never gets weight.
    """

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(encoder_size, config.size, bias=False)
        self.query = nn.Linear(decoder_size, config.size)

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with their keys."""
        return Memory(encoded, lengths, self.key(encoded))

    def start(self, memory: Memory) -> Float[Tensor, "B S"]:
        """The alignment before the first token: all weight on the first frame."""
        alignment = memory.encoded.new_zeros(memory.encoded.shape[:2])
        alignment[:, 0] = 1.0
        return alignment

    def energies(
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], previous: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        """Unnormalised weight of every frame."""
        raise NotImplementedError

    def forward(
        self, state: Float[Tensor, "B D"], memory: Memory, previous: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B S"]]:
        """Attend once.

        Args:
            state: Decoder state that asks.
            memory: Encoded utterances.
            previous: Alignment of the step before.

        Returns:
            Context vector and alignment (sums to one, zero on padding).
        """
        energies = self.energies(self.query(state), memory.keys, previous)
        padding = ~valid_mask(memory.lengths, energies.shape[1])
        alignment = at_least_single(energies).masked_fill(padding, -torch.inf).softmax(dim=-1)
        context = torch.bmm(alignment.to(memory.encoded.dtype).unsqueeze(1), memory.encoded).squeeze(1)
        return context, alignment


class AdditiveAttention(Attention):
    """Bahdanau et al. 2015, equation 6 with the tanh network of its appendix A.1.2."""

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.score = nn.Linear(config.size, 1, bias=False)

    def energies(  # noqa: D102
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], previous: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        return self.score(tanh(keys + query.unsqueeze(1))).squeeze(-1)


class DotAttention(Attention):
    """Scaled dot product (Vaswani et al. 2017, equation 1)."""

    def energies(  # noqa: D102
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], previous: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        return torch.bmm(keys, query.unsqueeze(-1)).squeeze(-1) * query.shape[-1] ** -0.5


class LocationAttention(Attention):
    """Additive attention that also sees where it stood (Chorowski et al. 2015, equations 8 and 9)."""

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.score = nn.Linear(config.size, 1, bias=False)
        self.filters = nn.Conv1d(1, config.filters, config.width, padding=config.width // 2, bias=False)
        self.location = nn.Linear(config.filters, config.size, bias=False)

    def energies(  # noqa: D102
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], previous: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        location = self.location(self.filters(previous.unsqueeze(1)).transpose(1, 2))
        return self.score(tanh(keys + query.unsqueeze(1) + location)).squeeze(-1)


def tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Hyperbolic tangent; on a CPU by way of the logistic function, which torch computes five times faster there."""
    if x.is_cuda or x.dtype not in (torch.float32, torch.float64):  # too coarse a dtype would lose small values
        return torch.tanh(x)
    return torch.sigmoid(2 * x).mul(2).sub_(1)


KINDS: dict[str, type[Attention]] = {"location": LocationAttention, "additive": AdditiveAttention, "dot": DotAttention}


def build_attention(config: AttentionConfig, encoder_size: int, decoder_size: int) -> Attention:
    """The attention of ``config.kind``."""
    return KINDS[config.kind](config, encoder_size, decoder_size)
