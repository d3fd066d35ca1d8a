"""The classes of a classifier: the distinct texts of its training utterances."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import ManifestError, TokenizerError
from seq2seq_asr.whole_file import write_whole

MOST_BYTES: Final = 2**24


class Labels:
    """Numbers the classes in the order of their code points, from 0.

    Attributes:
        names: The classes.
        hash: SHA-256 (hex) of the names in their order.
    """

    file: ClassVar[str] = "labels.json"

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names of the classes.

        Raises:
            TokenizerError: Fewer than two classes, or a name that is empty, not normalised or there twice.
        """
        self.names = tuple(names)
        self._ids = {name: id for id, name in enumerate(self.names)}
        if len(self.names) < 2:
            raise TokenizerError("a classifier needs at least two classes")
        if len(self._ids) < len(self.names) or not all(name and name == self.normalise(name) for name in self.names):
            raise TokenizerError("not the names of classes: each must be there once and not be empty")
        self.hash = hashlib.sha256(_content(self.names)).hexdigest()

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Labels":
        """The classes that occur in the texts.

        Raises:
            TokenizerError: There are fewer than two.
        """
        names = sorted({name for name in map(cls.normalise, texts) if name})
        if len(names) < 2:
            found = f"all are {names[0]!r:.60}" if names else "there is none"
            raise TokenizerError(f"a classifier needs at least two classes; of the training texts, {found}")
        return cls(names)

    @classmethod
    def load(cls, path: Path) -> "Labels":
        """Read a file that `save` wrote.

        Raises:
            TokenizerError: The file is missing, damaged or not ours.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
            names = json.loads(content) if len(content) <= MOST_BYTES else None
        except OSError as error:
            raise TokenizerError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise TokenizerError(f"{path}: damaged, no JSON ({str(error)[:200]})") from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TokenizerError(f"{path}: not a list of the names of classes")
        try:
            return cls(names)
        except TokenizerError as error:
            raise TokenizerError(f"{path}: {error}") from error

    def save(self, path: Path) -> None:
        """Write a JSON list, whole or not at all.

        Raises:
            TokenizerError: The file cannot be written.
        """
        write_whole(path, _content(self.names), TokenizerError)

    @staticmethod
    def normalise(text: str) -> str:
        """The text with single spaces between its words."""
        return " ".join(text.split())

    def __contains__(self, text: str) -> bool:
        """Whether the text is one of the classes."""
        return self.normalise(text) in self._ids

    def check(self, utterances: Iterable[Utterance], where: str) -> None:
        """Look whether each text, unless it is empty, is one of the classes.

        Args:
            utterances: What is to be classified.
            where: Their manifest, for the error to name.

        Raises:
            ManifestError: One is not; the text names it.
        """
        for utterance in utterances:
            if utterance.text and utterance.text not in self:
                problem = f"label {utterance.text!r:.60} does not occur in the training data"
                raise ManifestError(f"{where}: {utterance.id}: {problem}")

    def encode(self, text: str) -> list[int]:
        """The number of the class, alone in its list.

        Raises:
            TokenizerError: There is no such class.
        """
        if text not in self:
            raise TokenizerError(f"{text!r:.60} is none of the {len(self)} classes")
        return [self._ids[self.normalise(text)]]

    def decode(self, ids: Sequence[int]) -> str:
        """Names of classes."""
        return " ".join(self.pieces(ids))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Names of classes, one each."""
        return [self.names[id] for id in ids]

    def unknown_rate(self, texts: Iterable[str]) -> float:
        """Share of the texts that are none of the classes."""
        unknown = [text not in self for text in texts]
        return sum(unknown) / max(1, len(unknown))

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.names)


def _content(names: Sequence[str]) -> bytes:
    return (json.dumps(list(names), ensure_ascii=False, indent=1) + "\n").encode()
