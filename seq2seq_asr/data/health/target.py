"""What a corpus is to be fit for: a tokenizer and the time scale of an encoder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from seq2seq_asr.data.health.signal import Signal
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.vocabulary import UNK


class Spelling(NamedTuple):
    """A text as the tokenizer writes it."""

    text: str
    """Normalised."""
    tokens: int
    """Pieces."""
    frames: int
    """Encoded frames that CTC needs: one a token and one between equal neighbours."""
    unknown: int
    """Pieces that are unknown."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The recogniser that the corpus is examined for."""

    tokenizer: Tokenizer
    """Cuts the texts."""
    rate: int
    """Samples a second that its model reads."""
    feature_frames: Callable[[int], int]
    """Feature frames of so many samples at `rate`."""
    reduction: int
    """Feature frames an encoded frame."""

    def spell(self, text: str) -> Spelling:
        """Normalise and encode a text."""
        ids = self.tokenizer.encode(text)
        between = sum(one == other for one, other in zip(ids, ids[1:], strict=False))
        return Spelling(self.tokenizer.normalise(text), len(ids), len(ids) + between, ids.count(UNK))

    def unknown_characters(self, text: str) -> str:
        """The characters of a text that the tokenizer does not know, each once."""
        characters = sorted(set(self.tokenizer.normalise(text)) - {" "})
        return "".join(one for one in characters if UNK in self.tokenizer.encode(one))

    def encoded_frames(self, signal: Signal, features: bool) -> int:
        """Encoded frames that a recording, or an array of ``features``, becomes."""
        frames = signal.length if features else self.feature_frames(-(-signal.length * self.rate // signal.rate))
        return -(-frames // self.reduction)
