"""Every corpus, on a tiny folder of its real layout: splits, texts, speakers, lengths, and flaws told by name."""

import itertools
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.audio import read_audio
from seq2seq_asr.data.corpora import aishell1, an4, commonvoice, fsdd, librispeech, speech_commands, timit
from seq2seq_asr.data.corpora.common import Entry, write_splits
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.errors import AudioError, ManifestError, UsageError

MODULES = [aishell1, an4, commonvoice, fsdd, librispeech, speech_commands, timit]
SECONDS = 0.25


def record(path: Path, rate=16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.linspace(-0.5, 0.5, round(SECONDS * rate)), rate)


def record_sphere(path: Path) -> None:
    """A NIST sphere file, header by hand, 16-bit big-endian as AN4 has it."""
    samples = np.linspace(-16000, 16000, round(SECONDS * 16000)).astype(">i2")
    fields = [
        "NIST_1A",
        "   1024",
        f"sample_count -i {len(samples)}",
        "sample_n_bytes -i 2",
        "channel_count -i 1",
        "sample_byte_format -s2 10",
        "sample_rate -i 16000",
        "sample_coding -s3 pcm",
        "end_head",
        "",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(fields).encode().ljust(1024) + samples.tobytes())


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def prepared(module, raw: Path, out: Path) -> dict[str, list[tuple[str, str, str | None, str | None]]]:
    """What the manifests say, by split: id, text, speaker, language."""
    splits = {split: read_manifest(path) for split, path in module.prepare(raw, out).items()}
    for utterance in itertools.chain.from_iterable(splits.values()):
        assert utterance.duration == pytest.approx(SECONDS, abs=0.001)
        assert utterance.audio is not None
        assert len(read_audio(utterance.audio, duration=utterance.duration)) == pytest.approx(4000, abs=16)
    return {split: [(u.id, u.text, u.speaker, u.lang) for u in utterances] for split, utterances in splits.items()}


@pytest.mark.parametrize("top", ["LibriSpeech", "."])
def test_librispeech(tmp_path, top):
    for split, name in [("dev-clean", "84-121123"), ("test-other", "7-99")]:
        chapter = tmp_path / "raw" / top / split / name.replace("-", "/")
        write(chapter / f"{name}.trans.txt", f"{name}-0000 GO DO YOU HEAR", f"{name}-0001 BUT IN LESS")
        for index in range(2):
            record(chapter / f"{name}-000{index}.flac")
    assert prepared(librispeech, tmp_path / "raw", tmp_path / "out") == {
        "dev-clean": [
            ("84-121123-0000", "GO DO YOU HEAR", "84", "en"),
            ("84-121123-0001", "BUT IN LESS", "84", "en"),
        ],
        "test-other": [("7-99-0000", "GO DO YOU HEAR", "7", "en"), ("7-99-0001", "BUT IN LESS", "7", "en")],
    }


def an4_folder(raw: Path) -> None:
    write(raw / "an4/etc/an4_train.fileids", "an4_clstk/fash/an251-fash-b", "an4_clstk/fbbh/an86-fbbh-b")
    write(raw / "an4/etc/an4_train.transcription", "<s> YES </s> (an251-fash-b)", "<s> C Z D </s> (an86-fbbh-b)")
    write(raw / "an4/etc/an4_test.fileids", "an4test_clstk/fcaw/an406-fcaw-b")
    write(raw / "an4/etc/an4_test.transcription", "RUBOUT G M (an406-fcaw-b)")
    record_sphere(raw / "an4/wav/an4_clstk/fash/an251-fash-b.sph")
    record(raw / "an4/wav/an4_clstk/fbbh/an86-fbbh-b.wav")
    record(raw / "an4/wav/an4test_clstk/fcaw/an406-fcaw-b.flac")


