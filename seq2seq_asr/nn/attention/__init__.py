"""Attention over encoded frames, one class a kind."""

from dataclasses import replace

from seq2seq_asr.nn.attention.base import AnyAttention, Attention, Memory
from seq2seq_asr.nn.attention.config import AttentionConfig
from seq2seq_asr.nn.attention.content import AdditiveAttention, DotAttention, GeneralAttention, ScaledDotAttention
from seq2seq_asr.nn.attention.fixed import FixedVector
from seq2seq_asr.nn.attention.gaussian import GaussianAttention
from seq2seq_asr.nn.attention.location import CoverageAttention, ForwardAttention, LocationAttention
from seq2seq_asr.nn.attention.mocha import MonotonicChunkwiseAttention
from seq2seq_asr.nn.attention.multihead import MultiHeadAttention

KINDS: dict[str, type[Attention]] = {
    "location": LocationAttention,
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "scaled_dot": ScaledDotAttention,
    "general": GeneralAttention,
    "coverage": CoverageAttention,
    "forward": ForwardAttention,
    "gaussian": GaussianAttention,
    "mocha": MonotonicChunkwiseAttention,
}

__all__ = ["KINDS", "AnyAttention", "AttentionConfig", "LocationAttention", "Memory", "build_attention", "looks_back"]


def build_attention(
    config: AttentionConfig, encoder_size: int, decoder_size: int, bidirectional: bool = True
) -> AnyAttention:
    """The attention of ``config.kind``.

    Args:
        config: Which, and its options.
        encoder_size: Values of an encoded frame (E).
        decoder_size: Values of a decoder state (D).
        bidirectional: Whether the second half of a frame's values was read from the other end.
    """
    if config.kind == "none":
        return FixedVector(config, bidirectional)
    kind = KINDS[config.kind]
    if config.heads == 1:
        return kind(config, encoder_size, decoder_size)
    own = replace(config, size=config.size // config.heads, heads=1)
    return MultiHeadAttention([kind(own, encoder_size, decoder_size) for _ in range(config.heads)], encoder_size)


def looks_back(config: AttentionConfig) -> bool:
    """Whether a step of this attention depends on earlier ones."""
    return (FixedVector if config.kind == "none" else KINDS[config.kind]).looks_back
