from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.corpora import spoken, spoken_voices
from seq2seq_asr.data.corpora.spoken import SpokenConfig, cache_folder, make_spoken
from seq2seq_asr.data.corpora.spoken_voices import ACCENTS, VOICES, _in_noise, _noise, takes
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.errors import AsrError, UsageError

TINY = SpokenConfig(train=8, dev=3, test=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def made(folder) -> dict[str, Path]:
    return make_spoken(TINY, folder, workers=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bytes_do_not_depend_on_the_number_of_workers(made, tmp_path) -> None:
    alone = make_spoken(TINY, tmp_path, workers=1)
    assert contents(alone["train"].parent) == contents(made["train"].parent)
    assert len(contents(alone["train"].parent)) == 8 + 3 + 4 + 3


def test_manifests_describe_16_khz_flac(made) -> None:
    for split, path in made.items():
        utterances = read_manifest(path)
        assert len(utterances) == getattr(TINY, split)
        for utterance in utterances:
            assert utterance.audio is not None and utterance.audio.is_relative_to(path.parent)
            info = soundfile.info(utterance.audio)
            assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16000, 1)
            assert utterance.duration == info.frames / 16000
            assert 0.5 < utterance.duration < 8
            assert utterance.speaker in VOICES[split] and utterance.lang == "en"


def test_levels_are_those_of_speech(made) -> None:
    for path in made.values():
        for utterance in read_manifest(path):
            samples, _ = soundfile.read(utterance.audio)
            assert np.abs(samples).max() < 0.91
            assert -34 < 10 * np.log10(np.mean(samples**2)) < -15


def test_sentences_and_voices_are_disjoint(made) -> None:
    utterances = {split: read_manifest(path) for split, path in made.items()}
    for one, other in [("train", "dev"), ("train", "test"), ("dev", "test")]:
        assert not {u.text for u in utterances[one]} & {u.text for u in utterances[other]}
        assert not set(VOICES[one]) & set(VOICES[other])
    assert len(VOICES["train"]) >= 18 and len(VOICES["dev"]) >= 6 and len(VOICES["test"]) >= 6


def test_voices_and_accents_are_used_evenly() -> None:
    cast = list(takes("test", ["hello"] * 640, language="en", seed=0, snr=(15.0, 35.0)))
    pairs = [(take.speaker, take.accent) for take in cast]
    assert {pairs.count(pair) for pair in pairs} == {10}
    assert len(set(pairs)) == len(VOICES["test"]) * len(ACCENTS["en"])
    assert len({take.id for take in cast}) == len({take.seed for take in cast}) == 640


def test_a_complete_corpus_is_used_again(made, folder, monkeypatch) -> None:
    def fail(*_) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(spoken, "_make", fail)
    assert make_spoken(TINY, folder) == made


def test_each_setting_has_its_own_folder() -> None:
    changes: list[dict[str, Any]] = [{}, {"seed": 1}, {"train": 9}, {"language": "de"}, {"snr_min": 9.0}]
    assert len({spoken._name(replace(TINY, **change)) for change in changes}) == len(changes)


@pytest.mark.parametrize("language", ["de", "nl"])
def test_other_languages(language, tmp_path) -> None:
    config = SpokenConfig(train=2, dev=1, test=1, language=language)
    train = read_manifest(make_spoken(config, tmp_path, workers=1)["train"])
    assert {utterance.lang for utterance in train} == {language}


def test_progress_counts_up(tmp_path) -> None:
    seen: list[tuple[int, int]] = []
    config = SpokenConfig(train=3, dev=1, test=1)
    make_spoken(config, tmp_path, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, AsrError])
def test_interruption_leaves_nothing(error, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise error

    with pytest.raises(error):
        make_spoken(replace(TINY, train=40), tmp_path, workers=2, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_take_is_an_error_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(spoken_voices.ACCENTS, "en", ("xx-nowhere",))
    with pytest.raises(AsrError, match="no voice"):
        make_spoken(TINY, tmp_path, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_do_not_hurt_each_other(made, tmp_path) -> None:
    inside = None

    def make_another(done: int, total: int) -> None:
        nonlocal inside
        if done == 1:
            inside = make_spoken(TINY, tmp_path, workers=1)

    outside = make_spoken(TINY, tmp_path, workers=1, progress=make_another)
    assert inside == outside
    assert [path.name for path in tmp_path.iterdir()] == [outside["train"].parent.name]
    assert contents(outside["train"].parent) == contents(made["train"].parent)


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AsrError, match="cannot make the spoken corpus"):
        make_spoken(TINY, tmp_path / "file")


def test_noise_has_the_asked_ratio_and_colour() -> None:
    generator = np.random.default_rng(0)
    for slope in (0.0, 1.0, 2.0):
        noise = _noise(160000, generator, slope=slope)
        power = np.abs(np.fft.rfft(noise.astype(np.float64))) ** 2
        low, high = power[5000:10000].mean(), power[40000:80000].mean()  # 500-1000 Hz and 4-8 kHz: three octaves
        assert np.isclose(np.mean(noise**2), 1, atol=1e-3)
        assert np.isclose(10 * np.log10(low / high), 3 * slope * 10 * np.log10(2), atol=0.6)
    tone = np.sin(np.arange(64000) * 0.3).astype(np.float32)
    recording = _in_noise(tone, generator, (20.0, 20.0)).astype(np.float64)
    start = recording[:700]  # the pause before is 50 ms or more: nothing but noise
    speech = np.sqrt(np.mean(recording[8000:56000] ** 2))
    assert np.abs(start).max() > 0
    assert 15 < 20 * np.log10(speech / np.sqrt(np.mean(start**2))) < 27


@pytest.mark.parametrize(("field", "value"), [("train", 0), ("dev", -1), ("test", 0), ("seed", -1), ("snr_min", 40.0)])
def test_bad_settings_are_named(field, value) -> None:
    with pytest.raises(UsageError, match=field):
        SpokenConfig(**{field: value})


def test_cache_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SEQ2SEQ_ASR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SEQ2SEQ_ASR_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "seq2seq_asr"
