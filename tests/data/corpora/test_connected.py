"""Connected words: one speaker a string, balanced, repeatable, and whole or not there."""

import json
import os
import time
from collections import Counter

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.audio import read_audio
from seq2seq_asr.data.corpora import connected
from seq2seq_asr.data.corpora.connected import ConnectedConfig, String, join, make_connected, plan
from seq2seq_asr.data.loading import ConnectConfig, DataConfig, read_split
from seq2seq_asr.data.manifest import read_manifest, write_manifest
from seq2seq_asr.data.splits import resolve_split
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, ManifestError, UsageError

WORDS = ("eins", "zwei", "drei")


@pytest.fixture
def source(tmp_path):
    """Three words of two speakers, each a tone burst of its own pitch with quiet around it, at 8 kHz."""
    utterances = []
    for speaker, (index, word) in [(s, w) for s in ("anna", "bert") for w in enumerate(WORDS)]:
        burst = 0.5 * np.sin(2 * np.pi * 300 * (index + 1) * np.arange(1600) / 8000)
        path = tmp_path / f"words/{speaker}_{word}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.concatenate([np.zeros(800), burst, np.zeros(800)]), 8000)
        lang = "nl" if word == "drei" else "de"
        utterances.append(Utterance(id=path.stem, text=word, duration=0.4, audio=path, speaker=speaker, lang=lang))
    write_manifest(tmp_path / "words/m.jsonl", utterances)
    return tmp_path / "words/m.jsonl"


def made(config, folder):
    return read_manifest(make_connected(config, folder))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_strings_are_words_of_one_speaker_joined_by_pauses(source, tmp_path):
    words = {(u.speaker, u.text): read_audio(u.audio) for u in read_manifest(source)}
    config = ConnectedConfig(source=source, count=12, trim=0.0)
    for utterance, string in zip(made(config, tmp_path / "out"), plan(config, read_manifest(source)), strict=True):
        parts = utterance.text.split()
        assert {word.speaker for word in string.words} == {utterance.speaker}
        assert 2 <= len(parts) <= 6
        assert soundfile.info(utterance.audio).samplerate == 16000
        samples, position = read_audio(utterance.audio, duration=utterance.duration), 0
        for part, pause in zip(parts, [*string.pauses, None], strict=True):
            word = words[utterance.speaker, part]
            assert np.abs(samples[position : position + len(word)] - word).max() < 3e-3
            position += len(word)
            if pause is not None:
                assert 0.05 <= pause <= 0.3
                quiet = samples[position : position + round(pause * 16000)]
                assert 0 < np.sqrt(np.mean(quiet**2)) < 1e-3
                assert np.abs(quiet).max() > 0
                position += len(quiet)
        assert position == len(samples) == round(utterance.duration * 16000)


def test_language_is_kept_where_the_words_share_it(source, tmp_path):
    for utterance in made(ConnectedConfig(source=source, count=20), tmp_path / "out"):
        expected = {"nl" if word == "drei" else "de" for word in utterance.text.split()}
        assert utterance.lang == (expected.pop() if len(expected) == 1 else None)


