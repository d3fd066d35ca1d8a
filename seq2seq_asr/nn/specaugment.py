"""SpecAugment: random blocks of time and frequency hidden from the model while it trains, and its pace changed."""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.masks import valid_mask
from seq2seq_asr.nn.pitch import Curve

MOST: Final = 1_000_000
"""Masks, bins or frames, at most: no utterance has more, and 64-bit integers hold their products."""
_LIBRISPEECH: Final = {"frequency_width": 27, "time_width": 100, "time_ratio": 1.0, "time_warp": 80}
POLICIES: Final[dict[str, dict[str, Any]]] = {
    "LB": {"frequency_masks": 1, "time_masks": 1, **_LIBRISPEECH},
    "LD": {"frequency_masks": 2, "time_masks": 2, **_LIBRISPEECH},
}
"""Settings of the policies of Park et al. (2019), table 1."""


@dataclass(frozen=True, kw_only=True)
class SpecAugmentConfig:
    """SpecAugment (Park et al. 2019); the defaults are light, for short sentences and few epochs."""

    policy: Literal["LB", "LD"] | None = None
    """LibriSpeech basic or double (Park et al. 2019, table 1), in place of widths, numbers, ratio and warp below."""
    frequency_masks: int = 2
    """Frequency masks for each utterance; 0 for features whose neighbours are unrelated, such as cepstra."""
    frequency_width: int = 10
    """Widest frequency mask F (bins); each width is drawn evenly from 0 to this."""
    time_masks: int = 2
    """Time masks for each utterance; the most of them when time_masks_per_frame is set."""
    time_width: int = 10
    """Widest time mask T (frames); each width is drawn evenly from 0 to this."""
    time_ratio: float = 0.2
    """No time mask is wider than this share p of its utterance."""
    time_masks_per_frame: float = 0.0
    """Above 0: an utterance gets this many time masks per frame, rounded down (adaptive, Park et al. 2020)."""
    time_warp: int = 0
    """Furthest that a random frame is moved in time W (frames), stretching one side; 0 turns warping off."""
    slowest: float = 1.0
    """Slowest tempo of an utterance; each is drawn on a logarithmic scale, and the spectra of its frames stay."""
    fastest: float = 1.0
    """Fastest tempo; like slowest 1 to leave the tempo as it is."""
    pitch_hidden: float = 0.0
    """Chance that all pitch of an utterance is hidden, so that no word is known by its tones alone."""
    tone_range: float = 1.0
    """Most that the pitch of an utterance moves more, or less, drawn on a logarithmic scale; 1 leaves it as it is."""

    def __post_init__(self) -> None:
        for name in POLICIES.get(self.policy or "", ()):
            if getattr(self, name) != getattr(type(self), name):
                raise UsageError(f"specaugment.policy: {self.policy} says {name} too: leave out the one or the other")
        if not 0.25 <= self.slowest <= 1.0 <= self.fastest <= 4.0:
            raise UsageError(f"slowest, fastest: expected 0.25 to 1 and 1 to 4, got {self.slowest} and {self.fastest}")
        if not 1.0 <= self.tone_range <= 10.0:
            raise UsageError(f"tone_range must be from 1 to 10, got {self.tone_range}")
        for name in ("frequency_masks", "frequency_width", "time_masks", "time_width", "time_warp"):
            if not 0 <= getattr(self, name) <= MOST:
                raise UsageError(f"{name} must be from 0 to {MOST:,}, got {getattr(self, name)}")
        for name in ("time_ratio", "time_masks_per_frame", "pitch_hidden"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} must be from 0 to 1, got {getattr(self, name)}")

    @property
    def applied(self) -> "SpecAugmentConfig":
        """The same with what a policy says written out."""
        return self if self.policy is None else replace(self, policy=None, **POLICIES[self.policy])


