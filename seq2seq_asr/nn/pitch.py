"""Pitch of a batch: how much of a voice a frame has, how high it is and how it moves.

After Ghahremani et al. 2014, "A pitch extraction algorithm tuned for automatic speech recognition": a normalised
cross-correlation for every lag, the best path through lags and frames, and what they derive from it. Words of Mandarin
differ by tones, of which a filterbank shows little.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq_asr.nn.deltas import add_deltas
from seq2seq_asr.nn.fbank import FRAME_LENGTH, FRAME_SHIFT
from seq2seq_asr.nn.masks import valid_mask

RATE = 4000
"""Samples per second that pitch is looked for at (Hz); above `BAND` the sound is filtered away."""
BAND = 1000
LOWEST, HIGHEST = 60.0, 400.0
"""Pitches looked for (Hz)."""
STEP = 0.01
"""Logarithmic distance of neighbouring pitches."""
GLIDE = 4
"""Steps that pitch may move by from frame to frame at no cost, 4 % up or down: a falling tone moves by 3 %."""
LEAP = 0.05
"""Cost of any other move: that of an octave in the paper."""
PREFERENCE = 10.0
"""Short lags are preferred: a lag of so many Hz would count nothing (soft-min-f0 of the paper)."""
BALLAST = 0.01
"""A frame with this share of the utterance's mean power says 0.7 times as much where the pitch is."""
CONTEXT = 75
"""Frames on either side that the mean pitch is taken over."""
FFT_SIZE = 192
"""Samples of a transform; a frame and its longest lag are 172, so that nothing comes round."""
SIDE = 5
"""Lags on either side that the correlation between two lags is interpolated from."""


class Curve(NamedTuple):
    """What one value a frame, followed through time, changes with."""

    order: int
    """The time derivative that it is: a tempo multiplies a slope."""
    tone: bool
    """Whether it says how far pitch moves, which differs between voices."""


