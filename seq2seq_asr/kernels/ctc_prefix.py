"""CTC prefix scores of a search step in two launches: what ``search.ctc_prefix`` computes in some seventy calls.

Everything is in natural logarithms and double precision, as there, and holds what it holds there.
"""

from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from seq2seq_asr.kernels.tiles import bound

_NEVER = tl.constexpr(float("-inf"))


@triton.jit
@no_type_check
def add_logs(one, other):
    """Logarithm of the sum of two numbers whose logarithms are given."""
    top = tl.maximum(one, other)
    base = tl.where(top == _NEVER, 0.0, top)
    return log(tl.exp(one - base) + tl.exp(other - base)) + base


@triton.jit
@no_type_check
def log(x):
    """Natural logarithm; minus infinity of zero."""
    return tl.where(x > 0, tl.log(tl.where(x > 0, x, 1.0)), _NEVER)


@triton.jit
@no_type_check
def score(
    change, grown, onsets, posteriors, nonblank, blank, prefix, last, utterance, candidates, lengths,
    count, frames, vocabulary, BLANK: tl.constexpr, SOS: tl.constexpr, EOS: tl.constexpr,
    TM: tl.constexpr, TS: tl.constexpr,
):  # fmt: skip
    """Score every prefix followed by each of its candidates; a program takes one prefix.

    Args:
        change: To be filled (N, M): what candidates add to the prefix's log probability.
        grown: To be filled (N, M): log probability of the longer prefix.
        onsets: To be filled (N, S, 2): that all is complete just before a frame, in any way and with a blank last.
        posteriors: Probabilities of tokens in all frames (B V, S).
        nonblank: Forward variables of the prefixes (N, S + 1).
        blank: The same (N, S + 1).
        prefix: Log probability of each (N).
        last: Its last token (N).
        utterance: Its utterance (N).
        candidates: (N, M).
        lengths: Frames of each utterance (B).
        count: M.
        frames: S.
        vocabulary: V.
        BLANK: Never emitted.
        SOS: Never emitted.
        EOS: Asks for the end of the transcript.
        TM: At least M.
        TS: Frames at a time.
    """
    row = tl.program_id(0)
    own, asked, told = tl.load(utterance + row), tl.load(last + row), tl.load(prefix + row)
    length, column = tl.load(lengths + own), tl.arange(0, TM)
    wanted = column < count
    token = tl.load(candidates + row * count + column, wanted, BLANK)
    nonblank += row * (frames + 1)
    blank += row * (frames + 1)
    most, most_blank = tl.full((TS,), _NEVER, tl.float64), tl.full((TS,), _NEVER, tl.float64)
    for start in range(0, frames, TS):
        frame = start + tl.arange(0, TS)
        with_blank = tl.load(blank + frame, frame < tl.minimum(length, frames), _NEVER)
        either = add_logs(tl.load(nonblank + frame, frame < tl.minimum(length, frames), _NEVER), with_blank)
        target = onsets + (row * frames + frame) * 2
        tl.store(target, either, frame < frames)
        tl.store(target + 1, with_blank, frame < frames)
        most, most_blank = tl.maximum(most, either), tl.maximum(most_blank, with_blank)
    top, top_blank = tl.max(most, 0), tl.max(most_blank, 0)
    top, top_blank = tl.where(top == _NEVER, 0.0, top), tl.where(top_blank == _NEVER, 0.0, top_blank)
    total, total_blank = tl.zeros((TM,), tl.float64), tl.zeros((TM,), tl.float64)
    for start in range(0, frames, TS):
        frame = start + tl.arange(0, TS)
        with_blank = tl.load(blank + frame, frame < tl.minimum(length, frames), _NEVER)
        either = add_logs(tl.load(nonblank + frame, frame < tl.minimum(length, frames), _NEVER), with_blank)
        place = (own * vocabulary + token)[:, None] * frames + frame[None, :]
        emitted = tl.load(posteriors + place, wanted[:, None] & (frame < frames)[None, :], 0.0)
        total += tl.sum(emitted * tl.exp(either - top)[None, :], 1)
        total_blank += tl.sum(emitted * tl.exp(with_blank - top_blank)[None, :], 1)
    found = tl.where(token == asked, log(total_blank) + top_blank, log(total) + top)
    found = tl.where(token == EOS, add_logs(tl.load(nonblank + length), tl.load(blank + length)), found)
    found = tl.where((token == BLANK) | (token == SOS), _NEVER, found)
    found = tl.minimum(found, told)  # rounding must not let a longer prefix be more probable
    tl.store(grown + row * count + column, found, wanted)
    never = found == _NEVER
    tl.store(change + row * count + column, tl.where(never, _NEVER, found - tl.where(never, 0.0, told)), wanted)