def test_an4(tmp_path):
    an4_folder(tmp_path)
    assert prepared(an4, tmp_path, tmp_path / "out") == {
        "train": [("an251-fash-b", "YES", "fash", "en"), ("an86-fbbh-b", "C Z D", "fbbh", "en")],
        "test": [("an406-fcaw-b", "RUBOUT G M", "fcaw", "en")],
    }


def test_sphere_samples_are_read_in_their_byte_order(tmp_path):
    record_sphere(tmp_path / "a.sph")
    expected = np.linspace(-16000, 16000, 4000).astype(np.int16) / 32768
    assert np.abs(read_audio(tmp_path / "a.sph") - expected).max() < 1e-4


@pytest.mark.parametrize("line", ["<s> YES </s>", "<s> </s> (an251-fash-b)", "(an251-fash-b)"])
def test_an4_flaws(tmp_path, line):
    an4_folder(tmp_path)
    write(tmp_path / "an4/etc/an4_train.transcription", "<s> C Z D </s> (an86-fbbh-b)", line)
    with pytest.raises(ManifestError, match=r"an4_train\.transcription:2: "):
        an4.prepare(tmp_path, tmp_path / "out")
    write(tmp_path / "an4/etc/an4_train.transcription", "<s> C Z D </s> (an86-fbbh-b)")
    with pytest.raises(ManifestError, match=r"an4_train\.fileids:1: "):
        an4.prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fsdd_splits_by_take(tmp_path):
    for digit, take in itertools.product([0, 7], range(3, 7)):
        record(tmp_path / f"recordings/{digit}_jackson_{take}.wav", rate=8000)
    splits = prepared(fsdd, tmp_path, tmp_path / "out")
    assert splits["test"] == [
        (f"{digit}_jackson_{take}", word, "jackson", "en")
        for digit, word in [(0, "zero"), (7, "seven")]
        for take in (3, 4)
    ]
    assert {name for name, *_ in splits["train"]} == {f"{d}_jackson_{t}" for d in (0, 7) for t in (5, 6)}
    record(tmp_path / "recordings/ten_jackson_1.wav")
    with pytest.raises(ManifestError, match="ten_jackson_1"):
        fsdd.prepare(tmp_path, tmp_path / "out")


def speech_commands_folder(raw: Path) -> None:
    for word, speaker in itertools.product(["bed", "bird"], ["0a", "1b", "2c"]):
        record(raw / f"{word}/{speaker}_nohash_0.wav")
    record(raw / "_background_noise_/pink_noise.wav")
    write(raw / "validation_list.txt", "bed/1b_nohash_0.wav", "bird/1b_nohash_0.wav")
    write(raw / "testing_list.txt", "bed/2c_nohash_0.wav")


def test_speech_commands(tmp_path):
    speech_commands_folder(tmp_path)
    assert prepared(speech_commands, tmp_path, tmp_path / "out") == {
        "train": [
            ("bed-0a_nohash_0", "bed", "0a", "en"),
            ("bird-0a_nohash_0", "bird", "0a", "en"),
            ("bird-2c_nohash_0", "bird", "2c", "en"),
        ],
        "dev": [("bed-1b_nohash_0", "bed", "1b", "en"), ("bird-1b_nohash_0", "bird", "1b", "en")],
        "test": [("bed-2c_nohash_0", "bed", "2c", "en")],
    }
    write(tmp_path / "testing_list.txt", "bed/2c_nohash_0.wav", "bed/9z_nohash_0.wav")
    with pytest.raises(ManifestError, match=r"testing_list\.txt:2: "):
        speech_commands.prepare(tmp_path, tmp_path / "out")


