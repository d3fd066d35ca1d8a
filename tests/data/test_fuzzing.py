"""Arbitrary files: a reader of manifests, Kaldi folders or transcripts reads them or tells file and line, no more."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq_asr.data.kaldi import read_kaldi
from seq2seq_asr.data.lines import read_pairs
from seq2seq_asr.data.manifest import read_manifest, write_manifest
from seq2seq_asr.errors import AudioError, ManifestError
from seq2seq_asr.evaluation.trn import read_trn, write_trn

T = TypeVar("T")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a.wav", 1.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
KEYS = st.sampled_from(
    ["audio_filepath", "features_filepath", "duration", "text", "offset", "speaker", "lang", "id", "extra"]
)
ENTRIES = st.dictionaries(KEYS, VALUES, max_size=5) | st.fixed_dictionaries(
    {"audio_filepath": st.text(min_size=1, max_size=5), "duration": st.floats(), "text": st.text(max_size=5)},
    optional={"offset": VALUES, "id": VALUES, "speaker": VALUES},
)
JSON_LINES = ENTRIES.map(lambda entry: json.dumps(entry).encode()) | VALUES.map(
    lambda value: json.dumps(value).encode()
)
# Pieces that each mean something to one of the readers, so that random files get past the first check.
PIECES = st.sampled_from(
    [b" ", b"\t", b"u1", b"u2", b"r1", b"0", b"-1", b"1e999", b"nan", b"a.wav", b"|", b"(", b")", b"(s-1)", b"(-)"]
    + [b"%28", b"%FF", b";;", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xff", b"\0", b"\r", "\u2028".encode(), "\u00a0".encode()]
)
ROWS = st.lists(PIECES, max_size=6).map(b"".join) | st.binary(max_size=12) | st.just(b"u1 r1 0 1")
TABLE_ROWS = st.builds(lambda key, rest: key + b" " + rest, st.sampled_from([b"u1", b"u2", b"r1"]), ROWS) | ROWS


def files(rows: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    ends = st.sampled_from([b"\n", b"\r\n", b"\n\n"])
    return st.builds(lambda lines, end: end.join(lines), st.lists(rows, max_size=5), ends)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzing")


def only_our_errors(read: Callable[[], T], folder: Path) -> T | None:
    """What was read. Reading may fail, but only so: one line that names a file below ``folder`` and a line of it."""
    try:
        return read()
    except (ManifestError, AudioError) as error:
        assert re.match(rf"{folder}/[\w.]+:\d+: .", str(error)) and len(str(error).splitlines()) == 1, str(error)
        return None


@given(content=files(JSON_LINES | ROWS), optional=st.booleans())
def test_manifests(content: bytes, optional: bool, folder: Path) -> None:
    (folder / "m.jsonl").write_bytes(content)
    read = only_our_errors(lambda: read_manifest(folder / "m.jsonl", allow_empty_text=optional, root=folder), folder)
    if read is not None:
        lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
        assert len({one.id for one in read}) == len(read) == len(lines)
        assert all(one.text.strip() or optional for one in read)
        write_manifest(folder / "again.jsonl", read)
        assert read_manifest(folder / "again.jsonl", allow_empty_text=optional, root=folder) == read


@given(content=files(ROWS))
def test_transcripts(content: bytes, folder: Path) -> None:
    (folder / "hyp.trn").write_bytes(content)
    lines = only_our_errors(lambda: read_trn(folder / "hyp.trn"), folder)
    if lines is not None:
        write_trn(folder / "again.trn", lines)
        assert read_trn(folder / "again.trn") == lines


@given(content=files(TABLE_ROWS))
def test_tables(content: bytes, folder: Path) -> None:
    (folder / "table").write_bytes(content)
    table = only_our_errors(lambda: read_pairs(folder / "table"), folder)
    for key, (line, rest) in (table or {}).items():
        assert content.removeprefix(b"\xef\xbb\xbf").split(b"\n")[line - 1].decode().split() == [key, *rest.split()]


@settings(max_examples=40)
@given(
    texts=files(TABLE_ROWS),
    recordings=files(TABLE_ROWS),
    segments=st.none() | files(TABLE_ROWS),
    durations=files(TABLE_ROWS),
)
def test_kaldi_folders(texts: bytes, recordings: bytes, segments: bytes | None, durations: bytes, folder: Path) -> None:
    kaldi = folder / "kaldi"
    kaldi.mkdir(exist_ok=True)
    for name, content in (("text", texts), ("wav.scp", recordings), ("segments", segments), ("utt2dur", durations)):
        if content is None:
            (kaldi / name).unlink(missing_ok=True)
        else:
            (kaldi / name).write_bytes(content)
    read = only_our_errors(lambda: read_kaldi(kaldi), kaldi)
    if read is not None:
        assert {one.id for one in read} == set(read_pairs(kaldi / "text")), "no utterance is lost"