def test_speakers_words_and_lengths_are_balanced(source):
    config = ConnectedConfig(source=source, count=100, min_words=1, max_words=4)
    strings = plan(config, read_manifest(source))
    assert set(Counter(string.words[0].speaker for string in strings).values()) == {50}
    for speaker in ("anna", "bert"):
        own = [string for string in strings if string.words[0].speaker == speaker]
        for counts in (
            Counter(len(string.words) for string in own),
            Counter(word.text for string in own for word in string.words),
        ):
            assert len(counts) in (3, 4)
            assert max(counts.values()) - min(counts.values()) <= 1


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(source, tmp_path):
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        make_connected(ConnectedConfig(source=source, count=5, seed=seed), tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a").keys() == contents(tmp_path / "c").keys()
    assert contents(tmp_path / "a")["000000.flac"] != contents(tmp_path / "c")["000000.flac"]


def test_trim_follows_its_probability(source):
    words = read_manifest(source)
    for trim in (0.0, 0.3, 1.0):
        strings = plan(ConnectedConfig(source=source, count=500, trim=trim), words)
        cuts = [cut for string in strings for cut in string.trimmed]
        assert np.mean(cuts) == pytest.approx(trim, abs=0.04)


def test_cuts_follow_their_probability_and_take_up_to_55_percent(source):
    words = read_manifest(source)
    for chance in (0.0, 0.3, 1.0):
        strings = plan(ConnectedConfig(source=source, count=500, cut=chance), words)
        cuts = np.array([cut for string in strings for cut in string.cuts])
        assert np.mean(cuts > 0) == pytest.approx(chance, abs=0.04)
        assert cuts.max() <= 0.55
        assert cuts[cuts > 0].mean() == pytest.approx(0.275, abs=0.02) if chance else cuts.max() == 0


@pytest.mark.parametrize(("share", "kept"), [(0.0, 8000), (0.1, 7200), (0.55, 3600)])
def test_a_cut_takes_its_share_of_the_end(share, kept):
    word = np.linspace(0.1, 0.9, 8000, dtype=np.float32)
    joined = join([word], String(0, (), (False,), (share,), ()), np.random.default_rng(0))
    assert len(joined) == kept
    assert np.abs(joined - word[:kept]).max() < 0.01  # the noise floor


def test_join_never_leaves_full_scale():
    loud = np.ones(100, np.float32)
    string = String(0, (), (False, False), (0.0, 0.0), (0.001,))
    joined = join([loud, -loud], string, np.random.default_rng(0))
    assert len(joined) == 216
    assert np.abs(joined).max() <= 1


def test_what_is_made_is_kept_and_what_changed_is_made_again(source, tmp_path):
    out, calls = tmp_path / "out", []

    def make(**changes):
        calls.clear()
        make_connected(ConnectedConfig(source=source, **{"count": 3} | changes), out, lambda *now: calls.append(now))
        return len(read_manifest(out / "manifest.jsonl"))

    assert (make(), calls) == (3, [(1, 3), (2, 3), (3, 3)])
    assert (make(), calls) == (3, [])
    assert (make(count=4), len(calls)) == (4, 4)
    assert (make(count=4, seed=9), len(calls)) == (4, 4)
    write_manifest(source, read_manifest(source)[:4])
    assert (make(count=4, seed=9), len(calls)) == (4, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "words"]


def test_strings_in_use_are_not_replaced_when_their_source_changes(source, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQ2SEQ_ASR_CACHE", str(tmp_path / "cache"))
    config = DataConfig(train=(source,), dev=(source,), connect=ConnectConfig(train=6))
    (first,) = resolve_split("train", config)
    before, words = contents(first.parent), read_manifest(source)
    write_manifest(source, words[:4])
    (second,) = resolve_split("train", config)
    assert second != first and contents(first.parent) == before
    write_manifest(source, words)
    with monkeypatch.context() as patch:
        patch.setattr(connected, "_VERSION", connected._VERSION + 1)
        assert resolve_split("train", config)[0] not in (first, second)
    assert resolve_split("train", config) == (first,) and contents(first.parent) == before


def test_only_the_split_that_is_wanted_is_made(source, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQ2SEQ_ASR_CACHE", str(tmp_path / "cache"))
    config = DataConfig(train=(source,), dev=(source,), connect=ConnectConfig(train=6, dev=3, test=9))
    for split, count in (("dev", 3), ("test", 3), ("train", 6)):
        assert len(read_split(resolve_split(split, config))) == count
        assert len(list((tmp_path / "cache" / "connected").iterdir())) == 1 + (split == "train")


def test_words_may_come_from_a_kaldi_folder(source, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQ2SEQ_ASR_CACHE", str(tmp_path / "cache"))
    words, folder = read_manifest(source), tmp_path / "kaldi"
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(f"{word.id} {word.audio}\n" for word in words))
    (folder / "text").write_text("".join(f"{word.id} {word.text}\n" for word in words))
    speakers = "".join(f"{word.id} {word.speaker}\n" for word in words)
    (folder / "utt2spk").write_text(speakers)
    config = DataConfig(train=(folder,), dev=(folder,), connect=ConnectConfig(train=6))
    (first,) = resolve_split("train", config)
    assert {one.speaker for one in read_manifest(first)} == {"anna", "bert"}
    (folder / "utt2spk").write_text(speakers.replace(" bert", " carl"))
    (second,) = resolve_split("train", config)
    assert {one.speaker for one in read_manifest(second)} == {"anna", "carl"}


def test_an_interrupted_making_leaves_nothing_or_the_old(source, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_connected(ConnectedConfig(source=source, count=3), tmp_path / "out", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["words"]
    make_connected(ConnectedConfig(source=source, count=3), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        make_connected(ConnectedConfig(source=source, count=4), tmp_path / "out", stop)
    assert contents(tmp_path / "out") == before


def test_what_a_killed_making_has_left_goes_once_nobody_can_be_writing_it(source, tmp_path):
    old, new = tmp_path / ".out.0a1b2c.partial", tmp_path / ".out.3d4e5f.partial"
    for folder, age in ((old, 7200), (new, 60)):
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    make_connected(ConnectedConfig(source=source, count=3), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "out", "words"]


def test_a_folder_being_made_for_hours_is_left_alone(source, tmp_path):
    """Its own time stands still while files are written below it."""
    config, partial = ConnectedConfig(source=source, count=3), []

    def hours_later(done, total):
        if done == 1:
            partial.extend(tmp_path.glob(".out.*.partial"))
            os.utime(partial[0], (time.time() - 7200,) * 2)
            make_connected(config, tmp_path / "out")
            assert partial[0].is_dir()

    assert len(read_manifest(make_connected(config, tmp_path / "out", hours_later))) == 3
    assert len(partial) == 1 and sorted(path.name for path in tmp_path.iterdir()) == ["out", "words"]


def test_work_that_another_process_finished_at_the_same_time_is_kept(source, tmp_path, monkeypatch):
    config = ConnectedConfig(source=source, count=3)
    other, rename = make_connected(config, tmp_path / "other").parent, os.rename

    def race(partial, folder):
        rename(other, folder)
        rename(partial, folder)

    monkeypatch.setattr(connected.os, "rename", race)
    assert len(read_manifest(make_connected(config, tmp_path / "out"))) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "words"]


def test_work_that_another_process_finished_first_is_kept(source, tmp_path):
    config = ConnectedConfig(source=source, count=3)

    def race(done, total):
        if done == total:
            make_connected_elsewhere()

    def make_connected_elsewhere():
        other = make_connected(config, tmp_path / "other").parent
        other.rename(tmp_path / "out")

    assert len(read_manifest(make_connected(config, tmp_path / "out", race))) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "words"]


@pytest.mark.parametrize("name", ["thesis.txt", "connected.json"])
def test_a_folder_of_something_else_is_left_alone(source, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(UsageError, match="something else"):
        make_connected(ConnectedConfig(source=source, count=2), tmp_path / "out")
    assert contents(tmp_path / "out") == {name: b"{}"}


def test_an_empty_folder_is_used_and_missing_parents_are_made(source, tmp_path):
    (tmp_path / "out").mkdir()
    make_connected(ConnectedConfig(source=source, count=1), tmp_path / "out")
    assert make_connected(ConnectedConfig(source=source, count=1), tmp_path / "a/b/c").is_file()


def test_words_without_speaker_or_audio_and_missing_sources_are_told(source, tmp_path):
    for entry in ({"audio_filepath": "a.wav"}, {"features_filepath": "a.npy", "speaker": "s"}):
        source.write_text(json.dumps({"id": "w", "duration": 1, "text": "x"} | entry))
        with pytest.raises(ManifestError, match="w has no"):
            make_connected(ConnectedConfig(source=source, count=1), tmp_path / "out")
    with pytest.raises(ManifestError, match="cannot be read"):
        make_connected(ConnectedConfig(source=tmp_path / "no.jsonl", count=1), tmp_path / "out")


def test_a_place_that_cannot_be_written_is_told(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AsrError, match="cannot be written"):
        make_connected(ConnectedConfig(source=source, count=1), tmp_path / "file/out")


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"min_words": 0},
        {"min_words": 7},
        {"max_pause": 0.01},
        {"min_pause": float("nan")},
        {"trim": 2.0},
        {"seed": -1},
    ],
    ids=str,
)
def test_unusable_settings_are_named(source, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        ConnectedConfig(source=source, **wrong)


def test_the_plan_reads_no_audio(source, monkeypatch):
    monkeypatch.setattr(connected, "read_audio", None)
    assert len(plan(ConnectedConfig(source=source, count=10), read_manifest(source))) == 10
