from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.evaluation.layout import aligned_lines, display_width
from seq2seq_asr.evaluation.wer import word_errors

TEXTS = st.lists(st.sampled_from(["a", "fox", "naïve", "jumps"]), max_size=12).map(" ".join)


@given(TEXTS, TEXTS, st.integers(20, 60))
def test_the_lines_hold_both_texts_within_the_width_and_mark_every_error(reference, hypothesis, width):
    lines = aligned_lines(reference, hypothesis, width)
    assert all(display_width(line) <= width for line in lines)
    for label, text in (("REF", reference), ("HYP", hypothesis)):
        words = " ".join(line[5:] for line in lines if line.startswith(label)).split()
        expected_words = text.split() if reference or hypothesis else ["(empty)"]
        assert [word for word in words if set(word) != {"*"}] == expected_words
    marks = "".join(line for line in lines if line.startswith("   "))
    counts = word_errors(reference, hypothesis)
    expected = counts.substitutions, counts.deletions, counts.insertions
    assert (marks.count("S"), marks.count("D"), marks.count("I")) == expected


def test_every_mark_stands_under_the_first_column_of_its_token():
    assert aligned_lines("the quick fox", "the quack brown fox") in (
        ["REF  the  quick  *****  fox", "HYP  the  quack  brown  fox", "          S      I"],
        ["REF  the  *****  quick  fox", "HYP  the  quack  brown  fox", "          I      S"],
    )


def test_wide_characters_are_aligned_one_by_one_by_their_width():
    reference, hypothesis, marks = aligned_lines("打开 a 门", "打 a 窗")
    assert reference == "REF  打  开  a  门"
    assert hypothesis == "HYP  打  **  a  窗"
    assert marks == " " * 9 + "D" + " " * 6 + "S"
    assert display_width(reference) == display_width(hypothesis) == 18


def test_width_counts_columns_not_characters():
    assert display_width("naïve") == display_width("nai\u0308ve") == 5
    assert display_width("你好") == display_width("ＡＢ") == 4


def test_control_characters_are_shown_and_not_sent():
    lines = aligned_lines("a", "\x1b[31m")
    assert lines == ["REF  a", "HYP  \\x1b[31m", "     S"]


def test_no_text_at_all_is_said():
    assert aligned_lines("", " ") == ["REF  (empty)", "HYP  (empty)"]
