"""Checks of pitch: a GPU follows the path in tensors, a CPU in a compiled loop, and both find the same."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from gpu_common import Check, Failed, Where

from seq2seq_asr.nn.fbank import Fbank
from seq2seq_asr.nn.pitch import Pitch, best_path, best_path_in_tensors

RATE = 16000


def same_path(where: Where, batch: int, frames: int, lags: int) -> str:
    """To the last lag: both make the same sums of the same numbers."""
    worth, lengths = torch.rand(batch, frames, lags), torch.randint(frames + 1, (batch,))
    found = best_path_in_tensors(worth.to(where.device), lengths.to(where.device)).cpu()
    if not torch.equal(found, best_path(worth, lengths)):
        raise Failed("another path than the compiled loop's")
    return "as the compiled loop"


def same_values(where: Where, batch: int, seconds: float) -> str:
    """But for a few frames, where two paths are worth the same but for rounding."""
    time = torch.arange(round(seconds * RATE)) / RATE
    phases = 2 * math.pi * time * torch.empty(batch, 1).uniform_(80, 300)
    waveforms = sum(((k * phases).sin() / k for k in range(1, 6)), 0.3 * torch.randn(batch, len(time)))
    lengths = torch.randint(len(time) // 2, len(time), (batch,))
    counts = Fbank(rate=RATE).frame_counts(lengths)
    size, pitch = int(counts.max()), Pitch(RATE)
    wanted = pitch(waveforms, lengths, counts, size)
    on_device = (one.to(where.device) for one in (waveforms, lengths, counts))
    found = pitch.to(where.device)(*on_device, size).cpu()
    share = float(((found - wanted).abs() > 0.01).any(2).float().mean())
    if not share < 0.01:
        raise Failed(f"{100 * share:.2f} % of the frames differ from those on a CPU")
    return f"{100 * share:.2f} % of the frames differ"


def checks(where: Where) -> Iterator[Check]:
    """All of them."""
    for shape in [(2, 9, 20)] if where.tiny else [(32, 1500, 190), (1, 1, 190), (3, 700, 33)]:
        yield Check("pitch, path B={} T={} L={}: equals the loop".format(*shape), partial(same_path, where, *shape))
    for batch, seconds in [(2, 0.3)] if where.tiny else [(32, 15.0), (1, 0.1)]:
        yield Check(f"pitch, {batch} x {seconds} s: as on a CPU", partial(same_values, where, batch, seconds))
