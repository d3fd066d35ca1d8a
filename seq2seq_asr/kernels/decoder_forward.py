"""The teacher-forced decoder as a loop of launches over buffers that stay where they are.

A step is three kernels (`mixing.recur`, `products.linear`, `attention.scores`), a step back (`decoder_backward`) three
as well; nothing is allocated, so that either loop can be recorded once as a CUDA graph. Mirrors ``nn.unroll``.
"""

from typing import Any

import torch
import triton

from seq2seq_asr.kernels.attention import scores
from seq2seq_asr.kernels.buffers import Given, Kept, Sizes
from seq2seq_asr.kernels.mixing import recur
from seq2seq_asr.kernels.products import linear
from seq2seq_asr.kernels.tiles import bound, channel_tile


def run_forward(sizes: Sizes, given: Given, kept: Kept) -> None:
    """Fill everything kept; ``kept.alignment[0]`` holds the start.

    Args:
        sizes: Of all tensors.
        given: See `Given`.
        kept: To be filled.
    """
    kept.hidden[0].zero_()
    kept.from_state[0].copy_(given.state_bias.expand_as(kept.from_state[0]))
    for step in range(sizes.steps):
        _recur(sizes, given, kept, step)
        _linear(sizes, given, kept, step)
        _scores(sizes, given, kept, step)
    torch.softmax(kept.energies, dim=-1, out=kept.alignment[sizes.steps])


def _recur(sizes: Sizes, given: Given, kept: Kept, step: int) -> None:
    recur[(sizes.batch, triton.cdiv(sizes.units, sizes.cut.units))](
        kept.hidden[step + 1],
        kept.activations[step],
        kept.alignment[step],
        kept.energies,
        given.frames_gates,
        given.gates[step],
        kept.from_state[step],
        kept.hidden[step],
        given.lengths,
        bound(sizes.heads),
        bound(sizes.frames),
        sizes.units,
        sizes.asked,
        FIRST=step == 0,
        TS=sizes.cut.mixed,
        TD=sizes.cut.units,
        num_warps=sizes.cut.warps,
    )


def _linear(sizes: Sizes, given: Given, kept: Kept, step: int) -> None:
    outputs = sizes.asked + 3 * sizes.units
    linear[(triton.cdiv(outputs, sizes.cut.outputs), triton.cdiv(sizes.batch, sizes.cut.batch))](
        kept.from_state[step + 1],
        kept.hidden[step + 1],
        given.state,
        given.state_bias,
        sizes.batch,
        outputs,
        bound(sizes.units),
        TB=sizes.cut.batch,
        TN=sizes.cut.outputs,
        TK=sizes.cut.inner,
        num_warps=sizes.cut.warps,
    )


def _scores(sizes: Sizes, given: Given, kept: Kept, step: int) -> None:
    scores[(sizes.batch * sizes.heads, sizes.tiles)](
        kept.energies,
        kept.located[step],
        given.keys,
        kept.from_state[step + 1],
        kept.alignment[step],
        given.filters,
        given.location,
        given.score,
        given.lengths,
        sizes.asked + 3 * sizes.units,
        1,
        *compared(sizes)[:-1],
        bound(sizes.width),
        sizes.scale,
        TW=sizes.cut.taps,
        **comparison(sizes),
        TA=sizes.cut.size,
        num_warps=sizes.cut.warps,
    )


def compared(sizes: Sizes) -> tuple[Any, ...]:
    """The sizes that all kernels of `attention` take, in their order."""
    return sizes.heads, bound(sizes.frames), bound(sizes.size), sizes.channels, sizes.scale


def comparison(sizes: Sizes) -> dict[str, Any]:
    """The compile-time choices that they take."""
    return {
        "LOCATED": sizes.channels > 0,
        "DOT": sizes.dot,
        "TS": sizes.cut.frames,
        "TC": channel_tile(sizes.channels),
    }
