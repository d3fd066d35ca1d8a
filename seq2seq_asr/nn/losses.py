"""Training losses, one number an utterance, so that nothing depends on batch mates."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.nn.masks import valid_mask
from seq2seq_asr.nn.precision import at_least_single
from seq2seq_asr.vocabulary import BLANK, EOS, SOS


def shift_targets(
    tokens: Int[Tensor, "B U"], lengths: Int[Tensor, " B"]
) -> tuple[Int[Tensor, "B U1"], Int[Tensor, "B U1"]]:
    """What the decoder reads and what it should say: ``<s> a b`` and ``a b </s>``. The only shift in the package."""
    inputs = F.pad(tokens, (1, 0), value=SOS)
    outputs = F.pad(tokens, (0, 1), value=BLANK).scatter(1, lengths.unsqueeze(1), EOS)
    return inputs, outputs


def cross_entropy(
    logits: Float[Tensor, "B U V"], targets: Int[Tensor, "B U"], lengths: Int[Tensor, " B"], smoothing: float
) -> Float[Tensor, " B"]:
    """Label-smoothed cross entropy (Szegedy et al. 2016, section 7), summed over each utterance's tokens, in nats."""
    losses = F.cross_entropy(
        at_least_single(logits).transpose(1, 2), targets, reduction="none", label_smoothing=smoothing
    )
    return (losses * valid_mask(lengths, targets.shape[1])).sum(dim=1)


def ctc_loss(
    log_probs: Float[Tensor, "B S V"],
    lengths: Int[Tensor, " B"],
    tokens: Int[Tensor, "B U"],
    token_lengths: Int[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """CTC negative log-likelihood of each utterance in nats (Graves et al. 2006); 0 where no path exists."""
    return F.ctc_loss(
        log_probs.transpose(0, 1), tokens, lengths, token_lengths, blank=BLANK, reduction="none", zero_infinity=True
    )


def guided_attention(
    alignments: Float[Tensor, "B U S"], steps: Int[Tensor, " B"], frames: Int[Tensor, " B"], width: float
) -> Float[Tensor, " B"]:
    """Attention weight far from the diagonal, summed over each utterance's steps (Tachibana et al. 2018, section 4.1).

    Args:
        alignments: Attention weights; a step's sum to 1.
        steps: Target steps of each utterance, the end included.
        frames: Encoded frames of each utterance.
        width: Distance from the diagonal, as a share of the utterance, at which weight costs 1 - 1/sqrt(e).
    """
    place = torch.arange(max(alignments.shape[1:]), device=alignments.device).to(alignments.dtype)
    said = place[: alignments.shape[1], None] / steps[:, None, None]
    heard = place[: alignments.shape[2]] / frames[:, None, None]
    cost = 1 - torch.exp(-((said - heard) ** 2) / (2 * width**2))  # (B, U, S)
    return ((cost * alignments).sum(dim=2) * valid_mask(steps, alignments.shape[1])).sum(dim=1)


def expected_errors(
    log_probs: Float[Tensor, "B N"], errors: Float[Tensor, "B N"], found: Bool[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Errors expected over each n-best list, above their mean (Prabhavalkar et al. 2018, with n-best lists).

    The mean, which has no gradient, is taken off so that the gradient varies less.

    Args:
        log_probs: Natural-log probability of each transcript; in the expectation, those of a list sum to one.
        errors: Errors of each.
        found: False where a list has fewer than N; with none, the loss is 0.
    """
    lowest = torch.finfo(log_probs.dtype).min  # not -inf, which would give a list without any NaN as its gradient
    shares = log_probs.masked_fill(~found, lowest).softmax(1)
    mean = (errors * found).sum(1, keepdim=True) / found.sum(1, keepdim=True).clamp(min=1)
    return (shares * (errors - mean) * found).sum(1)


def accuracy(
    logits: Float[Tensor, "B U V"], targets: Int[Tensor, "B U"], lengths: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Tokens of each utterance predicted right under teacher forcing."""
    right = (logits.argmax(dim=-1) == targets) & valid_mask(lengths, targets.shape[1])
    return right.sum(dim=1).to(torch.float32)
