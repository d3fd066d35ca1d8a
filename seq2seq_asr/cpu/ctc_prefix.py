"""CTC prefix scores of a search step in two loops over prefixes: what ``search.ctc_prefix`` computes in many calls.

States are those of ``search.ctc_prefix``: natural logarithms in double precision, minus infinity behind an utterance's
own frames. A prefix scores the same, to the bit, in every batch.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq_asr.cpu.ctc_loops import fill, grow, score


class Posteriors(NamedTuple):
    """What utterances hold."""

    by_token: Tensor  # (B V, S)
    lengths: Tensor  # (B)
    silent: Tensor  # Log posteriors of the blank (B, S)


class Scored(NamedTuple):
    """What `score` has filled, and what `grow` reads."""

    change: Tensor  # (N, M)
    candidates: np.ndarray  # (N, M)
    grown: np.ndarray  # (N, M)
    posteriors: tuple[np.ndarray, ...]  # See `Posteriors`
    before: tuple[np.ndarray, ...]  # See ``search.ctc_prefix.CtcPrefixState``


def probabilities(log_probs: Tensor, lengths: Tensor, lowest: float) -> Tensor:
    """Probabilities of every token in all frames (B V, S), 1 behind an utterance's last.

    Args:
        log_probs: Natural-log posteriors (B, S, V).
        lengths: Frames of each utterance (B).
        lowest: Log posteriors below this count as this.
    """
    utterances, frames, vocabulary = log_probs.shape
    by_token = torch.empty(utterances * vocabulary, frames, dtype=torch.float64)
    known = log_probs if log_probs.dtype in (torch.float32, torch.float64) else log_probs.double()
    fill(by_token.numpy(), known.detach().contiguous().numpy(), lengths.numpy(), lowest)
    return by_token


def score_candidates(
    posteriors: Posteriors, before: tuple[Tensor, ...], candidates: Tensor, specials: tuple[int, int, int]
) -> Scored:
    """Score every prefix followed by each of its candidates.

    Args:
        posteriors: Of the utterances.
        before: State of the prefixes.
        candidates: (N, M).
        specials: Blank, start and end.
    """
    asked, known, arrays = _array(candidates), _arrays(posteriors), _arrays(before)
    change, grown = np.empty(asked.shape), np.empty(asked.shape)
    score(change, grown, asked, *known, *arrays, specials)
    return Scored(torch.from_numpy(change), asked, grown, known, arrays)


def grow_chosen(scored: Scored, parents: Tensor) -> tuple[Tensor, ...]:
    """State of the prefixes of chosen candidates.

    Args:
        scored: The candidates.
        parents: Place of each chosen one among all (N).
    """
    rows = parents.shape[0]
    made = [np.empty((rows, *part.shape[1:]), part.dtype) for part in scored.before]
    grow(*made, _array(parents), scored.candidates, scored.grown, *scored.posteriors, *scored.before)
    return tuple(map(torch.from_numpy, made))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()


def _arrays(tensors: Iterable[Tensor]) -> tuple[np.ndarray, ...]:
    return tuple([tensor.numpy() for tensor in tensors])
