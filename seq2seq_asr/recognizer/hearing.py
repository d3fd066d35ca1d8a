"""Utterances heard at several speeds, by several models: encoded by each, for one search to average what all say.

As averaging classifiers over augmented copies of an image does, it costs a multiple of the time and takes some errors
off a model that was trained with speed perturbation; see ``BeamConfig.speeds``.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from seq2seq_asr.nn.model import Encoded

Hearings = tuple[Encoded, ...]
"""The same utterances as each model of an ensemble hears them at the first of `speeds_of`, which is their own, then as
each hears them at the next; the first model's hearing comes first."""


def speeds_of(count: int) -> tuple[float, ...]:
    """So many speeds, 5 % apart, from 1 outwards: 1, then 0.95 and 1.05, then 0.9 and 1.1."""
    around = [round(1 + 0.05 * side * step, 2) for step in range(1, count // 2 + 1) for side in (-1, 1)]
    return (1.0, *around)


def marks_of(count: int, models: int) -> tuple[str, ...]:
    """What tells scorers of `Hearings` at so many speeds apart; nothing for the first model at an utterance's own."""
    speeds = ["" if speed == 1 else f"@{speed}" for speed in speeds_of(count)]
    return tuple(f"@model{place}{mark}" if place > 1 else mark for mark in speeds for place in range(1, models + 1))


def some_of(hearings: Hearings, rows: Sequence[int]) -> Hearings:
    """Some utterances of a batch, without the padding that only the others need."""
    return tuple(_some_of(encoded, rows) for encoded in hearings)


def rounded_up(hearings: Hearings) -> Hearings:
    """The batch with utterances of one frame after its own, and padding, up to multiples of 8 and 32 frames.

    Then few shapes occur.
    """
    more = -len(hearings[0].lengths) % 8
    return tuple(
        Encoded(pad(states, (0, 0, 0, -states.shape[1] % 32, 0, more)), pad(lengths, (0, more), value=1))
        for states, lengths in hearings
    )


def stretched_frames(
    frames: Float[Tensor, "B S V"], lengths: Int[Tensor, " B"], own: Encoded
) -> tuple[Float[Tensor, "B S2 V"], Int[Tensor, " B"]]:
    """Frames repeated, evenly over an utterance, where it has fewer than at its own speed.

    CTC needs a frame for each token. At a faster speed an utterance has fewer frames, so that CTC would rule out
    transcripts that it allows at the utterance's own.

    Args:
        frames: Of a batch.
        lengths: Frames of each utterance.
        own: The batch at its own speed.

    Returns:
        The frames, and how many each utterance has now.
    """
    longer = torch.maximum(lengths, own.lengths)
    places = torch.arange(max(frames.shape[1], own.states.shape[1]), device=frames.device)
    sources = (places * lengths[:, None] // longer[:, None]).clamp(max=frames.shape[1] - 1)
    return frames.gather(1, sources[:, :, None].expand(-1, -1, frames.shape[2])), longer


def _some_of(encoded: Encoded, rows: Sequence[int]) -> Encoded:
    lengths = encoded.lengths[list(rows)]
    return Encoded(encoded.states[list(rows), : int(lengths.max())], lengths)