class Pitch(nn.Module):
    """Three values a frame: voicing, height of the pitch above the voice's mean, and its slope.

    Voicing is 0 without a voice and falls to -1.5. Height is twice the natural logarithm of the ratio to a mean over
    1.5 seconds, slope ten times its change a frame (scaled as in Kaldi); both are multiplied by the probability of a
    voice, since what the path does where there is none means nothing. Frames are those of `Fbank`.

    Args:
        rate: Samples per second of the waveforms (Hz), more than `RATE`.
    """

    curves = (Curve(0, tone=False), Curve(0, tone=True), Curve(1, tone=True))
    lags: Tensor
    between: Tensor

    def __init__(self, rate: int) -> None:
        super().__init__()
        from torchaudio.transforms import Resample  # takes long to import, and is only wanted here

        self.rate = rate
        self.resample = Resample(rate, RATE, rolloff=2 * BAND / RATE)
        self.resample.register_buffer("kernel", self.resample.kernel, persistent=False)
        self.window, self.shift = round(RATE * FRAME_LENGTH), round(RATE * FRAME_SHIFT)
        pitches = torch.arange(math.log(LOWEST), math.log(HIGHEST), STEP, dtype=torch.float64).exp()
        self.longest = math.ceil(RATE / LOWEST) + SIDE
        self.register_buffer("lags", (1 / pitches).float(), persistent=False)  # seconds
        self.register_buffer("between", _interpolation(RATE / pitches, self.longest).float(), persistent=False)

    @torch.no_grad()
    def forward(
        self, waveforms: Float[Tensor, "B N"], lengths: Int[Tensor, " B"], frames: Int[Tensor, " B"], size: int
    ) -> Float[Tensor, "B T 3"]:
        """Look for the pitch of padded waveforms.

        Args:
            waveforms: Samples; the padding may hold anything.
            lengths: Samples of each utterance.
            frames: Frames of each utterance.
            size: Frames to return (T).

        Returns:
            Voicing, height and slope, zero past the frames of each utterance.
        """
        if size == 0:
            return waveforms.new_zeros(len(waveforms), 0, len(self.curves))
        with torch.autocast(waveforms.device.type, enabled=False):
            samples, lengths = self.resampled(waveforms.float(), lengths)
            plain, steady = self.correlations(samples, lengths, size)
            worth = steady * (1 - PREFERENCE * self.lags)
            path = best_path(worth, frames)
            alike = plain.gather(2, path[:, :, None]).squeeze(2).clamp(-1, 1).abs()
            return _values(-self.lags.log()[path], alike, frames)

    def resampled(
        self, waveforms: Float[Tensor, "B N"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B N2"], Int[Tensor, " B"]]:
        """Waveforms at `RATE`, zero past the lengths, and the lengths."""
        heard = waveforms.masked_fill(~valid_mask(lengths, waveforms.shape[1]), 0.0)
        samples, shorter = self.resample(heard), lengths * RATE // self.rate
        return samples.masked_fill(~valid_mask(shorter, samples.shape[1]), 0.0), shorter

    def correlations(
        self, samples: Float[Tensor, "B N"], lengths: Int[Tensor, " B"], size: int
    ) -> tuple[Float[Tensor, "B T L"], Float[Tensor, "B T L"]]:
        """Normalised cross-correlation of every frame with itself, later by each lag.

        Args:
            samples: At `RATE`, zero past the lengths.
            lengths: Samples of each utterance.
            size: Frames (T).

        Returns:
            From -1 to 1, once as it is and once less where the frame is faint beside its utterance.
        """
        before = self.longest // 2
        reach = self.window + self.longest
        padded = F.pad(samples, (before, max(0, size * self.shift + reach - samples.shape[1])))
        windows = padded.unfold(1, reach, self.shift)[:, :size]
        windows = windows - windows.mean(2, keepdim=True)
        spectra = torch.fft.rfft(windows, n=FFT_SIZE)
        first = torch.fft.rfft(windows[:, :, : self.window], n=FFT_SIZE)
        products = torch.fft.irfft(first.conj() * spectra, n=FFT_SIZE)[:, :, : self.longest + 1]
        sums = F.pad(windows.double().square().cumsum(2), (1, 0))
        powers = (sums[:, :, self.window :] - sums[:, :, : self.longest + 1]).float()
        powers = powers[:, :, :1] * powers
        power = samples.square().sum(1) / lengths.clamp(min=1)
        faint = (BALLAST * self.window * power).square()[:, None, None]
        tiny = torch.finfo(torch.float32).tiny
        plain = products * powers.clamp(min=tiny).rsqrt()
        return plain @ self.between, (products * (powers + faint).clamp(min=tiny).rsqrt()) @ self.between


def best_path(worth: Float[Tensor, "B T L"], frames: Int[Tensor, " B"]) -> Int[Tensor, "B T"]:
    """The lag of each frame on the path of most worth; on a CPU a compiled loop finds it."""
    if worth.device.type != "cpu":
        return best_path_in_tensors(worth, frames)
    from seq2seq_asr.cpu import paths  # imports Numba

    return paths.best_path(worth, frames, GLIDE, LEAP)


def best_path_in_tensors(worth: Float[Tensor, "B T L"], frames: Int[Tensor, " B"]) -> Int[Tensor, "B T"]:
    """The lag of each frame on the path of most worth (Viterbi 1967): `GLIDE` steps are free, others cost `LEAP`.

    In the paper the cost grows with the square of the change. Past an utterance's frames the path stays where it is.
    """
    places = torch.arange(worth.shape[2], device=worth.device)
    inside = valid_mask(frames, worth.shape[1])
    total, origins = worth[:, 0], []
    for t in range(1, worth.shape[1]):
        near, glided = F.max_pool1d(total, 2 * GLIDE + 1, 1, GLIDE, return_indices=True)
        far, leapt = total.max(1, keepdim=True)
        far = far - LEAP
        here = inside[:, t : t + 1]
        origins.append(torch.where(here, torch.where(near >= far, glided, leapt), places))
        total = torch.where(here, near.maximum(far) + worth[:, t], total)
    place = total.argmax(1, keepdim=True)
    path = [place]
    for origin in reversed(origins):
        place = origin.gather(1, place)
        path.append(place)
    return torch.cat(path[::-1], dim=1)


def _interpolation(lags: Float[Tensor, " L"], longest: int) -> Float[Tensor, "K L"]:
    """What turns values at the whole lags 0 to `longest` into those at `lags`: a sinc under a Hann window."""
    away = torch.arange(longest + 1, dtype=torch.float64)[:, None] - lags
    window = torch.where(away.abs() < SIDE, 0.5 + 0.5 * (math.pi * away / SIDE).cos(), 0.0)
    return torch.sinc(away) * window


def _values(
    height: Float[Tensor, "B T"], alike: Float[Tensor, "B T"], frames: Int[Tensor, " B"]
) -> Float[Tensor, "B T 3"]:
    """Voicing, height and slope of a path, from the logarithm of its pitch and its correlations."""
    valid = valid_mask(frames, height.shape[1])
    weight = voicing_probability(alike) * valid
    sums = F.avg_pool1d(torch.stack((weight, weight * height), dim=1), 2 * CONTEXT + 1, 1, CONTEXT)
    mean = sums[:, 1] / sums[:, 0].clamp(min=torch.finfo(torch.float32).tiny)
    slope = add_deltas((height * valid)[:, :, None], frames, 1)[:, :, 1]
    voicing = 2 * ((1.0001 - alike) ** 0.15 - 1)
    return torch.stack((voicing * valid, 2 * (height - mean) * weight, 10 * slope * weight), dim=2)


def voicing_probability(alike: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Probability of a voice in a frame whose correlation with itself is this, from 0 to 1, as fitted for Kaldi."""
    rising = 5.4 * (7.5 * (alike - 1)).exp() + 4.8 * alike + 4.2 * (20 * (alike - 1)).exp()
    return (rising - 5.2 - 2 * (-10 * alike).exp()).sigmoid()
