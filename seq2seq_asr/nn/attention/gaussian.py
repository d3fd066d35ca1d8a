"""Gaussian mixture attention."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.attention.base import Attention, Memory
from seq2seq_asr.nn.attention.config import AttentionConfig
from seq2seq_asr.nn.precision import at_least_single


class GaussianAttention(Attention):
    """A mixture of Gaussians over the frames' positions that only moves on (Graves 2013, equations 46 to 51).

    It does not look at the frames. Unlike the published one its weights are divided by their sum, and widths and steps
    are positive by softplus in place of the exponential; a mean starts by moving one frame a step. The trace is the
    means, in frames, ``(B, M)``; bfloat16 could not tell frames beyond 256 apart. The first frame is 0, so that the
    published start, 0 where the first frame is 1, is -1.
    """

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.key = nn.Identity()
        self.query = nn.Linear(decoder_size, 3 * config.mixtures)
        nn.init.zeros_(self.query.bias)

    def start(self, memory: Memory) -> Float[Tensor, "B M"]:
        """All means before the first frame."""
        return at_least_single(memory.encoded.new_full((memory.encoded.shape[0], self.config.mixtures), -1.0))

    def energies(  # noqa: D102
        self, query: Float[Tensor, "BK M3"], keys: Float[Tensor, "B S E"], trace: Float[Tensor, "BK M"]
    ) -> Float[Tensor, "BK S"]:
        weight, width, _ = at_least_single(query).chunk(3, dim=-1)
        frames = torch.arange(keys.shape[1], device=keys.device, dtype=trace.dtype)
        distance = self._moved(query, trace).unsqueeze(-1) - frames
        exponents = weight.unsqueeze(-1) - F.softplus(width).unsqueeze(-1) * distance.square()
        return exponents.logsumexp(dim=1)

    def follow(  # noqa: D102
        self, query: Float[Tensor, "BK M3"], alignment: Float[Tensor, "BK S"], trace: Float[Tensor, "BK M"]
    ) -> Float[Tensor, "BK M"]:
        return self._moved(query, trace)

    def _moved(self, query: Float[Tensor, "BK M3"], means: Float[Tensor, "BK M"]) -> Float[Tensor, "BK M"]:
        *_, step = at_least_single(query).chunk(3, dim=-1)
        return means + F.softplus(step + math.log(math.e - 1))
