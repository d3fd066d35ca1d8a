"""What turns a text into a model's targets and back: the pieces of a recogniser, or the classes of a classifier."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable


@runtime_checkable
class Targets(Protocol):
    """A `Tokenizer` or `Labels`; both travel with the weights, which mean nothing without them."""

    file: ClassVar[str]
    """Name of its file in a run's folder."""
    hash: str
    """SHA-256 (hex) of all that decides what an id means."""

    def normalise(self, text: str) -> str:
        """The form of a text that the model is trained to give."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each id stands for."""

    def unknown_rate(self, texts: Iterable[str]) -> float:
        """Share of the texts' ids that are unknown, from 0 to 1."""

    def save(self, path: Path) -> None:
        """Write one file."""

    def __len__(self) -> int:
        """Number of ids."""
