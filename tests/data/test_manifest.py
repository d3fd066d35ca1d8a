"""Manifests: what is written is read, and whatever is not a manifest is refused by file and line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.data.manifest import read_manifest, read_utterances, write_manifest
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import ManifestError

GOOD = {"id": "a", "audio_filepath": "x/a.wav", "duration": 1.5, "text": "HI"}

names = st.text(st.characters(min_codepoint=33, exclude_categories=("C", "Z")), min_size=1, max_size=12)
seconds = st.floats(1e-3, 1e5)


@st.composite
def utterances(draw, folder=Path("/corpus")):
    source = {
        draw(st.sampled_from(["audio", "features"])): folder
        / draw(names.filter(lambda n: n[0] not in "./|" and n[-1] != "|"))
    }
    return Utterance(
        id=draw(names),
        text=draw(names),
        duration=draw(seconds),
        offset=draw(st.sampled_from([0.0, 2.25])) if "audio" in source else 0.0,
        speaker=draw(st.none() | names),
        lang=draw(st.none() | names),
        **source,
    )


def written(folder: Path, *entries, name="m.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


@given(st.lists(utterances(), min_size=1, max_size=5, unique_by=lambda u: u.id))
def test_what_is_written_is_read(tmp_path_factory, corpus):
    path = tmp_path_factory.mktemp("m") / "sub/m.jsonl"
    write_manifest(path, corpus)
    assert read_manifest(path) == corpus


def test_paths_below_the_manifest_are_relative_and_move_with_it(tmp_path):
    inside, outside = tmp_path / "old/audio/a.wav", tmp_path / "b.wav"
    corpus = [Utterance(id=p.stem, text="x", duration=1.0, audio=p) for p in (inside, outside)]
    write_manifest(tmp_path / "old/m.jsonl", corpus)
    (tmp_path / "old").rename(tmp_path / "new")
    moved = read_manifest(tmp_path / "new/m.jsonl")
    assert [u.audio for u in moved] == [tmp_path / "new/audio/a.wav", outside]


def test_writing_that_fails_leaves_the_old_manifest_and_no_litter(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance(id="a", text="x", duration=1.0, audio=tmp_path / "a.wav")])
    before = path.read_bytes()

    def broken():
        yield Utterance(id="b", text="x", duration=1.0, audio=tmp_path / "b.wav")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(path, broken())
    with pytest.raises(ManifestError, match="exactly one"):
        write_manifest(path, [Utterance(id="b", text="x", duration=1.0)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_defaults(tmp_path):
    plain, part = {**GOOD}, {**GOOD, "offset": 1.25}
    del plain["id"], part["id"]
    first, second = read_manifest(written(tmp_path, plain, part))
    assert (first.id, second.id) == ("a", "a-1250")
    assert first == Utterance(id="a", text="HI", duration=1.5, audio=tmp_path / "x/a.wav")


def test_byte_order_mark_crlf_blank_lines_and_a_missing_last_newline(tmp_path):
    lines = [json.dumps({**GOOD, "id": name, "text": "ÄÖ\u2028"}, ensure_ascii=False) for name in "ab"]
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    assert [(u.id, u.text) for u in read_manifest(path)] == [("a", "ÄÖ\u2028"), ("b", "ÄÖ\u2028")]


def test_a_path_is_only_a_path(tmp_path):
    strange = ["a|b.wav", "$(touch pwned).wav", "../up.wav", "c:d.wav", "~/e.wav"]
    corpus = read_manifest(
        written(tmp_path, *({**GOOD, "id": str(i), "audio_filepath": p} for i, p in enumerate(strange)))
    )
    assert [u.audio for u in corpus] == [tmp_path / p for p in strange]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("touch pwned |", "a pipe"),
        ("| tee pwned", "a pipe"),
        ("sox a.wav -t wav -|\t", "a pipe"),
        ("http://host/a.wav", "a URL"),
        ("s3://bucket/a.wav", "a URL"),
        ("file:///etc/passwd", "a URL"),
    ],
)
@pytest.mark.parametrize("key", ["audio_filepath", "features_filepath"])
def test_pipes_and_urls_are_refused_by_file_and_line(tmp_path, source, why, key):
    entry = {name: value for name, value in GOOD.items() if name != "audio_filepath"}
    path = written(tmp_path, {**GOOD, "id": "first"}, {**entry, key: source})
    with pytest.raises(ManifestError, match=rf"m\.jsonl:2: .*{why}"):
        read_manifest(path)


BAD_VALUES = [
    {"duration": value} for value in (0, -1, 0.0, -0.5, True, "1.5", None, [1], float("nan"), float("inf"), 10**400)
] + [
    {"offset": -0.1},
    {"offset": True},
    {"offset": None},
    {"offset": float("nan")},
    {"text": ""},
    {"text": " \t"},
    {"text": None},
    {"text": 7},
    {"text": "a\0b"},
    {"text": "a\ud800b"},
    {"speaker": ""},
    {"speaker": 3},
    {"lang": []},
    {"id": ""},
    {"id": 5},
    {"id": "two\nlines"},
    {"audio_filepath": ""},
    {"audio_filepath": 1},
    {"audio_filepath": "a\0.wav"},
    {"audio_filepath": None},
    {"features_filepath": "a.npy"},
    {"label": "x"},
]


@pytest.mark.parametrize("wrong", BAD_VALUES, ids=lambda wrong: str(wrong)[:40])
def test_a_wrong_value_is_refused_by_file_and_line(tmp_path, wrong):
    path = written(tmp_path, {**GOOD, "id": "first"}, {**GOOD, **wrong})
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["audio_filepath", "duration", "text"])
def test_a_missing_key_is_refused(tmp_path, key):
    entry = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(ManifestError, match=f"m.jsonl:1: .*{key}"):
        read_manifest(written(tmp_path, entry))


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"7",
        b"null",
        b"x",
        b"{} {}",
        b"\xff\xfe{}",
        b'{"text": "\0"}',
        b'{"duration": NaN}',
        b"[" * 100000,
        b'{"duration": ' + b"9" * 5000 + b"}",
        json.dumps(GOOD).encode() * 2,
    ],
    ids=range(12),
)
def test_what_is_not_json_is_refused_by_file_and_line(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_bytes(json.dumps({**GOOD, "id": "first"}).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(ManifestError, match=r"m\.jsonl:3: "):
        read_manifest(path)


def test_a_duplicate_id_names_both_lines(tmp_path):
    with pytest.raises(ManifestError, match=r"m\.jsonl:3: id 'a' is already on line 1"):
        read_manifest(written(tmp_path, GOOD, {**GOOD, "id": "b"}, GOOD))


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_manifest_is_refused(tmp_path, content):
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(ManifestError, match="empty"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"no\.jsonl: cannot be read"):
        read_utterances(tmp_path / "no.jsonl")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path)


def test_empty_text_is_read_where_it_is_allowed(tmp_path):
    without = {name: value for name, value in GOOD.items() if name != "text"}
    for entry in ({**GOOD, "text": ""}, without):
        path = written(tmp_path, entry)
        assert read_manifest(path, allow_empty_text=True)[0].text == ""
        with pytest.raises(ManifestError, match=r"m\.jsonl:1: text: expected text"):
            read_manifest(path)
    with pytest.raises(ManifestError, match="text"):
        read_manifest(written(tmp_path, {**GOOD, "text": None}), allow_empty_text=True)


def test_offset_with_features_is_refused(tmp_path):
    entry = {"features_filepath": "a.npy", "duration": 1, "text": "x", "offset": 0.5}
    with pytest.raises(ManifestError, match="offset"):
        read_manifest(written(tmp_path, entry))


def test_a_kaldi_folder_is_read_as_one(tmp_path):
    for name, line in {"wav.scp": "u a.wav", "text": "u HI", "utt2dur": "u 1.5"}.items():
        (tmp_path / name).write_text(line + "\n")
    assert read_utterances(tmp_path) == [Utterance(id="u", text="HI", duration=1.5, audio=tmp_path / "a.wav")]


@pytest.mark.nightly
def test_a_million_lines_take_a_few_times_what_their_json_takes(tmp_path):
    """Ten seconds on a machine that parses a million such lines in two; what others use of it falls on both."""
    path = tmp_path / "m.jsonl"
    with path.open("w") as file:
        for index in range(10**6):
            file.write(json.dumps({**GOOD, "id": f"u{index}", "speaker": "s", "lang": "en"}) + "\n")
    # A process of its own: here, every type is checked.
    program = "import json, sys, time; from pathlib import Path; from seq2seq_asr.data.manifest import read_manifest; "
    program += "start = time.process_time(); count = len(read_manifest(Path(sys.argv[1]))); "
    program += "ours = time.process_time() - start; start = time.process_time(); "
    program += "[json.loads(line) for line in open(sys.argv[1], 'rb')]; print(count, ours, time.process_time() - start)"
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    count, ours, bare = done.stdout.split()
    assert int(count) == 10**6 and float(ours) < 5 * float(bare), done.stdout


def test_the_manifests_of_the_shared_data_are_read(unchecked):
    shared = Path(__file__).parents[3] / "shared/data"
    manifests = [path for path in shared.glob("*/*.jsonl") if path.parent.name != "noise"]
    for path in manifests:
        assert all(source.is_file() for u in read_manifest(path)[:3] if (source := u.audio or u.features))
