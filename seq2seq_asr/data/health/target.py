"""What a corpus is to be fit for: a tokenizer or classes, what the model reads, and the time scale of its encoder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from seq2seq_asr.data.health.signal import Signal
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.vocabulary import UNK


class Spelling(NamedTuple):
    """A text as the tokenizer writes it; of a classifier, one token."""

    text: str
    """Normalised."""
    tokens: int
    """Pieces."""
    frames: int
    """Encoded frames that CTC needs: one a token and one between equal neighbours; a classifier has no CTC."""
    unknown: int
    """Pieces, or classes, that are unknown."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The recogniser or classifier that the corpus is examined for."""

    targets: Tokenizer | Labels
    """Cuts the texts, or has them as classes."""
    rate: int
    """Samples a second that its model reads."""
    feature_frames: Callable[[int], int]
    """Feature frames of so many samples at `rate`."""
    reduction: int
    """Feature frames an encoded frame."""
    bins: int | None = None
    """Values a frame of the precomputed features that its model reads; none reads audio."""

    @property
    def classifies(self) -> bool:
        """Whether a text is a class, not a sentence."""
        return isinstance(self.targets, Labels)

    @property
    def reads(self) -> str:
        """What its model reads: audio, or so many bins."""
        return "audio" if self.bins is None else f"{self.bins} bins"

    def spell(self, text: str) -> Spelling:
        """Normalise and encode a text."""
        if isinstance(self.targets, Labels):
            return Spelling(self.targets.normalise(text), 1, 0, int(bool(text) and text not in self.targets))
        ids = self.targets.encode(text)
        between = sum(one == other for one, other in zip(ids, ids[1:], strict=False))
        return Spelling(self.targets.normalise(text), len(ids), len(ids) + between, ids.count(UNK))

    def unknown_characters(self, text: str) -> str:
        """The characters of a text that the tokenizer does not know, each once."""
        characters = sorted(set(self.targets.normalise(text)) - {" "})
        return "".join(one for one in characters if UNK in self.targets.encode(one))

    def encoded_frames(self, signal: Signal, features: bool) -> int:
        """Encoded frames that a recording, or an array of ``features``, becomes."""
        frames = signal.length if features else self.feature_frames(-(-signal.length * self.rate // signal.rate))
        return -(-frames // self.reduction)
