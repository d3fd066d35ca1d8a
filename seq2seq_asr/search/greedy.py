"""Greedy search: the most probable token at every step."""

import torch
from jaxtyping import Int
from torch import Tensor

from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.ranking import length_limit
from seq2seq_asr.search.scorer import AlignedState, Scorer
from seq2seq_asr.vocabulary import EOS, SOS

_CHECK_EVERY = 8


@torch.inference_mode()
def greedy_search(scorer: Scorer, lengths: Int[Tensor, " B"], *, max_length_ratio: float = 2.0) -> list[Hypothesis]:
    """Follow the most probable token (the lowest id among equals) until the end of the sentence.

    Args:
        scorer: One row per utterance.
        lengths: Encoded frames of each utterance.
        max_length_ratio: Tokens allowed per encoded frame; a transcript always may have one. What does not end by
            then is returned with ``ended=False``.

    Returns:
        A hypothesis per utterance, whose score is its log probability.
    """
    longest = length_limit(lengths, max_length_ratio).clamp(min=1)
    state, last = scorer.start(), torch.full_like(lengths, SOS)
    length, log_prob = torch.zeros_like(lengths), torch.zeros_like(lengths, dtype=torch.float64)
    open_, ended = torch.ones_like(lengths, dtype=torch.bool), torch.zeros_like(lengths, dtype=torch.bool)
    tokens, frames = [], []
    for step in range(int(longest.max()) + 1 if len(longest) else 0):
        log_probs, state = scorer.step(last, state)
        best, last = log_probs.max(1)
        ends = open_ & (last == EOS)
        goes_on = open_ & ~ends & (step < longest)
        log_prob = log_prob + torch.where(ends | goes_on, best.double(), 0.0)
        length, ended, open_ = length + goes_on, ended | ends, goes_on
        tokens.append(last)
        frames.append(state.peaks if isinstance(state, AlignedState) else None)
        if step % _CHECK_EVERY == _CHECK_EVERY - 1 and not open_.any():
            break
    return _hypotheses(tokens, frames, length, log_prob, ended)


def _hypotheses(
    tokens: list[Tensor], frames: list[Tensor | None], length: Tensor, log_prob: Tensor, ended: Tensor
) -> list[Hypothesis]:
    """Cut every utterance to its length, on the host."""
    if not tokens:
        return []
    rows = torch.stack(tokens, 1).tolist()
    aligned = [frame for frame in frames if frame is not None]
    peaks = torch.stack(aligned, 1).tolist() if aligned else [[] for _ in rows]
    return [
        Hypothesis(tuple(row[:n]), total, total, {"attention": total}, tuple(peak[:n]), end)
        for row, peak, n, total, end in zip(
            rows, peaks, length.tolist(), log_prob.tolist(), ended.tolist(), strict=True
        )
    ]
