"""What all attentions share: keys, masked normalisation and the context vector.

Several hypotheses may ask about one utterance: BK rows ask a memory of B utterances, row ``b * K + k`` about utterance
``b``. The memory is shared among them, not copied. Training has one row an utterance.
"""

from typing import ClassVar, NamedTuple

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

    context: Float[Tensor, "BK E"]
    alignment: Float[Tensor, "BK S"]
    """Weight of every frame: sums to one, zero on padding."""
    trace: Float[Tensor, "BK *X"]
    """What the next step is told of this and earlier ones: by default the alignment."""


class AnyAttention(nn.Module):
    """What a decoder calls."""

    looks_back: ClassVar[bool] = True
    """Whether a step depends on earlier ones by way of the trace; without, all steps can be taken at once."""
    aligns: ClassVar[bool] = True
    """Whether the alignment tells where in the utterance a token was said."""

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with what is computed once for all steps."""
        raise NotImplementedError

    def start(self, memory: Memory) -> Float[Tensor, "B *X"]:
        """The trace before the first token."""
        raise NotImplementedError

    def forward(self, state: Float[Tensor, "BK D"], memory: Memory, trace: Float[Tensor, "BK *X"]) -> Attended:
        """Attend once.

        Args:
            state: Decoder states that ask, equally many of each utterance.
            memory: Encoded utterances.
            trace: Of the step before, or ``start``.
        """
        raise NotImplementedError

    def together(
        self, states: Float[Tensor, "B U D"], memory: Memory
    ) -> tuple[Float[Tensor, "B U E"], Float[Tensor, "B U S"]]:
        """Contexts and alignments of all steps at once, for a kind that does not look back.

        Args:
            states: Decoder states that ask, one a step.
            memory: Encoded utterances.
        """
        trace = self.start(memory).repeat_interleave(states.shape[1], dim=0)
        context, alignment, _ = self(states.flatten(0, 1), memory, trace)
        return by_utterance(context, states), by_utterance(alignment, states)


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
        alignment = no_weight(memory)
        alignment[:, 0] = 1.0
        return alignment

    def energies(
        self, query: Float[Tensor, "BK A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "BK *X"]
    ) -> Float[Tensor, "BK S"]:
        """Unnormalised log weight of every frame."""
        raise NotImplementedError

    def weigh(
        self, energies: Float[Tensor, "BK S"], valid: Float[Tensor, "BK S"], trace: Float[Tensor, "BK *X"]
    ) -> Float[Tensor, "BK S"]:
        """The alignment; ``valid`` is 1 on frames and 0 on padding."""
        return softmax(energies, valid) if not self.config.smoothing else smooth(energies, valid)

    def follow(
        self, query: Float[Tensor, "BK A"], alignment: Float[Tensor, "BK S"], trace: Float[Tensor, "BK *X"]
    ) -> Float[Tensor, "BK *X"]:
        """The trace after a step."""
        return alignment

    def forward(self, state: Float[Tensor, "BK D"], memory: Memory, trace: Float[Tensor, "BK *X"]) -> Attended:
        """Compare, weigh and sum; see `AnyAttention.forward`."""
        query = self.query(state)
        energies = at_least_single(self.energies(query, memory.keys, trace))
        valid = valid_mask(memory.lengths, energies.shape[1]).to(energies.dtype)
        alignment = self.weigh(energies, valid.repeat_interleave(state.shape[0] // valid.shape[0], dim=0), trace)
        shares = by_utterance(alignment, memory.encoded).to(memory.encoded.dtype)
        context = torch.bmm(shares, memory.encoded).flatten(0, 1)
        return Attended(context, alignment, self.follow(query, alignment, trace))


def no_weight(memory: Memory) -> Float[Tensor, "B S"]:
    """A sum of alignments before the first."""
    return memory.encoded.new_zeros(memory.encoded.shape[:2])


def by_utterance(rows: Float[Tensor, "BK *X"], utterances: Float[Tensor, "B *Y"]) -> Float[Tensor, "B K *X"]:
    """The rows of each utterance side by side."""
    return rows.unflatten(0, (utterances.shape[0], -1))


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
    return _from_logistic((2 * x).sigmoid_())


def tanh_(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same of what nobody else holds, in its place: on a CPU, fresh memory costs more than the arithmetic."""
    if x.is_cuda or x.dtype not in (torch.float32, torch.float64):
        return x.tanh_()
    return _from_logistic(x.mul_(2).sigmoid_())


def _from_logistic(logistic: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """2 sigmoid - 1, in place where no gradient is to be computed from the sigmoid."""
    return (logistic.mul(2) if logistic.requires_grad else logistic.mul_(2)).sub_(1)
