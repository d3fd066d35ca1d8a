"""Scripts that put no space between words, as ranges for a regular expression's character class."""

from typing import Final

HAN: Final = r"\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, with the marks U+3005 to 3007."""
KANA: Final = r"\u3040-\u30ff\u31f0-\u31ff"
THAI_LIKE: Final = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Burmese and Khmer."""
UNSPACED: Final = THAI_LIKE + KANA + HAN
"""All of them; Hangul does write spaces."""
CJK_PUNCTUATION: Final = r"\u3001-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
"""Punctuation that has no space around it either."""
