"""What reports in a terminal share: figures in words, and two texts set one above the other with the errors marked."""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from seq2seq_asr.evaluation.intervals import Interval
from seq2seq_asr.evaluation.wer import Edit, align
from seq2seq_asr.unspaced import UNSPACED

_TOKEN: Final = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_MARKS: Final = {"correct": "", "substitution": "S", "deletion": "D", "insertion": "I"}
_EMPTY: Final = "(empty)"


def plural(count: int, noun: str) -> str:
    """``1 word``, ``1,200 words``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def percent(rate: float, infinite: str = "infinite") -> str:
    """A rate with two digits; an infinite one, of an empty reference, in a word."""
    return f"{100 * rate:.2f} %" if math.isfinite(rate) else infinite


def bounds(interval: Interval) -> str:
    """Both ends of an interval with two digits."""
    return f"{100 * interval.low:.2f} – {100 * interval.high:.2f} %" if interval.known else "–"


def display_width(text: str) -> int:
    """Columns that a text takes in a terminal: two for wide East Asian characters, none for combining ones."""
    return sum(_columns(character) for character in text)


def aligned_lines(reference: str, hypothesis: str, width: int = 110) -> list[str]:
    """REF, HYP and marks lines, wrapped together; a token is a word, or a character of an unspaced script.

    Tokens that are missing on one side show as asterisks, as in sclite. Marks are S, D and I.

    Args:
        reference: The true text.
        hypothesis: The recognised text.
        width: Columns to stay within, unless one token alone is wider.
    """
    edits = align(_TOKEN.findall(reference), _TOKEN.findall(hypothesis))
    if not edits:
        return [f"REF  {_EMPTY}", f"HYP  {_EMPTY}"]
    lines: list[str] = []
    for block in _blocks([_column(edit) for edit in edits], width - len("REF  ")):
        rows = ["  ".join(cells).rstrip() for cells in zip(*block, strict=True)]
        labelled = [f"{label}  {row}".rstrip() for label, row in zip(("REF", "HYP", "   "), rows, strict=True)]
        lines += labelled if labelled[-1] else labelled[:-1]
    return lines


def printable(text: str) -> str:
    """The text with control characters escaped: a transcript must not steer the terminal."""
    return "".join(ascii(char)[1:-1] if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _column(edit: Edit) -> tuple[str, str, str]:
    """One edit as three cells of equal width."""
    present = printable(edit.reference or ""), printable(edit.hypothesis or "")
    blank = "*" * max(display_width(text) for text in present)
    cells = (present[0] or blank, present[1] or blank, _MARKS[edit.kind])
    width = max(display_width(cell) for cell in cells)
    reference, hypothesis, mark = (cell + " " * (width - display_width(cell)) for cell in cells)
    return reference, hypothesis, mark


def _blocks(columns: Sequence[tuple[str, str, str]], width: int) -> Iterator[list[tuple[str, str, str]]]:
    """Cut the columns, two blanks apart, into blocks no wider than ``width``."""
    block: list[tuple[str, str, str]] = []
    used = 0
    for column in columns:
        size = display_width(column[0]) + 2
        if block and used + size - 2 > width:
            yield block
            block, used = [], 0
        block.append(column)
        used += size
    yield block
