"""Additive energies of many rows at once, whose tanh layer, rows × frames × size, never is in memory."""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq_asr.kernels.attention import scores
from seq2seq_asr.kernels.attention_back import keys_back, scores_back
from seq2seq_asr.kernels.tiles import TILES, bound, channel_tile


def additive_energies(query: Tensor, keys: Tensor, score: Tensor) -> Tensor:
    """Energies of all frames, float32 (Bahdanau et al. 2015, appendix A.1.2).

    Args:
        query: What rows ask (N, A); rows that ask one utterance stand side by side.
        keys: Of the utterances (B, S, A); B divides N.
        score: Weights of the tanh layer (A).

    Returns:
        (N, S); those of padding are like any others.
    """
    return _AdditiveEnergies.apply(query, keys, score)


class _AdditiveEnergies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, score: Tensor) -> Any:
        """Energies (N, S) of queries (N, A), keys (B, S, A) and a score (A), in float32."""
        given = query.float().contiguous(), keys.contiguous(), score.float().contiguous()
        ctx.save_for_backward(*given)
        ctx.dtypes = query.dtype, keys.dtype, score.dtype
        (count, size), frames = query.shape, keys.shape[1]
        energies = given[0].new_empty(count, frames)
        with torch.cuda.device_of(keys):
            scores[(count, triton.cdiv(frames, TILES.frames))](
                energies, energies, given[1], given[0], energies, energies, energies, given[2], _lengths(keys),
                size, count // len(keys), 1, bound(frames), bound(size), 0, 0, 1.0,
                TA=TILES.size, TW=TILES.taps, **_PLAIN,
            )  # fmt: skip
        return energies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        """The tanh layer is computed again, tile by tile."""
        query, keys, score = ctx.saved_tensors
        errors, (count, size), (batch, frames, _) = outputs[0].contiguous(), query.shape, keys.shape
        tiles, rows, unused = triton.cdiv(frames, TILES.frames), count // batch, errors
        to_query, to_score = errors.new_empty(tiles, count, size), errors.new_empty(tiles, batch, size)
        to_keys = errors.new_empty(keys.shape)
        asked = keys, query, unused, unused, score, _lengths(keys), size
        sizes = 1, bound(frames), bound(size), 0, 1.0
        with torch.cuda.device_of(keys):
            scores_back[(count, tiles)](
                unused, to_query, unused, unused, errors, *asked, count, rows, *sizes,
                SOFTMAX=False, TA=TILES.size, **_PLAIN,
            )  # fmt: skip
            keys_back[(batch, tiles, triton.cdiv(size, TILES.summed))](
                to_keys, unused, to_score, errors, *asked, bound(rows), 1, rows, *sizes, TA=TILES.summed, **_PLAIN
            )
        found = to_query.sum(dim=0), to_keys, to_score.sum(dim=(0, 1))
        return tuple(error.to(dtype) for error, dtype in zip(found, ctx.dtypes, strict=True))


_PLAIN: Any = {"LOCATED": False, "DOT": False, "TS": TILES.frames, "TC": channel_tile(0)}


def _lengths(keys: Tensor) -> Tensor:
    return torch.full((len(keys),), keys.shape[1], dtype=torch.int32, device=keys.device)