def test_aishell1_joins_characters_and_leaves_out_what_has_no_transcript(tmp_path, capsys):
    root = tmp_path / "data_aishell"
    for split, speaker in [("train", "S0002"), ("dev", "S0724"), ("test", "S0764")]:
        record(root / f"wav/{split}/{speaker}/BAC009{speaker}W0122.wav")
    record(root / "wav/train/S0002/BAC009S0002W0999.wav")
    write(
        root / "transcript/aishell_transcript_v0.8.txt",
        *(f"BAC009{speaker}W0122 而 对  楼市" for speaker in ("S0002", "S0724", "S0764", "S0001")),
    )
    splits = prepared(aishell1, tmp_path, tmp_path / "out")
    assert splits["train"] == [("BAC009S0002W0122", "而对楼市", "S0002", "zh")]
    assert [len(splits[split]) for split in ("dev", "test")] == [1, 1]
    assert "train: 1 recordings without a transcript" in capsys.readouterr().err


def timit_folder(root: Path, upper: bool) -> None:
    """One speaker of each part, each with an SA and an SI sentence, and one of the test part in neither set."""
    for part, speaker in [("train", "fcjf0"), ("test", "faks0"), ("test", "felc0"), ("test", "mxxx0")]:
        for sentence in ("sa1", "si1027"):
            names = [f"{part}/dr1/{speaker}/{sentence}.{suffix}" for suffix in ("wav", "phn")]
            wav, phn = (root / (name.upper() if upper else name) for name in names)
            record_sphere(wav)
            write(phn, "0 10 h#", "10 20 pcl", "20 30 ix", "30 40 q", "40 50 nx", "50 60 n", "60 70 h#")


@pytest.mark.parametrize("upper", [True, False])
def test_timit(tmp_path, upper):
    timit_folder(tmp_path / "TIMIT", upper)
    assert prepared(timit, tmp_path, tmp_path / "out") == {
        split: [(f"{speaker}_si1027", "sil ih n n sil", speaker, "en")]
        for split, speaker in [("train", "fcjf0"), ("dev", "faks0"), ("test", "felc0")]
    }


def test_timit_flaws(tmp_path):
    timit_folder(tmp_path / "TIMIT", upper=True)
    phones = tmp_path / "TIMIT/TRAIN/DR1/FCJF0/SI1027.PHN"
    write(phones, "0 10 h#", "10 20 xx")
    with pytest.raises(ManifestError, match=r"SI1027\.PHN:2: "):
        timit.prepare(tmp_path, tmp_path / "out")
    phones.with_suffix(".WAV").unlink()
    with pytest.raises(ManifestError, match=r"SI1027\.PHN.*no recording"):
        timit.prepare(tmp_path, tmp_path / "out")


def test_timit_tables_have_the_published_sizes():
    assert len(timit.FOLDING) == 61
    assert len(set(timit.FOLDING.values()) - {None}) == 39
    assert all(timit.FOLDING[target] == target for target in timit.FOLDING.values() if target not in (None, "sil"))
    assert len(timit.CORE_TEST) == 24
    assert sum(name.startswith("f") for name in timit.CORE_TEST) == 8
    assert len(timit.DEVELOPMENT) == 50
    assert not timit.CORE_TEST & timit.DEVELOPMENT


def commonvoice_folder(raw: Path, *rows: str) -> None:
    header = "client_id\tpath\tsentence\tup_votes\tlocale"
    for split in ("train", "dev", "test"):
        write(
            raw / f"{split}.tsv",
            header,
            f'ann\t{split}_1.mp3\tHij zei "ja".\t2\tnl',
            *(rows if split == "train" else ()),
        )
        record(raw / f"clips/{split}_1.mp3")


def test_commonvoice(tmp_path):
    record(tmp_path / "clips/old.mp3")
    commonvoice_folder(tmp_path, "bob\told\tgoed zo\t0\tnl")
    assert prepared(commonvoice, tmp_path, tmp_path / "out") == {
        "train": [("train_1", 'Hij zei "ja".', "ann", "nl"), ("old", "goed zo", "bob", "nl")],
        "dev": [("dev_1", 'Hij zei "ja".', "ann", "nl")],
        "test": [("test_1", 'Hij zei "ja".', "ann", "nl")],
    }


