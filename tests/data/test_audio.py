"""Reading: what arrives is mono, finite, complete and at the rate asked for; everything else is a named error."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.data.audio import audio_duration, check_length, read_audio, read_features, resample
from seq2seq_asr.data.long_audio import FileRecording
from seq2seq_asr.errors import AudioError

FORMATS = {"wav": 1e-4, "flac": 1e-4, "ogg": 0.2, "mp3": 0.2}


def tone(seconds=1.0, rate=16000, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds=1.0, rate=16000):
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)


def written(path: Path, samples, rate=16000, **options) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_reads_as_mono_float32_of_full_length(tmp_path, suffix):
    samples = tone(2.0)
    read = read_audio(written(tmp_path / f"a.{suffix}", samples))
    assert read.dtype == np.float32
    assert read.shape == samples.shape
    assert np.abs(read - samples).max() < FORMATS[suffix]


def test_opus_reads(tmp_path):
    path = written(tmp_path / "a.ogg", tone(2.0), format="OGG", subtype="OPUS")
    assert len(read_audio(path, duration=2.0)) == 32000


def test_channels_are_averaged(tmp_path):
    left, right = tone(frequency=300), noise()
    path = written(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    assert np.allclose(read_audio(path), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_part_is_the_slice_of_the_whole(tmp_path, suffix):
    path = written(tmp_path / f"a.{suffix}", noise(2.0))
    whole = read_audio(path)
    part = read_audio(path, offset=0.5, duration=0.75)
    assert len(part) == 12000
    assert np.allclose(part, whole[8000:20000], atol=2e-3)
    assert np.array_equal(read_audio(path, offset=0.5)[:12000], part)


UNSEEKABLE = [("wav", "GSM610"), ("wav", "NMS_ADPCM_24"), ("wav", "G721_32"), ("au", "G723_24"), ("aiff", "GSM610")]
"""Codecs of telephony in which libsndfile cannot seek."""


@pytest.mark.parametrize(("suffix", "codec"), UNSEEKABLE)
def test_codecs_that_cannot_seek_are_read_whole_and_in_parts(tmp_path, suffix, codec):
    path = written(tmp_path / f"a.{suffix}", tone(2.0, 8000), 8000, subtype=codec)
    assert not soundfile.SoundFile(path).seekable()
    whole = read_audio(path, rate=8000)
    assert len(whole) == round(8000 * audio_duration(path)) >= 16000
    assert np.corrcoef(whole[:16000], tone(2.0, 8000))[0, 1] > 0.95
    assert np.array_equal(read_audio(path, rate=8000, offset=0.5, duration=0.75), whole[4000:10000])
    found = list(FileRecording(path, offset=0.5).blocks(iter([3000, 2500, 99999])))
    assert [len(block) for block in found] == [3000, 2500, len(whole) - 4000 - 5500]
    assert np.array_equal(np.concatenate(found)[:, 0], whole[4000:])


@pytest.mark.parametrize(
    ("rate", "options"),
    [
        (16000, {"bitrate_mode": "VARIABLE", "compression_level": 0.95}),
        (48000, {"bitrate_mode": "VARIABLE", "compression_level": 0.5}),
    ],
)
def test_a_part_of_an_mp3_begins_undamaged(tmp_path, rate, options):
    samples = noise(4.0, rate) * np.where(np.arange(4 * rate) % rate < 0.6 * rate, 1.0, 0.01)
    path = written(tmp_path / "a.mp3", samples, rate, **options)
    whole = read_audio(path, rate=rate)
    for offset in np.arange(0.2, 3.5, 0.15).tolist():
        start = round(offset * rate)
        part = read_audio(path, rate=rate, offset=offset, duration=0.25)
        assert np.abs(part - whole[start : start + len(part)]).max() < 1e-6


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_file_cut_short_is_an_error(tmp_path, suffix, kept):
    path = written(tmp_path / f"a.{suffix}", noise(4.0))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(AudioError, match=str(path)):
        read_audio(path, duration=4.0)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_file_cut_short_is_an_error_without_a_duration_too(tmp_path, suffix):
    path = written(tmp_path / f"a.{suffix}", noise(4.0))
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(AudioError, match="cut short"):
        read_audio(path)


def test_the_error_tells_what_was_expected_and_found(tmp_path):
    path = written(tmp_path / "a.wav", noise(1.0))
    with pytest.raises(AudioError, match=r"a\.wav: cut short: expected 32000 samples .* found 16000"):
        read_audio(path, duration=2.0)
    with pytest.raises(AudioError, match=r"expected 16000 .* from 0\.500 s on, found 8000"):
        read_audio(path, offset=0.5, duration=1.0)


@pytest.mark.parametrize("offset", [1.0, 5.0])
@pytest.mark.parametrize("duration", [None, 0.5])
def test_a_part_after_the_end_is_an_error(tmp_path, offset, duration):
    with pytest.raises(AudioError, match="found 0|no audio"):
        read_audio(written(tmp_path / "a.flac", noise(1.0)), offset=offset, duration=duration)


def test_a_rounded_duration_is_no_cut(tmp_path):
    assert len(read_audio(written(tmp_path / "a.wav", noise(1.0)), duration=1.02)) == 16000


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_written_to_a_pipe_is_no_cut(tmp_path, length):
    path = written(tmp_path / "a.wav", noise(1.0))
    content = bytearray(path.read_bytes())
    content[40:44] = length.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(read_audio(path)) == 16000


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (np.zeros(0), "no audio"),
        (np.zeros(1600), "silent"),
        (np.full(1600, 0.25), "silent"),
        (np.where(np.arange(1600) == 7, np.nan, 0.1), "NaN"),
        (np.where(np.arange(1600) == 7, -np.inf, 0.1), "NaN or inf"),
    ],
)
def test_samples_that_cannot_train_are_an_error(tmp_path, samples, why):
    with pytest.raises(AudioError, match=why):
        read_audio(written(tmp_path / "a.wav", samples, subtype="FLOAT"))


def test_what_is_no_regular_audio_file_is_an_error(tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "empty.flac").touch()
    (tmp_path / "headerless.raw").write_bytes(b"\1\2" * 100)
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for a writer
    for name in ["text.wav", "empty.flac", "headerless.raw", "pipe.wav", "missing.wav", "touch x |", "nul\0.wav"]:
        for read in (read_audio, audio_duration):
            with pytest.raises(AudioError):
                read(tmp_path / name)
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(AudioError, match="not a regular file"):
            read_audio(path)


def test_files_are_closed_even_after_errors(tmp_path):
    good, cut = written(tmp_path / "a.flac", noise()), written(tmp_path / "b.flac", noise())
    cut.write_bytes(cut.read_bytes()[:-1000])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        read_audio(good, offset=0.1)
        audio_duration(good)
        with pytest.raises(AudioError):
            read_audio(cut)
    assert len(os.listdir("/proc/self/fd")) == before


def test_duration_is_told_by_the_header(tmp_path):
    assert audio_duration(written(tmp_path / "a.flac", noise(1.5, 8000), 8000)) == 1.5


@given(st.integers(1, 5000), st.sampled_from([8000, 11025, 11127, 22050, 44100, 48000]), st.sampled_from([8000, 16000]))
def test_resampling_gives_the_exact_length(n, from_rate, to_rate):
    assert len(resample(np.ones(n, np.float32), from_rate, to_rate)) == -(-n * to_rate // from_rate)


@pytest.mark.parametrize("from_rate", [8000, 11025, 11127, 22050, 44100, 48000])
def test_a_tone_resampled_is_the_tone_sampled_at_the_new_rate(from_rate):
    def burst(rate):
        time = np.arange(rate) / rate
        return (np.sin(2 * np.pi * 1000 * time) * np.exp(-(((time - 0.5) / 0.1) ** 2))).astype(np.float32)

    assert np.abs(resample(burst(from_rate), from_rate, 16000) - burst(16000)).max() < 1e-5


def test_resampling_lets_no_alias_through_and_keeps_the_level():
    high = resample(tone(1.0, 48000, frequency=12000), 48000, 16000)
    assert np.abs(high[1000:-1000]).max() < 1e-3
    constant = resample(np.full(20000, 0.5, np.float32), 44100, 16000)
    assert np.abs(constant[1000:-1000] - 0.5).max() < 1e-3


def test_reading_resamples(tmp_path):
    path = written(tmp_path / "a.wav", tone(1.0, 44100, 440.0), 44100, subtype="FLOAT")
    assert np.abs(read_audio(path) - tone(1.0))[500:-500].max() < 1e-2
    assert len(read_audio(path, offset=0.25, duration=0.5)) == 8000


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_read_as_float32(tmp_path, dtype):
    features = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "a.npy", features)
    read = read_features(tmp_path / "a.npy", dim=3)
    assert read.dtype == np.float32
    assert np.array_equal(read, features)


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((4, 2), np.float32),
        np.zeros((4, 3), np.int16),
        np.zeros(3, np.float32),
        np.zeros((0, 3), np.float32),
        np.full((4, 3), np.nan, np.float32),
        np.full((4, 3), np.inf),
        np.full((4, 3), 1e300),
        np.array([[{}, 1.0, 2.0]], dtype=object),
    ],
    ids=["bins", "integers", "flat", "empty", "nan", "inf", "overflow", "pickled"],
)
def test_features_that_do_not_fit_are_an_error(tmp_path, features):
    np.save(tmp_path / "a.npy", features, allow_pickle=True)
    with pytest.raises(AudioError, match=r"a\.npy"):
        read_features(tmp_path / "a.npy", dim=3)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_damaged_feature_files_are_an_error(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.npy"):
        read_features(tmp_path / "a.npy")


@pytest.mark.parametrize(("place", "byte"), [(8, 1), (21, 44), (26, 66)])
def test_a_damaged_header_of_features_is_an_error(tmp_path, place, byte):
    """Three bytes over which numpy's reader fails in three other ways."""
    np.save(tmp_path / "a.npy", np.ones((20, 13), np.float32))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[place] = byte
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.npy: not a \.npy array"):
        read_features(tmp_path / "a.npy")


def test_features_cut_short_or_archived_are_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((10, 3), np.float32))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-4])
    np.savez(tmp_path / "b.npz", np.ones((10, 3), np.float32))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(AudioError, match=name):
            read_features(tmp_path / name)


def test_audio_below_the_minimum_is_an_error():
    check_length(np.zeros(400), 400, Path("a.wav"))
    with pytest.raises(AudioError, match=r"a\.wav: too short: 399 .* 400"):
        check_length(np.zeros(399), 400, Path("a.wav"))
