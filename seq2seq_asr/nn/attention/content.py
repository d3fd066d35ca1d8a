"""Attentions that look at what a frame holds, not at where it is."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.attention.base import Attention, by_utterance, tanh_
from seq2seq_asr.nn.attention.config import AttentionConfig
from seq2seq_asr.nn.fused import Kernels
from seq2seq_asr.nn.fused_energies import additive


class AdditiveAttention(Attention):
    """Bahdanau et al. 2015, equation 6 with the tanh network of its appendix A.1.2."""

    looks_back: ClassVar[bool] = False
    kernels: Kernels = "auto"
    """Whether a GPU kernel may compute the energies, or must."""

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.score = nn.Linear(config.size, 1, bias=False)

    def energies(  # noqa: D102
        self, query: Float[Tensor, "BK A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "BK *X"]
    ) -> Float[Tensor, "BK S"]:
        fused = additive(query, keys, self.score, self.kernels)
        return self.compare(query.unsqueeze(1).repeat(1, keys.shape[1], 1), keys) if fused is None else fused

    def compare(self, asked: Float[Tensor, "BK S A"], keys: Float[Tensor, "B S A"]) -> Float[Tensor, "BK S"]:
        """Energies of what is asked of every frame; the sum is made in the place of ``asked``."""
        by_utterance(asked, keys).add_(keys.unsqueeze(1))
        return self.score(tanh_(asked)).squeeze(-1)


class DotAttention(Attention):
    """Dot product (Luong et al. 2015, equation 8, "dot") of projections to one size."""

    looks_back: ClassVar[bool] = False

    def energies(  # noqa: D102
        self, query: Float[Tensor, "BK A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "BK *X"]
    ) -> Float[Tensor, "BK S"]:
        return torch.bmm(by_utterance(query, keys), keys.transpose(1, 2)).flatten(0, 1)


class ScaledDotAttention(DotAttention):
    """Scaled dot product (Vaswani et al. 2017, equation 1)."""

    def energies(  # noqa: D102
        self, query: Float[Tensor, "BK A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "BK *X"]
    ) -> Float[Tensor, "BK S"]:
        return super().energies(query, keys, trace) * query.shape[-1] ** -0.5


class GeneralAttention(DotAttention):
    """Bilinear form of state and frame (Luong et al. 2015, equation 8, "general"); ``size`` is the decoder's."""

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.key = nn.Linear(encoder_size, decoder_size, bias=False)
        self.query = nn.Identity()
