"""Back-off n-gram models in ARPA files, as SRILM, KenLM, IRSTLM and ``fit_ngram`` write them (ngram-format(5)).

The n-grams form a trie whose node 0 is the empty history: an n-gram is the child of its history by its last word. So
every n-gram needs its history in the file, as KenLM demands too.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from jaxtyping import Float, Int

from seq2seq_asr.errors import ManifestError

NATS = math.log(10.0)
"""A unit of the file's logarithms, in nats."""
UNKNOWN_WORDS = ("<unk>", "<UNK>")
"""How files spell the word that stands for all others."""
_SECTION = re.compile(rb"\\(\d{1,9})-grams:")
_COUNT = re.compile(rb"ngram\s+(\d{1,9})\s*=\s*(\d{1,18})")


class Arpa(NamedTuple):
    """An n-gram model; its arrays have a place for every node."""

    words: tuple[str, ...]
    """Vocabulary; word ``i`` is the unigram of node ``i + 1``."""
    order: int
    """Words of the longest n-grams."""
    length: Int[np.ndarray, " nodes"]
    """Words of the node's n-gram."""
    history: Int[np.ndarray, " nodes"]
    """Node of all its words but the last; -1 at node 0."""
    word: Int[np.ndarray, " nodes"]
    """Its last word; -1 at node 0."""
    log_prob: Float[np.ndarray, " nodes"]
    """Natural-log probability of the last word after the history."""
    backoff: Float[np.ndarray, " nodes"]
    """Natural log of the weight that the n-gram gives to shorter histories than itself."""

    def unknown(self) -> int | None:
        """The word that stands for unknown ones, if the file has it."""
        return next((self.words.index(word) for word in UNKNOWN_WORDS if word in self.words), None)


def read_arpa(path: Path) -> Arpa:
    """Read a file, compressed where its name ends in ``.gz``.

    Raises:
        ManifestError: It cannot be read or is no ARPA file; the text starts with ``file:line:``.
    """
    reader = _Reader(path)
    try:
        for number, line in _lines(path):
            reader.read(number, line)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}:{reader.number}: not UTF-8 text") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ManifestError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return reader.finish()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, without white space around them and blank ones."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if stripped := line.strip():
                yield number, stripped


class _Reader:
    """Takes up a file line by line, whatever its size."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        self.section = -1
        """0 in the counts, n among the n-grams, -1 before the start and -2 behind the end."""
        self.counts: dict[int, int] = {}
        self.found = 0
        self.words: dict[bytes, int] = {}
        self.children: dict[tuple[int, int], int] = {}
        self.length, self.history, self.word = [0], [-1], [-1]
        self.log_prob, self.backoff = [0.0], [0.0]

    def read(self, number: int, line: bytes) -> None:
        """Take up a line."""
        self.number = number
        if self.section == -1:
            if line.removeprefix(b"\xef\xbb\xbf") == b"\\data\\":  # what stands above is a comment
                self.section = 0
        elif self.section == -2:
            self.fail(f"{_shown(line)} behind \\end\\")
        elif line == b"\\end\\":
            self.open(-2)
        elif section := _SECTION.fullmatch(line):
            self.open(int(section[1]))
        elif self.section == 0:
            self.count(line)
        else:
            self.ngram(line)

    def fail(self, why: str) -> NoReturn:
        """Refuse the line in hand."""
        raise ManifestError(f"{self.path}:{self.number}: {why}")

    def open(self, section: int) -> None:
        """Close a section and begin the next."""
        if self.section == 0 and sorted(self.counts) != [*range(1, len(self.counts) + 1)] or not self.counts:
            self.fail("the counts above do not go from 1-grams on without a gap")
        if self.section > 0 and self.found != self.counts[self.section]:
            self.fail(f"{self.found} {self.section}-grams end here; \\data\\ declares {self.counts[self.section]}")
        following = self.section + 1 if self.section < len(self.counts) else -2
        if section != following:
            name = "\\end\\" if following == -2 else f"\\{following}-grams:"
            self.fail(f"{name} expected; \\data\\ declares n-grams of up to {len(self.counts)} words")
        self.section, self.found = section, 0

    def count(self, line: bytes) -> None:
        """Take up ``ngram 2=1234``."""
        match = _COUNT.fullmatch(line)
        if match is None or int(match[1]) in self.counts:
            self.fail(f"expected a count such as 'ngram 1=1234', not {_shown(line)}")
        self.counts[int(match[1])] = int(match[2])

    def ngram(self, line: bytes) -> None:
        """Take up a log probability, the words and perhaps a back-off weight."""
        fields, order = line.split(), self.section
        most = order + 1 + (order < len(self.counts))
        if not order < len(fields) <= most:
            words = f"{order} word{'s' * (order > 1)}"
            weight = " and perhaps a back-off weight" if most > order + 1 else ""
            self.fail(f"a {order}-gram has a log probability, {words}{weight}: not {len(fields)} columns")
        log_prob, backoff = self.figure(fields[0]), self.figure(fields[order + 1]) if len(fields) > order + 1 else 0.0
        if log_prob > 0:
            self.fail(f"{_shown(fields[0])} is no log probability: above 0")
        *history, last = [self.word_of(word) for word in fields[1 : order + 1]]
        node = 0
        for word in history:
            node = self.children.get((node, word), -1)
        if node < 0:
            self.fail(f"the history of this {order}-gram is not among the {order - 1}-grams")
        if self.children.setdefault((node, last), len(self.word)) != len(self.word):
            self.fail(f"a second {order}-gram {_shown(b' '.join(fields[1 : order + 1]))}")
        self.append(order, node, last, log_prob * NATS, backoff * NATS)
        self.found += 1

    def append(self, length: int, history: int, word: int, log_prob: float, backoff: float) -> None:
        """Add a node."""
        self.length.append(length)
        self.history.append(history)
        self.word.append(word)
        self.log_prob.append(log_prob)
        self.backoff.append(backoff)

    def figure(self, field: bytes) -> float:
        """A finite number."""
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.fail(f"expected a finite number, not {_shown(field)}")
        return value

    def word_of(self, field: bytes) -> int:
        """The number of a word, a new one among the unigrams."""
        if self.section == 1:
            field.decode()
            return self.words.setdefault(field, len(self.words))
        if field not in self.words:
            self.fail(f"{_shown(field)} is not among the 1-grams")
        return self.words[field]

    def finish(self) -> Arpa:
        """What was read."""
        if self.section != -2:
            self.number = max(self.number, 1)
            self.fail(
                "not an ARPA file: no line is \\data\\" if self.section == -1 else "the file ends without \\end\\"
            )
        if b"</s>" not in self.words:
            self.fail("no 1-gram </s>: the end of a sentence has no probability")
        integers = (np.array(part, dtype=np.int64) for part in (self.length, self.history, self.word))
        figures = (np.array(part, dtype=np.float64) for part in (self.log_prob, self.backoff))
        return Arpa(tuple(word.decode() for word in self.words), len(self.counts), *integers, *figures)


def _shown(line: bytes) -> str:
    return repr(line[:40].decode(errors="replace"))
