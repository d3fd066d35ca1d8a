"""Teacher forcing by the GPU kernels: what ``nn.unroll`` does, for every attention that the kernels know.

This prepares what they are given; ``Decoder.advance`` over and over is what they must equal.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.attention import LocationAttention, Memory
from seq2seq_asr.nn.attention.base import AnyAttention, Attention
from seq2seq_asr.nn.attention.content import AdditiveAttention, DotAttention, ScaledDotAttention
from seq2seq_asr.nn.attention.multihead import MultiHeadAttention
from seq2seq_asr.nn.fused import Kernels, chosen
from seq2seq_asr.nn.fused_energies import no_place

_KNOWN = (LocationAttention, AdditiveAttention, DotAttention, ScaledDotAttention)
_LARGEST = 2**30
"""Elements that a kernel can count, with room for sizes that are rounded up."""


def unrolled(
    embedded: Float[Tensor, "B U M"], memory: Memory, cell: nn.Module | None, attention: AnyAttention, kernels: Kernels
) -> tuple[Float[Tensor, "B U D"], Float[Tensor, "B U E"], Float[Tensor, "B U S"]] | None:
    """Hidden state, context and alignment of every step, or None if PyTorch is to find them.

    Args:
        embedded: Embedding of the token read at each step.
        memory: Encoded utterances.
        cell: The only one, with nothing done between its steps, if it is so.
        attention: Asked with the cell's new state.
        kernels: The user's choice.

    Raises:
        UsageError: The kernels are required and cannot be used.
    """
    if kernels == "off" or (kernels == "auto" and not embedded.is_cuda):
        return None
    gru = cell if isinstance(cell, nn.GRUCell) else None
    reason = "there are none but for one plain GRU layer" if gru is None else None
    if not chosen(kernels, embedded.device, "decoder", reason or why_not(memory, attention, embedded.shape[1])):
        return None
    return unroll(embedded, memory, cast(nn.GRUCell, gru), attention)


def why_not(memory: Memory, attention: AnyAttention, steps: int) -> str | None:
    """Why the kernels cannot unroll a GRU layer over these utterances with this attention; None if they can.

    Args:
        memory: Encoded utterances.
        attention: Asked with the cell's new state.
        steps: Target steps (U).
    """
    heads, (batch, frames, size) = heads_of(attention), memory.encoded.shape
    if not heads or any(type(head) not in _KNOWN for head in heads):
        return "there are none for this attention"
    config = heads[0].config
    if config.cumulative or config.window or config.smoothing:
        return "there are none for attention.cumulative, attention.window and attention.smoothing"
    if size % len(heads):
        return f"{len(heads)} heads do not divide {size} encoded values"
    if max(steps * batch * len(heads) * frames * config.filters, memory.keys.numel()) >= _LARGEST:
        return "the batch is too large"
    return no_place(memory.keys)


def heads_of(attention: AnyAttention) -> list[Attention]:
    """The attentions that look at the frames; none where another kind does."""
    if isinstance(attention, MultiHeadAttention):
        return [cast(Attention, head) for head in attention.heads]
    return [attention] if isinstance(attention, Attention) else []


def unroll(
    embedded: Float[Tensor, "B U M"],
    memory: Memory,
    cell: nn.GRUCell,
    attention: AnyAttention,
    how: Any = None,
) -> tuple[Float[Tensor, "B U D"], Float[Tensor, "B U E"], Float[Tensor, "B U S"]]:
    """Hidden state, context and alignment of every step; see ``nn.unroll.unroll``.

    Args:
        embedded: Embedding of the token read at each step.
        memory: Encoded utterances.
        cell: Reads embedding and context, joined.
        attention: One that nothing speaks against (`why_not`).
        how: A ``kernels.teacher_forcing.How``, for benchmarks and checks.
    """
    from seq2seq_asr.kernels.teacher_forcing import Inputs, teacher_force

    heads = heads_of(attention)
    from_token, from_context = cell.weight_ih.split([embedded.shape[-1], memory.encoded.shape[-1]], dim=1)
    queries = [cast(nn.Linear, head.query) for head in heads]
    filters, location, score = (torch.stack(parts) for parts in zip(*map(_weights, heads), strict=True))
    inputs = Inputs(
        gates=F.linear(embedded, from_token, cell.bias_ih).transpose(0, 1),
        keys=memory.keys,
        values=_values(memory, attention),
        context=from_context,
        state=torch.cat([*(query.weight for query in queries), cell.weight_hh]),
        state_bias=torch.cat([*(query.bias for query in queries), cell.bias_hh]),
        filters=filters,
        location=location,
        score=score,
    )
    kind = embedded.device.type
    with torch.autocast(kind, enabled=False):
        states = teacher_force(inputs, memory.lengths, heads[0].start(memory), _scale(heads[0]), how)
    autocast = torch.is_autocast_enabled(kind)
    hidden, context, alignment = (
        state.transpose(0, 1).to(torch.float32 if autocast else embedded.dtype) for state in states
    )
    return hidden, context, alignment.mean(dim=2)


def _values(memory: Memory, attention: AnyAttention) -> Float[Tensor, "B H S I"]:
    """What each head mixes."""
    if isinstance(attention, MultiHeadAttention):
        return torch.stack([value(memory.encoded) for value in attention.values], dim=1)
    return memory.encoded.unsqueeze(1)


def _weights(head: Attention) -> tuple[Float[Tensor, "C W"], Float[Tensor, "A C"], Float[Tensor, " A"]]:
    """Filters, location weights and scores; empty or zero where the kind has none."""
    size, like = head.config.size, cast(nn.Linear, head.query).weight
    score = head.score.weight[0] if isinstance(head, AdditiveAttention) else like.new_zeros(size)
    if isinstance(head, LocationAttention):
        return head.filters.weight[:, 0], head.location.weight, score
    return like.new_zeros(0, 1), like.new_zeros(size, 0), score


def _scale(head: Attention) -> float | None:
    """Factor of a dot product."""
    if isinstance(head, ScaledDotAttention):
        return head.config.size**-0.5
    return 1.0 if isinstance(head, DotAttention) else None
