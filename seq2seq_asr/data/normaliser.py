"""Text normalisers: pure, idempotent functions from a transcript to the form that is tokenized and scored."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final, Literal

NormaliserName = Literal["none", "basic"]

_APOSTROPHES: Final = str.maketrans({mark: "'" for mark in "\u2018\u2019\u02bc\u055a"})
# SentencePiece writes a space as U+2581, so a literal U+2581 could never be told from a space again.
_SPACE_SYMBOL: Final = "\u2581"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Marks that stay only between the letters of one word: apostrophe, the middle dot of Catalan, and the two joiners.
_INNER: Final = "'\u00b7\u200c\u200d"
_SLASHES: Final = "/\\"
_ELLIPSIS: Final = re.compile(r"\.\.+")


def collapse_space(text: str) -> str:
    """Strip the ends and turn every run of white space into one space; lone surrogates, which no file holds, go too."""
    return " ".join(_SURROGATE.sub("", text).replace(_SPACE_SYMBOL, " ").split())


def basic(text: str) -> str:
    """Unicode NFKC, lower case, words only.

    Letters, marks and digits of every script stay. Dashes, slashes and symbols become spaces; other punctuation goes,
    except an apostrophe inside a word (``don't``) and a point inside a number (``3.5``).
    """
    # Lower-casing can undo NFKC, and a dropped mark can let two characters compose: hence NFKC again and again.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower())
    marked = _ELLIPSIS.sub(" ", "".join(map(_kept, folded)))
    return collapse_space(unicodedata.normalize("NFKC", _without_stray_marks(marked)))


def _kept(character: str) -> str:
    """What a character becomes by its Unicode category alone; marks that depend on their neighbours stay for now."""
    category = unicodedata.category(character)
    if category[0] in "LMN" or character in _INNER or character == ".":
        return character
    joins_words = category in ("Pd", "Pc") or character in _SLASHES
    return "" if category == "Cf" or (category[0] == "P" and not joins_words) else " "


def _without_stray_marks(text: str) -> str:
    """Drop inner marks that stand outside words, and points that stand outside numbers."""
    around = f" {text} "
    return "".join(
        character
        for before, character, after in zip(around, text, around[2:], strict=False)
        if not (character in _INNER and not (_in_word(before) and _in_word(after)))
        and not (character == "." and not (before.isdigit() and after.isdigit()))
    )


def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


NORMALISERS: Final[dict[str, Callable[[str], str]]] = {"none": collapse_space, "basic": basic}
"""Every normaliser by the name that configs and tokenizers carry."""
