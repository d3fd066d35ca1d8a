import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.data.normaliser import NORMALISERS, basic, collapse_space

# Characters whose neighbours matter, beside any others.
TRICKY = st.sampled_from("aA1é'’.·-_/,!Σİßﬁ½ \t\u0301\u0308\u0345\u200c\u200d\u2581\u3000")
TEXTS = st.text(alphabet=st.one_of(TRICKY, st.characters()), max_size=30)
NAMES = st.sampled_from(sorted(NORMALISERS))


@given(TEXTS, NAMES)
def test_twice_is_once(text, name):
    once = NORMALISERS[name](text)
    assert NORMALISERS[name](once) == once


@pytest.mark.parametrize("before, after", [("", ""), ("a\u0301", "b"), ("1", "2")])
def test_twice_is_once_for_every_character(before, after):
    # All 1,114,112 take a minute and passed by hand; a prime step still meets every category.
    for code in range(0, sys.maxunicode + 1, 211):
        once = basic(f"{before}{chr(code)}{after}")
        assert basic(once) == once, hex(code)


@given(TEXTS, NAMES)
def test_white_space_is_single_and_inside(text, name):
    normalised = NORMALISERS[name](text)
    assert normalised == " ".join(normalised.split())
    assert "\u2581" not in normalised


@given(TEXTS)
def test_none_changes_white_space_only(text):
    def visible(string):
        dropped = {"\u2581", *(c for c in string if unicodedata.category(c) == "Cs")}
        return [c for c in string if not c.isspace() and c not in dropped]

    assert visible(collapse_space(text)) == visible(text)


@given(TEXTS)
def test_basic_yields_lower_case_words(text):
    normalised = basic(text)
    assert normalised == unicodedata.normalize("NFKC", normalised)
    assert normalised == normalised.lower()
    allowed = set(" '.·\u200c\u200d")
    assert all(c in allowed or unicodedata.category(c)[0] in "LMN" for c in normalised)


@given(st.text(alphabet=st.characters(categories=["Ll", "Lo", "Nd"]), min_size=1, max_size=20))
def test_basic_keeps_small_letters_of_every_script(text):
    expected = unicodedata.normalize("NFKC", text)
    if all(unicodedata.category(c) in ("Ll", "Lo", "Nd") for c in expected) and "\u055a" not in text:
        assert basic(text) == unicodedata.normalize("NFKC", expected.lower())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop - it’s late!", "don't stop it's late"),
        ("'Quoted,' she said.", "quoted she said"),
        ("twenty-one and/or up_to", "twenty one and or up to"),
        ("well...okay… fine", "well okay fine"),
        ("U.S.A. has 3.5 of 1,000.", "usa has 3.5 of 1000"),
        ("你好，世界！", "你好世界"),
        ("ÀÉ ΣΟΦΟΣ Straße", "àé σοφος straße"),
        ("नमस्ते क्\u200dष", "नमस्ते क्\u200dष"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("tel·la · x", "tel·la x"),
        ("\ud800broken", "broken"),
        ("?!", ""),
    ],
)
def test_basic_by_example(text, expected):
    assert basic(text) == expected
