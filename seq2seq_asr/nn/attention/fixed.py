"""No attention: one vector of fixed length holds the whole utterance."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.nn.attention.base import AnyAttention, Attended, Memory
from seq2seq_asr.nn.attention.config import AttentionConfig


class FixedVector(AnyAttention):
    """The encoder's final state as every step's context (Sutskever et al. 2014; Cho et al. 2014).

    Of a bidirectional encoder, the forward direction's state at the last frame beside the backward direction's at the
    first. The alignment told stands on the last frame and means nothing.

    Args:
        config: Whether every step reads it.
        bidirectional: Whether the second half of a frame's values was read from the other end.
    """

    looks_back: ClassVar[bool] = False
    aligns: ClassVar[bool] = False

    def __init__(self, config: AttentionConfig, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.every_step = config.fixed_feeds == "every_step"

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with the final state as their only key, ``(B, 1, E)``."""
        rows = torch.arange(encoded.shape[0], device=encoded.device)
        ahead, back = encoded[rows, lengths - 1], encoded[:, 0]
        half = encoded.shape[2] // (2 if self.bidirectional else 1)
        return Memory(encoded, lengths, torch.cat([ahead[:, :half], back[:, half:]], dim=-1).unsqueeze(1))

    def start(self, memory: Memory) -> Float[Tensor, "B S"]:
        """The alignment, the same at every step."""
        frames = torch.arange(memory.encoded.shape[1], device=memory.encoded.device)
        return (frames == memory.lengths[:, None] - 1).to(memory.encoded.dtype)

    def forward(self, state: Float[Tensor, "BK D"], memory: Memory, trace: Float[Tensor, "BK S"]) -> Attended:
        """The same context at every step; zeros where the vector feeds the decoder's start alone."""
        context = memory.keys[:, 0].repeat_interleave(state.shape[0] // memory.keys.shape[0], dim=0)
        return Attended(context if self.every_step else torch.zeros_like(context), trace, trace)
