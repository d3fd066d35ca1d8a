"""Word and character errors: the fewest substitutions, deletions and insertions between two texts.

Both texts are scored as they stand; case and punctuation are the normaliser's business.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

from seq2seq_asr.unspaced import HAN, KANA, THAI_LIKE, UNSPACED

EditKind = Literal["correct", "substitution", "deletion", "insertion"]

_KINDS: Final[dict[str, EditKind]] = {
    "equal": "correct",
    "replace": "substitution",
    "delete": "deletion",
    "insert": "insertion",
}
_LONGER_THAN_A_WORD: Final = re.compile(rf"[{HAN}]{{5}}|[{KANA}{HAN}]{{10}}|[{THAI_LIKE}]{{16}}")
_OPTIONAL_SPACE: Final = re.compile(rf"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")


@dataclass(frozen=True, kw_only=True)
class ErrorCounts:
    """Errors of one text or, added up, of a corpus. ``sum(counts, ErrorCounts())`` adds many."""

    substitutions: int = 0
    """Reference tokens replaced by another."""
    deletions: int = 0
    """Reference tokens that the hypothesis lacks."""
    insertions: int = 0
    """Hypothesis tokens that the reference lacks."""
    reference_length: int = 0
    """Tokens in the reference."""

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        """Counts of both texts together."""
        return ErrorCounts(
            substitutions=self.substitutions + other.substitutions,
            deletions=self.deletions + other.deletions,
            insertions=self.insertions + other.insertions,
            reference_length=self.reference_length + other.reference_length,
        )

    @property
    def errors(self) -> int:
        """All errors together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference token, as a fraction; above 1 when much was inserted.

        An empty reference adds its insertions to a corpus like any other text. Where the whole reference is empty
        the rate is 0 without insertions and infinite with them.
        """
        if self.reference_length:
            return self.errors / self.reference_length
        return math.inf if self.errors else 0.0


class Edit(NamedTuple):
    """One step of an alignment; the side that has no token there holds None."""

    kind: EditKind
    reference: str | None
    hypothesis: str | None


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Edit]:
    """Align two token lists with the fewest edits (Levenshtein, 1966; every edit costs one).

    Where several alignments are equally short, one of them is returned. NIST sclite weighs a substitution 4 and the
    others 3, so its total can be slightly larger than this minimum.

    Returns:
        Edits in order: their references, then their hypotheses, spell the two inputs.
    """
    edits: list[Edit] = []
    for run in Levenshtein.opcodes(*_as_integers(reference, hypothesis)):
        # A run of deletions has no hypothesis tokens and a run of insertions no reference tokens; others have as many.
        pairs = zip_longest(reference[run.src_start : run.src_end], hypothesis[run.dest_start : run.dest_end])
        edits.extend(Edit(_KINDS[run.tag], ref, hyp) for ref, hyp in pairs)
    return edits


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors between the words of two texts; a word is what stands between white space."""
    ref_words, hyp_words = reference.split(), hypothesis.split()
    return _count(*_as_integers(ref_words, hyp_words), len(ref_words))


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors between the characters (code points) of two texts, as :func:`characters` gives them."""
    ref_characters, hyp_characters = characters(reference), characters(hypothesis)
    return _count(ref_characters, hyp_characters, len(ref_characters))


def utterance_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """One error where the texts differ at all: such as a wrong label."""
    return ErrorCounts(substitutions=int(reference.split() != hypothesis.split()), reference_length=1)


def characters(text: str) -> str:
    """The characters that a character error rate counts.

    One space between two words counts as a character, as in ESPnet (its ``<space>``) and jiwer. Beside a
    character of a script that is written without spaces (Han, kana, Thai …) a space means nothing and is dropped,
    so that segmented references such as AISHELL's score as published.
    """
    return _OPTIONAL_SPACE.sub("", " ".join(text.split()))


def without_spaces(texts: Iterable[str]) -> bool:
    """Whether most of the texts run on for longer than a word would, in a script without spaces between words.

    Single words, and texts that a tool has cut into words, do not.
    """
    running_on = [bool(_LONGER_THAN_A_WORD.search(text)) for text in texts if text]
    return 2 * sum(running_on) > len(running_on)


def _as_integers(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[list[int], list[int]]:
    """Number the distinct tokens: rapidfuzz compares strings in a list by their hash, which could collide."""
    ids: dict[str, int] = {}
    numbered = [[ids.setdefault(token, len(ids)) for token in tokens] for tokens in (reference, hypothesis)]
    return numbered[0], numbered[1]


def _count(reference: Sequence[int] | str, hypothesis: Sequence[int] | str, reference_length: int) -> ErrorCounts:
    tags = [operation.tag for operation in Levenshtein.editops(reference, hypothesis)]
    return ErrorCounts(
        substitutions=tags.count("replace"),
        deletions=tags.count("delete"),
        insertions=tags.count("insert"),
        reference_length=reference_length,
    )
