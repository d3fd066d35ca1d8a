"""The decoder's loop backward: three kernels a step, then the sums over all steps."""

import triton

from seq2seq_asr.kernels.attention_back import keys_back, scores_back
from seq2seq_asr.kernels.buffers import Errors, Given, Kept, Sizes, Sums
from seq2seq_asr.kernels.decoder_forward import compared, comparison
from seq2seq_asr.kernels.mixing_back import recur_back
from seq2seq_asr.kernels.products import filters_back, linear_back
from seq2seq_asr.kernels.tiles import bound, channel_tile


def run_backward(sizes: Sizes, given: Given, kept: Kept, errors: Errors, sums: Sums) -> None:
    """Back through all steps, then what they share.

    Args:
        sizes: Of all tensors.
        given: See `Given`.
        kept: As the forward loop left it.
        errors: The outer gradients in their places; the rest is filled.
        sums: To be filled.
    """
    errors.carried[sizes.steps].zero_()
    errors.from_state[sizes.steps].zero_()
    for step in reversed(range(sizes.steps)):
        if step < sizes.steps - 1:
            _recur_back(sizes, given, kept, errors, step + 1)
        _scores_back(sizes, given, kept, errors, step)
        _linear_back(sizes, given, errors, step)
    _recur_back(sizes, given, kept, errors, 0)
    errors.from_state[0, :, : sizes.asked].zero_()
    _sums(sizes, given, kept, errors, sums)


def _recur_back(sizes: Sizes, given: Given, kept: Kept, errors: Errors, step: int) -> None:
    before = max(step - 1, 0)  # of the first step nothing is read or written there
    recur_back[(sizes.batch * sizes.heads, sizes.tiles) if step else (sizes.batch, 1)](
        errors.alignment[before],
        errors.gates[step],
        errors.from_state[step],
        errors.carried[step],
        errors.hidden[step],
        errors.shares,
        errors.carried[step + 1],
        kept.activations[step],
        kept.hidden[step],
        kept.from_state[step],
        given.frames_gates,
        errors.located[step],
        given.filters,
        given.lengths,
        sizes.batch,
        sizes.heads if step else 1,
        sizes.frames,
        bound(sizes.units),
        sizes.asked,
        bound(sizes.channels),
        bound(sizes.width),
        MIXED=step > 0,
        LOCATED=sizes.channels > 0,
        SPLITS=sizes.cut.splits,
        TS=sizes.cut.frames,
        TD=sizes.cut.units,
        TW=sizes.cut.taps,
        num_warps=sizes.cut.warps,
    )


def _scores_back(sizes: Sizes, given: Given, kept: Kept, errors: Errors, step: int) -> None:
    scores_back[(sizes.batch * sizes.heads, sizes.tiles)](
        errors.energies[step],
        errors.query,
        errors.located[step],
        kept.alignment[step + 1],
        errors.alignment[step],
        given.keys,
        kept.from_state[step + 1],
        kept.located[step],
        given.location,
        given.score,
        given.lengths,
        sizes.asked + 3 * sizes.units,
        sizes.batch,
        1,
        *compared(sizes),
        SOFTMAX=True,
        **comparison(sizes),
        TA=sizes.cut.size,
        num_warps=sizes.cut.warps,
    )


def _linear_back(sizes: Sizes, given: Given, errors: Errors, step: int) -> None:
    grid = triton.cdiv(sizes.units, sizes.cut.outputs), sizes.cut.splits, triton.cdiv(sizes.batch, sizes.cut.batch)
    linear_back[grid](
        errors.shares,
        errors.from_state[step + 1],
        errors.query,
        given.state,
        sizes.batch,
        bound(sizes.tiles),
        bound(sizes.asked),
        bound(3 * sizes.units),
        sizes.units,
        SPLITS=sizes.cut.splits,
        TB=sizes.cut.batch,
        TD=sizes.cut.outputs,
        TK=sizes.cut.inner,
        num_warps=sizes.cut.warps,
    )


def _sums(sizes: Sizes, given: Given, kept: Kept, errors: Errors, sums: Sums) -> None:
    """All steps at once."""
    keys_back[(sizes.batch * sizes.heads, sizes.tiles, triton.cdiv(sizes.size, sizes.cut.summed))](
        sums.keys,
        sums.location,
        sums.score,
        errors.energies,
        given.keys,
        kept.from_state[1:],
        kept.located,
        given.location,
        given.score,
        given.lengths,
        sizes.asked + 3 * sizes.units,
        bound(sizes.steps),
        sizes.batch,
        1,
        *compared(sizes),
        **comparison(sizes),
        TA=sizes.cut.summed,
        num_warps=sizes.cut.warps,
    )
    if sizes.channels:
        filters_back[(sizes.batch * sizes.heads, triton.cdiv(sizes.width, sizes.cut.taps))](
            sums.filters,
            errors.located,
            kept.alignment,
            given.lengths,
            bound(sizes.steps),
            sizes.batch,
            sizes.heads,
            bound(sizes.frames),
            sizes.channels,
            sizes.width,
            TS=sizes.cut.frames,
            TC=channel_tile(sizes.channels),
            TW=sizes.cut.taps,
            num_warps=sizes.cut.warps,
        )
