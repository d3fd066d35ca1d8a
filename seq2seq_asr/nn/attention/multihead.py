"""Several attentions of one kind side by side."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.attention.base import AnyAttention, Attended, Attention, Memory


class MultiHeadAttention(AnyAttention):
    """Heads that attend on their own, each with its own projection of what it finds (Vaswani et al. 2017, 3.2.2).

    The alignment told is the heads' mean; the trace joins theirs, ``(B, H, …)``.

    Args:
        heads: The attentions.
        encoder_size: Values of an encoded frame (E), shared among the heads' projections.
    """

    def __init__(self, heads: Sequence[Attention], encoder_size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        sizes = [len(part) for part in torch.arange(encoder_size).tensor_split(len(heads))]
        self.values = nn.ModuleList(nn.Linear(encoder_size, size, bias=False) for size in sizes)

    def memory(self, encoded: Float[Tensor, "B S E"], lengths: Int[Tensor, " B"]) -> Memory:
        """Encoded utterances with the keys of all heads, joined."""
        keys = [head.memory(encoded, lengths).keys for head in self._own()]
        return Memory(encoded, lengths, torch.cat(keys, dim=-1))

    def start(self, memory: Memory) -> Float[Tensor, "B H *X"]:
        """The heads' traces before the first token."""
        return torch.stack([head.start(memory) for head in self._own()], dim=1)

    def forward(self, state: Float[Tensor, "BK D"], memory: Memory, trace: Float[Tensor, "BK H *X"]) -> Attended:
        """Attend once; see `AnyAttention.forward`."""
        keys = memory.keys.chunk(len(self.heads), dim=-1)
        found = [
            head(state, memory._replace(keys=own), before)
            for head, own, before in zip(self._own(), keys, trace.unbind(dim=1), strict=True)
        ]
        contexts = [value(one.context) for value, one in zip(self.values, found, strict=True)]
        alignments = torch.stack([one.alignment for one in found])
        return Attended(
            torch.cat(contexts, dim=-1), alignments.mean(dim=0), torch.stack([one.trace for one in found], dim=1)
        )

    def _own(self) -> Iterator[Attention]:
        return (cast(Attention, head) for head in self.heads)
