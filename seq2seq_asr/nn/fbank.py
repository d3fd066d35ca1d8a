"""Kaldi-compatible log-mel filterbank features of a batch, on whatever device the model is."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.masks import valid_mask

FRAME_LENGTH = 0.025
"""Seconds one frame looks at."""
FRAME_SHIFT = 0.01
"""Seconds from one frame to the next."""
PREEMPHASIS = 0.97
LOWEST = 20.0
"""Lower edge of the first mel filter (Hz); the upper edge of the last one is the Nyquist frequency."""
FLOOR = torch.finfo(torch.float32).eps
"""Energies below this are raised to it before the logarithm."""


class Fbank(nn.Module):
    """Log-mel filterbank energies as Kaldi's ``compute-fbank-feats --dither=0 --snip-edges=true`` gives them.

    Per frame of 25 ms every 10 ms: remove the mean, pre-emphasise by 0.97, apply the Povey window, take the power
    spectrum, sum it under triangular mel filters, take the natural logarithm. Waveforms keep the scale they come in:
    in [-1, 1] the floor of the logarithm is about 90 dB below a full-scale sample.

    Everything runs in float32, under autocast too. The tables are recomputed rather than saved; move the module with
    ``to(device)``, but do not cast it.

    Args:
        bins: Mel filters (F).
        rate: Samples per second of the waveforms (Hz).

    Raises:
        UsageError: If there are so many bins that some filter lies between two lines of the spectrum.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, *, bins: int = 80, rate: int = 16000) -> None:
        super().__init__()
        self.frame_length = int(rate * FRAME_LENGTH)
        self.frame_shift = int(rate * FRAME_SHIFT)
        self.fft_size = 1 << (self.frame_length - 1).bit_length()
        filters = mel_filters(bins, self.fft_size, rate)
        if (filters.sum(0) == 0).any():
            raise UsageError(f"bins: {bins} mel filters are too many for audio of {rate} Hz")
        self.register_buffer("window", povey_window(self.frame_length).float(), persistent=False)
        self.register_buffer("filters", filters.float(), persistent=False)

    def frame_count(self, samples: int) -> int:
        """The number of whole frames in so many samples."""
        return max(0, 1 + (samples - self.frame_length) // self.frame_shift)

    def frame_counts(self, lengths: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The number of whole frames of each utterance."""
        return (1 + (lengths - self.frame_length) // self.frame_shift).clamp(min=0)

    @torch.no_grad()
    def forward(
        self, waveforms: Float[Tensor, "B N"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T F"], Int[Tensor, " B"]]:
        """Compute the features of padded waveforms.

        Args:
            waveforms: Samples; the padding may hold anything.
            lengths: Samples of each utterance.

        Returns:
            Natural-log mel energies, zero past each utterance's last whole frame, and the number of frames of each.
        """
        frame_lengths = self.frame_counts(lengths)
        size = self.frame_count(waveforms.shape[1])
        if size == 0:
            return self.window.new_zeros(len(waveforms), 0, self.filters.shape[1]), frame_lengths
        with torch.autocast(waveforms.device.type, enabled=False):
            energies = self._power_spectrum(waveforms.float()) @ self.filters
            features = energies.clamp_(min=FLOOR).log_()
        padding = ~valid_mask(frame_lengths, size)
        return features.masked_fill_(padding[:, :, None], 0.0), frame_lengths

    def _power_spectrum(self, waveforms: Float[Tensor, "B N"]) -> Float[Tensor, "B T L"]:
        """The power of each of the L = fft_size / 2 + 1 spectral lines of every windowed frame."""
        frames = waveforms.unfold(1, self.frame_length, self.frame_shift)  # (B, T, frame_length)
        frames = frames - frames.mean(2, keepdim=True)
        # The window is zero at a frame's first sample, the one that has no predecessor to subtract, so that sample is
        # left out; the shift by one sample does not change the power.
        windowed = torch.sub(frames[:, :, 1:], frames[:, :, :-1], alpha=PREEMPHASIS).mul_(self.window[1:])
        spectrum = torch.fft.rfft(windowed, n=self.fft_size)
        return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def povey_window(size: int) -> Float[Tensor, " size"]:
    """Kaldi's default window, a Hann window to the power 0.85, in float64; its first and last values are zero."""
    phase = 2 * math.pi * torch.arange(size, dtype=torch.float64) / (size - 1)
    return (0.5 - 0.5 * phase.cos()).clamp(min=0.0) ** 0.85


def mel_filters(bins: int, fft_size: int, rate: int) -> Float[Tensor, "L bins"]:
    """Triangular filters, evenly spaced and linear on the mel scale, one column each, in float64."""
    edges = torch.linspace(_mel(LOWEST), _mel(rate / 2), bins + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    lines = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (rate / fft_size)
    mels = (1127.0 * torch.log1p(lines / 700.0))[:, None]
    rising = (mels - left) / (centre - left)
    falling = (right - mels) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0.0)


def _mel(frequency: float) -> float:
    """Mel scale of a frequency in Hz (O'Shaughnessy 1987, natural logarithm)."""
    return 1127.0 * math.log1p(frequency / 700.0)
