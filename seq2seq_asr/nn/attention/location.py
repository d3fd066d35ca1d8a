"""Attentions that also look at where the earlier steps stood."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.attention.base import Memory, no_weight
from seq2seq_asr.nn.attention.config import AttentionConfig
from seq2seq_asr.nn.attention.content import AdditiveAttention


class LocationAttention(AdditiveAttention):
    """Additive attention over filtered previous alignments (Chorowski et al. 2015, equations 8 and 9)."""

    looks_back: ClassVar[bool] = True

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.filters = nn.Conv1d(1, config.filters, config.width, padding=config.width // 2, bias=False)
        self.location = nn.Linear(config.filters, config.size, bias=False)

    @property
    def plain(self) -> bool:
        """Whether it is the published kind without options."""
        return not (self.config.cumulative or self.config.window or self.config.smoothing)

    def start(self, memory: Memory) -> Float[Tensor, "B S"]:
        """All weight on the first frame, or of a sum of alignments none."""
        return no_weight(memory) if self.config.cumulative else super().start(memory)

    @torch.no_grad()
    def responses(self, frames: int) -> Float[Tensor, "S SC"]:
        """What the filters make of all weight on one frame: where frames are few, filtering is best one product."""
        units = torch.eye(frames, dtype=self.filters.weight.dtype, device=self.filters.weight.device)
        return self.filters(units.unsqueeze(1)).transpose(1, 2).flatten(1)

    def energies(  # noqa: D102
        self, query: Float[Tensor, "BK A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "BK S"]
    ) -> Float[Tensor, "BK S"]:
        location = self.location(self.filters(trace.to(keys.dtype).unsqueeze(1)).transpose(1, 2))
        return self.compare(location.add_(query.unsqueeze(1)), keys)

    def weigh(  # noqa: D102
        self, energies: Float[Tensor, "BK S"], valid: Float[Tensor, "BK S"], trace: Float[Tensor, "BK S"]
    ) -> Float[Tensor, "BK S"]:
        if self.config.window:
            valid = valid * self._near(trace)
        return super().weigh(energies, valid, trace)

    def _near(self, trace: Float[Tensor, "BK S"]) -> Float[Tensor, "BK S"]:
        """1 around the last alignment's median, which always lies on a valid frame (Chorowski et al. 2015)."""
        median = (trace.cumsum(dim=1) < 0.5).sum(dim=1, keepdim=True)
        frames = torch.arange(trace.shape[1], device=trace.device)
        return ((frames - median).abs() <= self.config.window).to(trace.dtype)

    def follow(  # noqa: D102
        self, query: Float[Tensor, "BK A"], alignment: Float[Tensor, "BK S"], trace: Float[Tensor, "BK S"]
    ) -> Float[Tensor, "BK S"]:
        return trace + alignment if self.config.cumulative else alignment


class CoverageAttention(AdditiveAttention):
    """Additive attention that sees how much weight each frame has had (See et al. 2017, equations 10 and 11)."""

    looks_back: ClassVar[bool] = True

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.covered = nn.Linear(1, config.size, bias=False)

    def start(self, memory: Memory) -> Float[Tensor, "B S"]:
        """No frame has had any weight."""
        return no_weight(memory)

    def energies(  # noqa: D102
        self, query: Float[Tensor, "BK A"], keys: Float[Tensor, "B S A"], trace: Float[Tensor, "BK S"]
    ) -> Float[Tensor, "BK S"]:
        covered = self.covered(trace.to(keys.dtype).unsqueeze(-1))
        return self.compare(covered.add_(query.unsqueeze(1)), keys)

    def follow(  # noqa: D102
        self, query: Float[Tensor, "BK A"], alignment: Float[Tensor, "BK S"], trace: Float[Tensor, "BK S"]
    ) -> Float[Tensor, "BK S"]:
        return trace + alignment


class ForwardAttention(AdditiveAttention):
    """Additive attention that stays or moves one frame on (Zhang et al. 2018, algorithm 1).

    The recurrence runs in the logarithm: far from the path its products would fall below the smallest number.
    """

    looks_back: ClassVar[bool] = True

    def weigh(  # noqa: D102
        self, energies: Float[Tensor, "BK S"], valid: Float[Tensor, "BK S"], trace: Float[Tensor, "BK S"]
    ) -> Float[Tensor, "BK S"]:
        moved = torch.nn.functional.pad(trace, (1, -1))
        reached = (trace + moved).clamp(min=torch.finfo(torch.float32).tiny).log()
        return super().weigh(energies + reached, valid, trace)
