import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.errors import ManifestError
from seq2seq_asr.evaluation.trn import TrnLine, read_trn, write_trn

ODD = st.text(
    st.one_of(st.sampled_from("()% -_;@{}/28aF*\u00a0\u2028\ufeff\t"), st.characters(codec="utf-8")), max_size=12
)
LINES = st.builds(
    TrnLine,
    id=ODD.filter(bool),
    text=ODD.map(lambda text: " ".join(text.split())),
    speaker=st.one_of(st.none(), st.sampled_from(["unknown", "%75nknown", "unknown2"]), ODD.filter(bool)),
)


@given(st.lists(LINES, max_size=4, unique_by=lambda line: (line.speaker, line.id)))
def test_whatever_is_written_is_read_back(lines):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ref.trn"
        write_trn(path, lines)
        assert read_trn(path) == lines
        assert [entry.name for entry in Path(folder).iterdir()] == ["ref.trn"]


@given(LINES)
def test_a_line_holds_nothing_that_sclite_takes_for_markup(line):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ref.trn"
        write_trn(path, [line])
        content = path.read_bytes().decode()
    assert content.count("(") == content.count(")") == content.count("\n") == 1
    assert content.endswith(")\n")
    words, name = content[:-2].split("(")
    assert not set("{}") & set(words)
    assert not words.startswith(";")
    assert "@" not in words.split()
    assert len(name.split()) == 1
    # sclite's spu_id takes the speaker up to the first hyphen or underscore.
    assert "_" not in name.split("-")[0]


def test_plain_text_is_written_plainly(tmp_path):
    lines = [
        TrnLine(id="1089-134686-0000", text="he hoped\tthere  would be 100% stew", speaker="1089"),
        TrnLine(id="a", text=""),
    ]
    write_trn(tmp_path / "ref.trn", lines)
    content = (tmp_path / "ref.trn").read_text()
    assert content == "he hoped there would be 100% stew (1089-1089-134686-0000)\n(unknown-a)\n"


def test_comments_blank_lines_and_a_byte_order_mark_are_skipped(tmp_path):
    path = tmp_path / "hyp.trn"
    path.write_bytes(b"\xef\xbb\xbf;; made by hand\r\n\r\nnext (to) it (s-1)\r\n  (plain)\n")
    assert read_trn(path) == [TrnLine(id="1", text="next (to) it", speaker="s"), TrnLine(id="plain", text="")]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"ok (s-1)\nno id here\n", 2),
        (b"ok (s-1)\nok ()\n", 2),
        (b"a (s-1)\nb (s-1)\n", 2),
        (b"a (s-)\n", 1),
        (b"\xff", 1),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, content, line):
    path = tmp_path / "ref.trn"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=f"^{path}:{line}: "):
        read_trn(path)


def test_a_missing_file_is_a_manifest_error(tmp_path):
    with pytest.raises(ManifestError, match="none.trn"):
        read_trn(tmp_path / "none.trn")


@pytest.mark.parametrize("lines", [[TrnLine(id="", text="a")], [TrnLine(id="a", text="b")] * 2])
def test_a_refused_write_leaves_the_old_file(tmp_path, lines):
    path = tmp_path / "ref.trn"
    path.write_text("old (s-1)\n")
    with pytest.raises(ManifestError, match=f"^{path}:"):
        write_trn(path, lines)
    assert path.read_text() == "old (s-1)\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_byte_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "hyp.trn"
    path.write_bytes("eins (s-1)\nzwei (s-2)\ndrei \xff (s-3)\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"hyp\.trn:3: not UTF-8"):
        read_trn(path)
