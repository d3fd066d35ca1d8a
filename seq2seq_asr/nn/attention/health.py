"""Whether an attention has found its way through the audio: measures of teacher-forced or free-running alignments.

Speech and its transcript run in the same order, so a trained recogniser attends to one place after the other. All
measures are of one utterance, whatever its batch and padding, and of weights that are made to sum to one at every step.
Of several heads they see the mean alignment.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.nn.masks import valid_mask

BAND = 0.2
"""Half the width of the diagonal band, as a share of the utterance: the g of guided attention (Tachibana 2018)."""
COVERED = 0.05
"""Weight, summed over all tokens, above which a frame has been attended to."""


class Health(NamedTuple):
    """Measures of each utterance's alignment, all but the entropy from 0 to 1."""

    monotonicity: Float[Tensor, " B"]
    """Share of steps, from the second on, whose largest weight does not lie before that of the step before."""
    coverage: Float[Tensor, " B"]
    """Share of encoded frames that got a summed weight above 0.05."""
    entropy: Float[Tensor, " B"]
    """Mean entropy of a step's weights in nats."""
    entropy_share: Float[Tensor, " B"]
    """The same divided by its largest possible value, the logarithm of the number of frames: 1 is uniform."""
    diagonal: Float[Tensor, " B"]
    """Mean weight within a band around the diagonal (the diagonal attention rate of Chen et al. 2020, MultiSpeech)."""
    diagonal_uniform: Float[Tensor, " B"]
    """The diagonal mass that equal weights on all frames would have."""
    focus: Float[Tensor, " B"]
    """Mean largest weight of a step (the focus rate of Ren et al. 2019, FastSpeech, section 3.2)."""


def attention_health(
    alignments: Float[Tensor, "B U S"], tokens: Int[Tensor, " B"], frames: Int[Tensor, " B"]
) -> Health:
    """Measure every utterance.

    Args:
        alignments: Weights of each step over the encoded frames; steps and frames of the padding may hold anything.
        tokens: Steps of each utterance, its end token included; at least 1.
        frames: Encoded frames of each utterance; at least 1.
    """
    step, frame = valid_mask(tokens, alignments.shape[1]), valid_mask(frames, alignments.shape[2])
    weights = _normalised(alignments.detach().double(), step, frame)
    band = diagonal_band(tokens, frames, alignments.shape[1], alignments.shape[2]) & step[:, :, None] & frame[:, None]
    peaks = weights.argmax(dim=2)
    onward = (peaks.diff(dim=1) >= 0) & step[:, 1:]
    entropy = -torch.special.xlogy(weights, weights).sum(dim=(1, 2)) / tokens
    return Health(
        monotonicity=torch.where(tokens > 1, onward.sum(dim=1) / (tokens - 1).clamp(min=1), 1.0),
        coverage=(weights.sum(dim=1) > COVERED).sum(dim=1) / frames,
        entropy=entropy,
        entropy_share=entropy / frames.clamp(min=2).log(),
        diagonal=(weights * band).sum(dim=(1, 2)) / tokens,
        diagonal_uniform=band.sum(dim=(1, 2)) / (tokens * frames),
        focus=weights.amax(dim=2).sum(dim=1) / tokens,
    )


def diagonal_band(
    tokens: Int[Tensor, " B"], frames: Int[Tensor, " B"], steps: int, width: int
) -> Bool[Tensor, "B steps width"]:
    """Where the middle of a token's share of the steps and the middle of a frame's share of the time lie close."""
    across = (torch.arange(steps, device=tokens.device) + 0.5) / tokens[:, None]
    along = (torch.arange(width, device=frames.device) + 0.5) / frames[:, None]
    return (across[:, :, None] - along[:, None]).abs() <= BAND


def _normalised(
    alignments: Float[Tensor, "B U S"], step: Bool[Tensor, "B U"], frame: Bool[Tensor, "B S"]
) -> Float[Tensor, "B U S"]:
    """Weights that sum to one over the frames of each step, zero on padding; a step without any weight is uniform."""
    inside = step[:, :, None] & frame[:, None]
    weights = torch.where(inside, alignments, 0.0)
    sums = weights.sum(dim=2, keepdim=True)
    return torch.where(sums > 0, weights / sums.clamp(min=1e-300), inside / frame.sum(dim=1)[:, None, None])
