"""Kaldi folders: whole files, segments, and every flaw by file and line."""

import re

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.kaldi import read_kaldi
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError, ManifestError


@pytest.fixture
def folder(tmp_path):
    """Two recordings, one a relative path with a blank in it."""
    for name, length in {"first one.wav": 8000, "second.flac": 4000}.items():
        soundfile.write(tmp_path / name, np.linspace(-0.5, 0.5, length), 8000)
    write(tmp_path, "wav.scp", "r1 first one.wav", f"r2 {tmp_path / 'second.flac'}")
    write(tmp_path, "text", "r2 ZWEI  DREI", "r1 EINS")
    write(tmp_path, "utt2spk", "r1 anna", "r2 bert")
    return tmp_path


def write(folder, name, *lines):
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def with_segments(folder, *segments):
    write(folder, "segments", *segments)
    write(folder, "text", "u1 EINS", "u2 ZWEI")
    (folder / "utt2spk").unlink(missing_ok=True)


def test_whole_files_are_measured(folder):
    assert read_kaldi(folder) == [
        Utterance(id="r2", text="ZWEI  DREI", duration=0.5, audio=folder / "second.flac", speaker="bert"),
        Utterance(id="r1", text="EINS", duration=1.0, audio=folder / "first one.wav", speaker="anna"),
    ]


def test_segments_are_parts_of_recordings(folder):
    with_segments(folder, "u1 r1 0.25 0.75", "u2 r2 0.125 -1")
    spans = [(u.id, u.audio.name, u.offset, u.duration, u.speaker) for u in read_kaldi(folder)]
    assert spans == [("u1", "first one.wav", 0.25, 0.5, None), ("u2", "second.flac", 0.125, 0.375, None)]


def test_known_durations_spare_the_headers(folder):
    write(folder, "utt2dur", "r1 3.5", "r2 4")
    (folder / "second.flac").unlink()
    assert [u.duration for u in read_kaldi(folder)] == [4.0, 3.5]


@pytest.mark.parametrize(
    ("name", "lines", "where"),
    [
        ("wav.scp", ["r1 first one.wav", "r2 flac -dc second.flac |"], "wav.scp:2: 'flac -dc second.flac |' is a pipe"),
        ("wav.scp", ["r1 first one.wav", "r2 | tee x"], "wav.scp:2: '| tee x' is a pipe"),
        (
            "wav.scp",
            ["r1 first one.wav", "r2 https://host/second.flac"],
            "wav.scp:2: 'https://host/second.flac' is a URL",
        ),
        ("wav.scp", ["r1 first one.wav", "r2"], "wav.scp:2: expected two columns"),
        ("wav.scp", ["r1 first one.wav"], "text:1: utterance 'r2' has no audio"),
        ("text", ["r1 EINS"], "wav.scp:2: utterance 'r2' has no line in text"),
        ("text", ["r1 EINS", "r2 ZWEI", "r1 DREI"], "text:3: 'r1' is already on line 1"),
        ("text", ["r1 EINS", "r2 "], "text:2: expected two columns"),
        ("text", ["r1 EINS", "r2 \0"], "text:2: NUL"),
        ("utt2spk", ["r1 anna"], "wav.scp:2: utterance 'r2' has no line in utt2spk"),
        ("utt2spk", ["r1 anna", "r2 bert", "r3 bert"], "utt2spk:3: utterance 'r3' has no audio"),
        ("utt2spk", ["r1 anna", "R2 bert"], "wav.scp:2: utterance 'r2' has no line in utt2spk"),
        ("utt2dur", ["r1 1.0", "r2 0"], "utt2dur:2: expected more than 0"),
        ("utt2dur", ["r1 nan"], "utt2dur:1: expected a number"),
    ],
)
def test_flaws_are_told_by_file_and_line(folder, name, lines, where):
    write(folder, name, *lines)
    with pytest.raises(ManifestError, match=re.escape(f"{folder}/{where}")):
        read_kaldi(folder)


@pytest.mark.parametrize("segment", ["u2 r9 0 1", "u2 r2 0", "u2 r2 1 0.5", "u2 r2 -1 1", "u2 r2 a b", "u2 r2 0 inf"])
def test_flawed_segments_are_told_by_file_and_line(folder, segment):
    with_segments(folder, "u1 r1 0 0.5", segment)
    with pytest.raises(ManifestError, match=r"segments:2: "):
        read_kaldi(folder)


def test_a_channel_is_taken_where_there_is_no_other(folder):
    with_segments(folder, "u1 r1 0.25 0.75 A", "u2 r2 0 0.5 1")
    assert [u.offset for u in read_kaldi(folder)] == [0.25, 0.0]
    soundfile.write(folder / "second.flac", np.random.default_rng(0).normal(0, 0.1, (4000, 2)), 8000)
    with pytest.raises(ManifestError, match=r"segments:2: channel '1' of .*second\.flac: make a file of each channel"):
        read_kaldi(folder)
    with_segments(folder, "u1 r1 0.25 0.75", "u2 r2 0 0.5")
    assert len(read_kaldi(folder)) == 2  # without a channel, their average is meant
    (folder / "second.flac").unlink()
    with_segments(folder, "u1 r1 0.25 0.75", "u2 r2 0 0.5 1")
    with pytest.raises(AudioError, match=r"segments:2: .*second\.flac: cannot be read"):
        read_kaldi(folder)


def test_missing_files_are_told(folder):
    (folder / "second.flac").unlink()
    with pytest.raises(AudioError, match=r"wav\.scp:2: .*second\.flac: cannot be read"):
        read_kaldi(folder)
    (folder / "text").unlink()
    with pytest.raises(ManifestError, match="text: cannot be read"):
        read_kaldi(folder)
    write(folder, "text")
    (folder / "wav.scp").write_text("")
    with pytest.raises(ManifestError, match="empty"):
        read_kaldi(folder)


def test_an_utterance_without_words_is_read_where_texts_are_optional(folder):
    write(folder, "text", "r2", "r1 EINS")
    assert [(u.id, u.text) for u in read_kaldi(folder, allow_empty_text=True)] == [("r2", ""), ("r1", "EINS")]
    with pytest.raises(ManifestError, match=r"text:1: expected two columns, found only 'r2'$"):
        read_kaldi(folder)
    write(folder, "utt2spk", "r2", "r1 anna")
    with pytest.raises(ManifestError, match=r"utt2spk:1: expected two columns"):
        read_kaldi(folder, allow_empty_text=True)


def test_a_folder_without_text_is_read_where_texts_are_optional(folder):
    (folder / "text").unlink()
    assert [(u.id, u.text, u.duration) for u in read_kaldi(folder, allow_empty_text=True)] == [
        ("r1", "", 1.0),
        ("r2", "", 0.5),
    ]
