"""When each token, and so each word, was said."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq_asr.vocabulary import BLANK

Aligner = Literal["attention", "ctc"]
_SPACE = "\u2581"


class Span(NamedTuple):
    """Encoded frames, from ``start`` up to and without ``end``."""

    start: int
    end: int


def attention_spans(frames: Sequence[int]) -> list[Span]:
    """A frame for each token, where the attention peaked; a peak behind an earlier one is moved up to it."""
    spans, reached = [], 0
    for frame in frames:
        reached = max(reached, frame)
        spans.append(Span(reached, reached + 1))
    return spans


def ctc_spans(log_probs: Float[Tensor, "S V"], tokens: Sequence[int]) -> list[Span] | None:
    """The frames of each token on the most probable CTC path that says exactly these tokens (forced alignment).

    Viterbi over the states of Graves et al. 2006, computed by torchaudio (Pratap et al. 2023).

    Args:
        log_probs: CTC log posteriors of one utterance, without padding.
        tokens: What it says; blank not among them.

    Returns:
        A span a token, or None where the utterance has too few frames for them.
    """
    from torchaudio.functional import forced_align, merge_tokens  # seconds to import, and only wanted here

    repeats = sum(one == other for one, other in zip(tokens, tokens[1:], strict=False))
    if not tokens:
        return []
    if len(tokens) + repeats > len(log_probs):
        return None
    # The CPU knows the same path, and this is one utterance at a time.
    path, scores = forced_align(log_probs[None].float().cpu(), torch.tensor([list(tokens)]), blank=BLANK)
    return [Span(one.start, one.end) for one in merge_tokens(path[0], scores[0], blank=BLANK)]


def word_places(pieces: Sequence[str]) -> list[range]:
    """Places of the pieces of each word: a piece that begins with U+2581 begins one."""
    starts = [place for place, piece in enumerate(pieces) if piece.startswith(_SPACE)]
    bounds = sorted({*([0] if pieces else []), *starts, len(pieces)})
    return [range(start, end) for start, end in zip(bounds, bounds[1:], strict=False)]


def word_spans(spans: Sequence[Span], words: Sequence[range]) -> list[Span]:
    """From the first piece's start to the last one's end, but no farther than the next word's start."""
    starts = [spans[word[0]].start for word in words]
    following = [*starts[1:], None][: len(starts)]
    found = []
    for start, word, after in zip(starts, words, following, strict=True):
        end = spans[word[-1]].end
        # Words at the same frame share it: none is to last no time at all.
        found.append(Span(start, end if after is None else max(start + 1, min(end, after))))
    return found
