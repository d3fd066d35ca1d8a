"""What all attentions share: keys, masked normalisation and the context vector."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.attention.config import AttentionConfig
from seq2seq_asr.nn.masks import valid_mask
from seq2seq_asr.nn.precision import at_least_single


class Memory(NamedTuple):
    """Encoded utterances as the decoder sees them, with their keys projected once."""

    encoded: Float[Tensor, "B S E"]
    lengths: Int[Tensor, " B"]
    keys: Float[Tensor, "B S A"]

    def select(self, indices: Int[Tensor, " B2"]) -> "Memory":
        """The utterances at these indices, in this order; an index may repeat."""
        return type(self)(*(part[indices] for part in self))


class Attended(NamedTuple):
    """What one step finds."""

    context: Float[Tensor, "B E"]
    alignment: Float[Tensor, "B S"]
    """Weight of every frame: sums to one, zero on padding."""
    trace: Float[Tensor, "B *X"]
    """What the next step is told of this and earlier ones: by default the alignment."""


class AnyAttention(nn.Module):
    """What a decoder calls."""

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with what is computed once for all steps."""
        raise NotImplementedError

    def start(self, memory: Memory) -> Float[Tensor, "B *X"]:
        """The trace before the first token."""
        raise NotImplementedError

    def forward(self, state: Float[Tensor, "B D"], memory: Memory, trace: Float[Tensor, "B *X"]) -> Attended:
        """Attend once.

        Args:
            state: Decoder state that asks.
            memory: Encoded utterances.
            trace: Of the step before, or ``start``.
        """
        raise NotImplementedError


class Attention(AnyAttention):
    """One kind of attention to frames.

    A kind defines ``energies``; it may tell more to the next step (``follow``), weigh in another way (``weigh``) or
    start elsewhere (``start``). Padding never gets weight.

    Args:
        config: Sizes and options.
        encoder_size: Values of an encoded frame (E).
        decoder_size: Values of a decoder state (D).
    """

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__()
        self.config = config
        self.key: nn.Module = nn.Linear(encoder_size, config.size, bias=False)
        self.query: nn.Module = nn.Linear(decoder_size, config.size)

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with their keys."""
        return Memory(encoded, lengths, self.key(encoded))

    def start(self, memory: Memory) -> Float[Tensor, "B *X"]:
        """All weight on the first frame."""
        alignment = memory.encoded.new_zeros(memory.encoded.shape[:2])
        alignment[:, 0] = 1.0
        return alignment

    def energies(
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "B *X"]
    ) -> Float[Tensor, "B S"]:
        """Unnormalised log weight of every frame."""
        raise NotImplementedError

    def weigh(
        self, energies: Float[Tensor, "B S"], valid: Float[Tensor, "B S"], trace: Float[Tensor, "B *X"]
    ) -> Float[Tensor, "B S"]:
        """The alignment; ``valid`` is 1 on frames and 0 on padding."""
        return softmax(energies, valid) if not self.config.smoothing else smooth(energies, valid)

    def follow(
        self, query: Float[Tensor, "B A"], alignment: Float[Tensor, "B S"], trace: Float[Tensor, "B *X"]
    ) -> Float[Tensor, "B *X"]:
        """The trace after a step."""
        return alignment

    def forward(self, state: Float[Tensor, "B D"], memory: Memory, trace: Float[Tensor, "B *X"]) -> Attended:
        """Compare, weigh and sum; see `AnyAttention.forward`."""
        query = self.query(state)
        energies = at_least_single(self.energies(query, memory.keys, trace))
        valid = valid_mask(memory.lengths, energies.shape[1]).to(energies.dtype)
        alignment = self.weigh(energies, valid, trace)
        context = torch.bmm(alignment.to(memory.encoded.dtype).unsqueeze(1), memory.encoded).squeeze(1)
        return Attended(context, alignment, self.follow(query, alignment, trace))


def softmax(energies: Float[Tensor, "B S"], valid: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """Exponentials of the valid frames' energies, divided by their sum."""
    return energies.masked_fill(valid == 0, -torch.inf).softmax(dim=-1)


def smooth(energies: Float[Tensor, "B S"], valid: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """Logistic functions of the valid frames' energies, divided by their sum (Chorowski et al. 2015, equation 12)."""
    return softmax(torch.nn.functional.logsigmoid(energies), valid)


def tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Hyperbolic tangent; on a CPU by way of the logistic function, which torch computes five times faster there."""
    if x.is_cuda or x.dtype not in (torch.float32, torch.float64):  # too coarse a dtype would lose small values
        return torch.tanh(x)
    return torch.sigmoid(2 * x).mul(2).sub_(1)