class SpecAugment(nn.Module):
    """Hide random blocks of each utterance, in training mode only.

    What is hidden becomes zero, the mean of normalised features. Each utterance draws for itself, inside its own
    length. All randomness comes from torch's default generator on the CPU, so a seed gives the same masks on any
    device and only that generator need be saved to go on.

    Args:
        config: The settings.
        deltas: Order of the deltas that follow the bins: a frequency mask hides them with their bin.
        others: The values at the end of a frame that are no bins, which no frequency mask hides.
        slopes: Whether deltas change with the tempo; where each utterance is normalised, that undoes any factor.
    """

    def __init__(
        self, config: SpecAugmentConfig, *, deltas: int = 0, others: tuple[Curve, ...] = (), slopes: bool = False
    ) -> None:
        super().__init__()
        self.config = config.applied
        self.streams, self.others, self.slopes = 1 + deltas, others, slopes

    @torch.no_grad()
    def forward(
        self, features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T2 F"], Int[Tensor, " B"]]:
        """Change the tempo, warp and mask in training mode; return all as it is in evaluation mode.

        Args:
            features: Padded, normalised features.
            lengths: Frames of each utterance.

        Returns:
            New features and their lengths. Where the tempo stays, frames past an utterance's length do too.
        """
        if not self.training:
            return features, lengths
        if self.config.slowest < self.config.fastest:
            tempos = _draw_factors(len(features), self.config.slowest, self.config.fastest).to(features.device)
            features, lengths = change_tempo(features, lengths, tempos)
            orders = [order for order in range(1, self.streams) for _ in range(self._bins(features))]
            powers = [*(orders if self.slopes else ()), *(curve.order for curve in self.others)]
            features = self._scale(features, tempos, powers)
        if self.others and self.config.tone_range > 1:
            ranges = _draw_factors(len(features), 1 / self.config.tone_range, self.config.tone_range)
            features = self._scale(features, ranges.to(features.device), [int(curve.tone) for curve in self.others])
        if self.config.time_warp > 0:
            features = warp_time(features, lengths, self.config.time_warp)
        valid = valid_mask(lengths, features.shape[1])[:, :, None]
        hidden = self._frequency_mask(features) | self._time_mask(features, lengths)  # (B, T, F)
        if self.others and self.config.pitch_hidden > 0:
            hidden = hidden | self._pitch_mask(features)
        return features.masked_fill(hidden & valid, 0.0), lengths

    def _scale(
        self, features: Float[Tensor, "B T F"], factors: Float[Tensor, " B"], powers: list[int]
    ) -> Float[Tensor, "B T F"]:
        """The last values of a frame, each times a power of its utterance's factor; those before them stay."""
        if not powers:
            return features
        bins, others = features.split([features.shape[2] - len(powers), len(powers)], dim=2)
        exponents = torch.tensor(powers, device=features.device)
        scales = factors[:, None, None].to(features.dtype) ** exponents
        return torch.cat((bins, others * scales), dim=2)

    def _frequency_mask(self, features: Float[Tensor, "B T F"]) -> Bool[Tensor, "B 1 F"]:
        bins = self._bins(features)
        sizes = torch.full((len(features), 1), bins, device=features.device)
        limits = sizes.clamp(max=self.config.frequency_width).expand(-1, self.config.frequency_masks)
        hidden = random_blocks(limits, sizes, bins).repeat(1, self.streams)
        return F.pad(hidden, (0, len(self.others)))[:, None, :]

    def _bins(self, features: Float[Tensor, "B T F"]) -> int:
        return (features.shape[2] - len(self.others)) // self.streams

    def _pitch_mask(self, features: Float[Tensor, "B T F"]) -> Bool[Tensor, "B 1 F"]:
        hidden = (torch.rand(len(features)) < self.config.pitch_hidden).to(features.device)
        pitch = torch.arange(features.shape[2], device=features.device) >= features.shape[2] - len(self.others)
        return (hidden[:, None] & pitch)[:, None, :]

    def _time_mask(self, features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"]) -> Bool[Tensor, "B T 1"]:
        config, sizes = self.config, lengths[:, None]
        limits = (sizes * config.time_ratio).long().clamp(max=config.time_width).expand(-1, config.time_masks)
        if config.time_masks_per_frame > 0:
            wanted = (sizes * config.time_masks_per_frame).long()
            limits = limits * (torch.arange(config.time_masks, device=limits.device) < wanted)
        return random_blocks(limits, sizes, features.shape[1])[:, :, None]


def random_blocks(limits: Int[Tensor, "B M"], sizes: Int[Tensor, "B 1"], size: int) -> Bool[Tensor, "B size"]:
    """Draw M blocks for each row and mark the positions that any of them covers.

    Args:
        limits: Widest each block may be, at most the row's size; a width is drawn evenly from 0 to this.
        sizes: Positions of each row that blocks lie in; every start that keeps a block inside is as likely.
        size: Length of the marked axis.
    """
    widths = _draw(limits)
    starts = _draw(sizes - widths)
    positions = torch.arange(size, device=limits.device)
    after_start = positions >= starts[:, :, None]  # (B, M, size)
    return (after_start & (positions < (starts + widths)[:, :, None])).any(1)


def warp_time(features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"], furthest: int) -> Float[Tensor, "B T F"]:
    """Move a random frame of each utterance by up to `furthest` frames and stretch both sides of it linearly.

    The first and last frame stay (Park et al. 2019, section 2, with linear in place of spline interpolation).
    An utterance without a frame more than `furthest` frames away from both ends stays as it is.
    """
    spare = lengths - (2 * furthest + 3)
    pivot = furthest + 1 + _draw(spare.clamp(min=0))
    moved = pivot + _draw(torch.full_like(lengths, 2 * furthest)) - furthest
    last = (lengths - 1)[:, None]
    positions = torch.arange(features.shape[1], device=features.device).expand(len(features), -1)
    before = positions * (pivot / moved)[:, None]
    after = last - (last - positions) * ((lengths - 1 - pivot) / (lengths - 1 - moved).clamp(min=1))[:, None]
    source = torch.where(positions < moved[:, None], before, after)
    source = torch.where((spare >= 0)[:, None] & (positions <= last), source, positions)
    return _read_between_frames(features, source)


def change_tempo(
    features: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"], tempos: Float[Tensor, " B"]
) -> tuple[Float[Tensor, "B T2 F"], Int[Tensor, " B"]]:
    """Let each utterance be spoken faster or slower: tempo perturbation (Ko et al. 2015), of frames.

    Args:
        features: Padded features.
        lengths: Frames of each utterance.
        tempos: Above 1 is faster.

    Returns:
        Features, zero past the lengths, and the lengths: those of ``T`` frames become ``ceil(T / tempo)``, the one at
        ``s`` read at time ``s * tempo``.
    """
    changed = (lengths / tempos).ceil().long()
    positions = torch.arange(int(changed.max()), device=features.device)
    times = (positions * tempos[:, None]).minimum((lengths - 1).clamp(min=0)[:, None].to(tempos.dtype))
    valid = valid_mask(changed, len(positions))[:, :, None]
    return _read_between_frames(features, times).masked_fill(~valid, 0.0), changed


def _read_between_frames(features: Float[Tensor, "B T F"], times: Float[Tensor, "B T2"]) -> Float[Tensor, "B T2 F"]:
    """Features at fractional frame times, by linear interpolation."""
    earlier = times.floor().long().clamp(0, features.shape[1] - 1)
    later = (earlier + 1).clamp(max=features.shape[1] - 1)
    share = (times - earlier)[:, :, None].to(features.dtype)

    def frames(index: Int[Tensor, "B T2"]) -> Tensor:
        return features.gather(1, index[:, :, None].expand(-1, -1, features.shape[2]))

    return torch.lerp(frames(earlier), frames(later), share)


def _draw_factors(count: int, least: float, most: float) -> Float[Tensor, " B"]:
    """Draw factors evenly on a logarithmic scale, on the CPU's default generator."""
    low, high = math.log(least), math.log(most)
    return (low + (high - low) * torch.rand(count)).exp()


def _draw(limits: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Draw whole numbers evenly from 0 to each limit, the limit included, on the CPU's default generator."""
    # Integers rather than floats in [0, 1): their product with a limit could round up to a value out of range.
    # 2^40 is so far above any length that the remainder is even to 1 in 10^6.
    return torch.randint(1 << 40, limits.shape).to(limits.device) % (limits + 1)
