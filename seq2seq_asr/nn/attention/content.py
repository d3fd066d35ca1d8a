"""Attentions that look at what a frame holds, not at where it is."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.attention.base import Attention, tanh
from seq2seq_asr.nn.attention.config import AttentionConfig


class AdditiveAttention(Attention):
    """Bahdanau et al. 2015, equation 6 with the tanh network of its appendix A.1.2."""

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.score = nn.Linear(config.size, 1, bias=False)

    def energies(  # noqa: D102
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "B *X"]
    ) -> Float[Tensor, "B S"]:
        return self.score(tanh(keys + query.unsqueeze(1))).squeeze(-1)


class DotAttention(Attention):
    """Dot product (Luong et al. 2015, equation 8, "dot") of projections to one size."""

    def energies(  # noqa: D102
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "B *X"]
    ) -> Float[Tensor, "B S"]:
        return torch.bmm(keys, query.unsqueeze(-1)).squeeze(-1)


class ScaledDotAttention(DotAttention):
    """Scaled dot product (Vaswani et al. 2017, equation 1)."""

    def energies(  # noqa: D102
        self, query: Float[Tensor, "B A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "B *X"]
    ) -> Float[Tensor, "B S"]:
        return super().energies(query, keys, trace) * query.shape[-1] ** -0.5


class GeneralAttention(DotAttention):
    """Bilinear form of state and frame (Luong et al. 2015, equation 8, "general"); ``size`` is the decoder's."""

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.key = nn.Linear(encoder_size, decoder_size, bias=False)
        self.query = nn.Identity()