@triton.jit
@no_type_check
def grow(
    nonblank, blank, prefix, last, utterance, parents, candidates, grown, onsets, posteriors, tokens_before,
    utterances_before, with_blank, without_blank, count, frames, vocabulary, TS: tl.constexpr,
):  # fmt: skip
    """Forward variables of chosen candidates; a program takes one.

    Args:
        nonblank: To be filled (N, S + 1).
        blank: To be filled (N, S + 1).
        prefix: To be filled (N).
        last: To be filled (N).
        utterance: To be filled (N).
        parents: Place of each among all candidates, ``prefix * M + column`` (N).
        candidates: As in `score`.
        grown: What `score` has filled.
        onsets: What `score` has filled.
        posteriors: As in `score`.
        tokens_before: Last tokens of the prefixes.
        utterances_before: Their utterances.
        with_blank: Log probability of nothing but blanks up to each frame (B, S).
        without_blank: The same without it (B, S).
        count: M.
        frames: S.
        vocabulary: V.
        TS: At least S.
    """
    row = tl.program_id(0)
    parent = tl.load(parents + row)
    before = parent // count
    token, own = tl.load(candidates + parent), tl.load(utterances_before + before)
    frame = tl.arange(0, TS)
    inside = frame < frames
    repeats = (token == tl.load(tokens_before + before)).to(tl.int32)
    entering = tl.load(onsets + (before * frames + frame) * 2 + repeats, inside, _NEVER)
    emission = log(tl.load(posteriors + (own * vocabulary + token) * frames + frame, inside, 1.0))
    survival = tl.cumsum(emission, 0)
    found = tl.associative_scan(entering - (survival - emission), 0, add_logs) + survival
    nonblank += row * (frames + 1)
    blank += row * (frames + 1)
    tl.store(nonblank, _NEVER)
    tl.store(nonblank + 1 + frame, found, inside)
    tl.debug_barrier()  # what is stored is read one frame further on
    entering = tl.load(nonblank + frame, inside, _NEVER)
    entering -= tl.load(without_blank + own * frames + frame, inside, 0.0)
    found = tl.associative_scan(entering, 0, add_logs)
    found += tl.load(with_blank + own * frames + frame, inside, 0.0)
    tl.store(blank, _NEVER)
    tl.store(blank + 1 + frame, found, inside)
    tl.store(prefix + row, tl.load(grown + parent))
    tl.store(last + row, token)
    tl.store(utterance + row, own)


class Prefixes(NamedTuple):
    """Forward variables of hypotheses; see ``search.ctc_prefix.CtcPrefixState``."""

    nonblank: Tensor  # (N, S + 1)
    blank: Tensor  # (N, S + 1)
    prefix: Tensor  # (N)
    last: Tensor  # (N)
    utterance: Tensor  # (N)


class Posteriors(NamedTuple):
    """What utterances hold."""

    by_token: Tensor  # (B V, S)
    with_blank: Tensor  # (B, S)
    without_blank: Tensor  # (B, S)
    lengths: Tensor  # (B)


class Scored(NamedTuple):
    """What `score` has filled, and from what."""

    change: Tensor  # (N, M)
    grown: Tensor  # (N, M)
    onsets: Tensor  # (N, S, 2)
    posteriors: Posteriors
    before: Prefixes
    candidates: Tensor  # (N, M)


def score_candidates(
    posteriors: Posteriors, state: tuple[Tensor, ...], candidates: Tensor, specials: tuple[int, int, int]
) -> Scored:
    """Score every prefix followed by each of its candidates.

    Args:
        posteriors: Of the utterances.
        state: See `Prefixes`.
        candidates: (N, M).
        specials: Blank, start and end.
    """
    before = Prefixes(*state)
    (rows, count), frames, candidates = candidates.shape, posteriors.by_token.shape[1], candidates.contiguous()
    change, grown, onsets = (before.prefix.new_empty(rows, *shape) for shape in ((count,), (count,), (frames, 2)))
    blank, start, end = specials
    with torch.cuda.device_of(candidates):
        score[(rows,)](
            change, grown, onsets, posteriors.by_token, *before, candidates, posteriors.lengths,
            count, bound(frames), len(posteriors.by_token) // len(posteriors.lengths), BLANK=blank, SOS=start, EOS=end,
            TM=triton.next_power_of_2(count), TS=min(64, triton.next_power_of_2(frames)), num_warps=4,
        )  # fmt: skip
    return Scored(change, grown, onsets, posteriors, before, candidates)


def grow_chosen(scored: Scored, parents: Tensor) -> Prefixes:
    """The prefixes of chosen candidates.

    Args:
        scored: The candidates.
        parents: Place of each chosen one among all (N).
    """
    (_, _, _, posteriors, before, candidates), rows = scored, len(parents)
    frames = posteriors.by_token.shape[1]
    made = Prefixes(*(part.new_empty(rows, *part.shape[1:]) for part in before))
    with torch.cuda.device_of(parents):
        grow[(rows,)](
            *made, parents, candidates, scored.grown, scored.onsets, posteriors.by_token, before.last,
            before.utterance, posteriors.with_blank, posteriors.without_blank,
            candidates.shape[1], frames, len(posteriors.by_token) // len(posteriors.lengths),
            TS=triton.next_power_of_2(frames), num_warps=4,
        )  # fmt: skip
    return made
