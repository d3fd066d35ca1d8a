"""The best path through lags and frames; ``nn.pitch.best_path_in_tensors`` takes a few operations a frame."""

from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from seq2seq_asr.cpu.compiling import compiled


@compiled(fastmath=False)  # lags that are worth the same must stay so
@no_type_check
def _follow(path, worth, frames, glide, leap):
    """Fill ``path`` (B, T)."""
    rows, size, lags = worth.shape
    padded, near = np.full(lags + 2 * glide, -np.inf, worth.dtype), np.empty(lags, worth.dtype)
    total, came, origins = padded[glide : glide + lags], np.empty(lags, np.int32), np.empty((size, lags), np.int32)
    for row in range(rows):
        last = min(max(frames[row], 1), size) - 1
        total[:] = worth[row, 0]
        for t in range(1, last + 1):
            leapt = np.argmax(total)
            far = total[leapt] - leap
            near[:], came[:] = padded[:lags], np.int32(-glide)
            for offset in range(1, 2 * glide + 1):
                for lag in range(lags):
                    better = padded[lag + offset] > near[lag]
                    near[lag] = padded[lag + offset] if better else near[lag]
                    came[lag] = np.int32(offset - glide) if better else came[lag]
            for lag in range(lags):
                glided = near[lag] >= far
                origins[t, lag] = lag + came[lag] if glided else leapt
                total[lag] = (near[lag] if glided else far) + worth[row, t, lag]
        place = np.argmax(total)
        path[row, last:] = place
        for t in range(last, 0, -1):
            place = origins[t, place]
            path[row, t - 1] = place


def best_path(worth: Tensor, frames: Tensor, glide: int, leap: float) -> Tensor:
    """The lag of each frame on the path of most worth (B, T).

    Args:
        worth: In single precision (B, T, L).
        frames: Of each utterance (B); past them the path stays where it is.
        glide: Steps to a neighbouring lag that are free.
        leap: What any other change costs.
    """
    path = torch.empty(worth.shape[:2], dtype=torch.int64)
    _follow(path.numpy(), worth.contiguous().numpy(), frames.numpy(), glide, np.float32(leap))
    return path