def test_commonvoice_goes_on_without_empty_clips_and_sentences(tmp_path, capsys):
    for name in ("quoted", "blank", "last"):
        record(tmp_path / f"clips/{name}.mp3")
    (tmp_path / "clips/hollow.mp3").touch()
    names = ["quoted", "blank", "hollow", "missing", "last"]
    texts = ['""', " ", "goed", "goed", "goed zo"]
    rows = [f"bob\t{name}.mp3\t{text}\t0\tnl" for name, text in zip(names, texts, strict=True)]
    commonvoice_folder(tmp_path, *rows)
    read = prepared(commonvoice, tmp_path, tmp_path / "out")
    assert [name for name, *_ in read["train"]] == ["train_1", "last"] and len(read["dev"]) == len(read["test"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all(line.startswith("train: 2 left out: ") for line in told)
    assert "train.tsv:3: no words in '\"\"', train.tsv:4: no words in ''" in told[0]
    assert "hollow.mp3: cannot be read as audio: the file is empty" in told[1] and "missing.mp3: " in told[1]


def test_a_corpus_without_its_clips_is_refused(tmp_path):
    commonvoice_folder(tmp_path)
    for clip in (tmp_path / "clips").iterdir():
        clip.unlink()
    with pytest.raises(AudioError, match=r"train_1\.mp3: cannot be read"):
        commonvoice.prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("row", ["bob\ta.mp3\tgoed", "bob\ta.mp3\tgoed\t0\t", "bob\t\tgoed\t0\tnl"])
def test_commonvoice_flaws(tmp_path, row):
    commonvoice_folder(tmp_path, row)
    with pytest.raises(ManifestError, match=r"train\.tsv:3: "):
        commonvoice.prepare(tmp_path, tmp_path / "out")
    write(tmp_path / "train.tsv", "client_id\tpath\tsentence")
    with pytest.raises(ManifestError, match=r"train\.tsv:1: no column locale"):
        commonvoice.prepare(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rsplit(".")[-1])
def test_a_folder_that_is_not_the_corpus_is_told(tmp_path, module):
    with pytest.raises(ManifestError, match="expected"):
        module.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="raw"):
        module.prepare(tmp_path / "missing", tmp_path / "out")


def test_a_missing_recording_is_told_and_nothing_is_written(tmp_path):
    an4_folder(tmp_path)
    (tmp_path / "an4/wav/an4test_clstk/fcaw/an406-fcaw-b.flac").unlink()
    with pytest.raises(AudioError, match="an406-fcaw-b"):
        an4.prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_told_before_any_recording_is_read(tmp_path):
    (tmp_path / "file").touch()
    entry = Entry("a", "x", tmp_path / "missing.wav", "s", "en")
    for out in (tmp_path / "file", tmp_path / "file/out", Path("/proc/out"), tmp_path / ("n" * 300)):
        with pytest.raises(ManifestError, match=rf"^{re.escape(str(out))}: cannot be written \([^\n]+\)$"):
            write_splits(out, {"train": [entry]})
    with pytest.raises(AudioError, match="missing"):
        write_splits(tmp_path / "a/b/c", {"train": [entry]})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_fills_up_is_told(tmp_path):
    record(tmp_path / "a.wav")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))  # bytes a file may have
    try:
        with pytest.raises(ManifestError, match=r"train\.jsonl: cannot be written \([^\n]+\)$"):
            write_splits(tmp_path / "out", {"train": [Entry("a", "x", tmp_path / "a.wav", "s", "en")]})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "out").iterdir()) == []


def test_duplicate_ids_and_empty_corpora_are_told(tmp_path):
    entry = Entry("a", "x", tmp_path / "a.wav", "s", "en")
    with pytest.raises(ManifestError, match="same id 'a'"):
        write_splits(tmp_path / "out", {"train": [entry, entry]})
    with pytest.raises(ManifestError, match="no utterances"):
        write_splits(tmp_path / "out", {"train": []})
