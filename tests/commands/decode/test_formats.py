"""Output formats: read back by independent readers, with names that cannot clash."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.commands.decode.formats import Cue, cues, file_names, remove_formats, write_formats
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.decode import main
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.evaluation.layout import display_width
from seq2seq_asr.recognizer import Transcript, Word

WORDS = (Word("call", 0.08, 0.4), Word("<anna>", 0.4, 0.88), Word("&", 2.5, 2.58), Word("co", 3661.24, 3661.5))


def transcript(id: str, words: tuple[Word, ...] = WORDS) -> Transcript:
    text = " ".join(word.text for word in words)
    return Transcript(
        id=id, text=text, score=-1.0, log_prob=-1.0, pieces=(), times=(), ended=True, scores={}, words=words
    )


def written(folder: Path, formats: tuple, *transcripts: Transcript) -> dict[str, str]:
    write_formats(folder, transcripts, formats, [3662.0] * len(transcripts))
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_format(tmp_path: Path) -> None:
    files = written(tmp_path, ("ctm", "srt", "vtt", "tsv", "txt"), transcript("a b"), transcript("c", ()))
    assert files.pop("hyp.ctm") == (
        "a_b 1 0.080 0.320 call\na_b 1 0.400 0.480 <anna>\na_b 1 2.500 0.080 &\na_b 1 3661.240 0.260 co\n"
    )
    assert files.pop("hyp.txt") == "call <anna> & co\n\n"
    assert files.pop("srt/a_b.srt") == (
        "1\n00:00:00,080 --> 00:00:01,080\ncall <anna>\n\n2\n00:00:02,500 --> 00:00:03,500\n&\n\n"
        "3\n01:01:01,240 --> 01:01:02,000\nco\n\n"
    )
    assert files.pop("vtt/a_b.vtt") == (
        "WEBVTT\n\n00:00:00.080 --> 00:00:01.080\ncall &lt;anna&gt;\n\n00:00:02.500 --> 00:00:03.500\n&amp;\n\n"
        "01:01:01.240 --> 01:01:02.000\nco\n\n"
    )
    assert files.pop("tsv/a_b.tsv") == "start\tend\ttext\n80\t1080\tcall <anna>\n2500\t3500\t&\n3661240\t3662000\tco\n"
    assert files == {"srt/c.srt": "", "vtt/c.vtt": "WEBVTT\n\n", "tsv/c.tsv": "start\tend\ttext\n"}


def test_control_characters_break_no_line(tmp_path: Path) -> None:
    files = written(tmp_path, ("ctm", "txt", "srt", "tsv"), transcript("a", (Word("x\n\ty", 0.0, 1.0),)))
    assert [len(files[name].splitlines()) for name in ("hyp.ctm", "hyp.txt", "srt/a.srt", "tsv/a.tsv")] == [1, 1, 4, 2]


def test_subtitles_are_short_and_hold_every_word_once() -> None:
    words = [Word("w" * (1 + place % 13), place * 0.4, place * 0.4 + 0.3) for place in range(60)]
    shown = cues([*words, Word("x" * 200, 30.0, 40.0)])
    assert " ".join(cue.text for cue in shown).split() == [*(word.text for word in words), "x" * 200]
    assert all(len(cue.text) <= 84 and cue.end - cue.start <= 7 for cue in shown[:-1]) and len(shown) > 4
    assert all(one.end <= other.start for one, other in zip(shown, shown[1:], strict=False))
    assert [cue.text for cue in cues(WORDS)] == ["call <anna>", "&", "co"]


def test_subtitles_of_scripts_without_spaces_are_as_short_and_have_none() -> None:
    text = "今天天气很好，我们去公园玩。" * 12
    words = [Word("今天", 0.1, 1.0), Word(text, 1.3, 30.0), Word("iPhone", 30.1, 30.5), Word("好い", 30.5, 31.0)]
    shown = cues(words)
    assert "".join(cue.text for cue in shown) == f"今天{text} iPhone 好い"
    assert all(display_width(cue.text) <= 84 and cue.end - cue.start <= 7 for cue in shown)
    assert shown[0].text.startswith("今天今天天气") and not any(cue.text[0] in "，。" for cue in shown)
    assert all(one.end <= other.start for one, other in zip(shown, shown[1:], strict=False)) and len(shown) < 8
    assert cues(words[2:]) == [Cue(30.1, 31.1, "iPhone 好い")]


@given(
    words=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 30), st.integers(1, 60)), max_size=20),
    rest=st.integers(0, 300),
)
def test_a_subtitle_can_be_read_where_there_is_time(words: list[tuple[int, int, int]], rest: int) -> None:
    """In hundredths of a second: gaps, lengths of words, their letters; no word reaches into the next."""
    spoken, now = [], 0
    for gap, length, letters in words:
        spoken.append(Word("w" * letters, (now + gap) / 100, (now + gap + length) / 100))
        now += gap + length
    total = (now + rest) / 100
    shown = cues(spoken, total)
    assert " ".join(cue.text for cue in shown) == " ".join(word.text for word in spoken)
    limits = [*(cue.start for cue in shown[1:]), total][: len(shown)]
    for cue, limit in zip(shown, limits, strict=True):
        assert cue.end <= limit and (cue.end - cue.start > 0.9985 or cue.end == limit)


def test_file_names_are_safe_and_never_clash() -> None:
    ids = ["a/b.wav", "c/b.flac", "B.mp3", "v1.5", "../..", "é x", "", "...", "n" * 300, "a\nb", "語" * 99, "語" * 300]
    names = file_names(ids)
    assert names[:4] == ["b", "b-2", "B-3", "v1.5"] and len({name.lower() for name in names}) == len(ids)
    assert all(re.fullmatch(r"[\w+-][\w.+-]{0,110}", name) for name in names)
    assert max(len(name.encode()) for name in names) <= 255 - len(".srt")


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "srt").write_text("in the way")
    with pytest.raises(CheckpointError, match="srt: cannot be written"):
        write_formats(tmp_path, [transcript("a")], ("srt",), [4000.0])


@pytest.mark.parametrize("name", ["decode.yaml", "hyp.trn", "hyp.txt", "srt/{id}.srt"])
def test_files_of_others_are_not_replaced(tones_run: Path, tmp_path: Path, name: str, capsys) -> None:
    flags = ["--run", str(tones_run), "--beam", "1", "--formats", "srt", "txt"]
    assert exit_code_of(main, [*flags, "--out", str(tmp_path / "first")]) == 0
    written = sorted((tmp_path / "first" / "srt").iterdir())[0]
    mine = tmp_path / "mine" / name.format(id=written.stem)
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    capsys.readouterr()
    assert exit_code_of(main, [*flags, "--out", str(tmp_path / "mine")]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"error: {mine}: not written by decode, which would replace it: give another --out"
    assert mine.read_text() == "mine"


def test_other_files_of_a_folder_stay(tones_run: Path, tmp_path: Path) -> None:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / "mine.srt").write_text("mine")
    flags = ["--run", str(tones_run), "--out", str(tmp_path), "--beam", "1"]
    for formats in (["srt"], ["txt"]):
        assert exit_code_of(main, [*flags, "--formats", *formats]) == 0
    assert [path.name for path in (tmp_path / "srt").iterdir()] == ["mine.srt"]


def test_decode_writes_them_and_takes_the_old_ones_away(tones_run: Path, tmp_path: Path, capsys) -> None:
    flags = ["--run", str(tones_run), "--out", str(tmp_path), "--beam", "1"]
    assert exit_code_of(main, [*flags, "--formats", "ctm", "srt"]) == 0
    text = {line.split()[0] for line in (tmp_path / "hyp.ctm").read_text().splitlines()}
    assert len(text) == len(list((tmp_path / "srt").iterdir())) == 12
    assert exit_code_of(main, [*flags, "--formats", "txt"]) == 0
    assert not (tmp_path / "hyp.ctm").exists() and not list((tmp_path / "srt").iterdir())
    hypotheses = [line.rsplit(" (", 1)[0] for line in (tmp_path / "hyp.trn").read_text().splitlines()]
    assert (tmp_path / "hyp.txt").read_text().splitlines() == hypotheses
    remove_formats(tmp_path, [])
    assert not (tmp_path / "hyp.txt").exists() and (tmp_path / "hyp.trn").exists()
    capsys.readouterr()
    assert exit_code_of(main, ["a.wav", "--formats", "srt"]) == 2
    assert "without --out" in capsys.readouterr().err
