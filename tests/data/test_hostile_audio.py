"""Hostile audio: every file is read right, or refused with its path and the reason, and nothing waits for ever."""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.audio import audio_duration, read_audio
from seq2seq_asr.data.dataset import InputReader
from seq2seq_asr.data.long_audio import FileRecording
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError

RATE, SECONDS = 16000, 3.0
SMALLEST = 400
"""Samples of one encoder frame, as a model would ask for."""


def speech(rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    """Three tones, each swelling and fading: no constant, no silence, nothing above 3.4 kHz."""
    times = np.arange(round(rate * seconds)) / rate
    tones = sum(np.sin(2 * np.pi * pitch * times) for pitch in (220.0, 700.0, 1900.0))
    return 0.2 * tones * np.sin(np.pi * times / seconds) ** 2


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: Any) -> bytes:
    soundfile.write(path, samples, rate, **options)
    return path.read_bytes()


def cut(path: Path, share: float, **options: Any) -> None:
    content = write(path, speech(), **options)
    path.write_bytes(content[: int(share * len(content))])


def flip(path: Path, share: float, **options: Any) -> None:
    content = bytearray(write(path, speech(), **options))
    content[int(share * len(content))] ^= 16
    path.write_bytes(content)


def header(path: Path) -> None:
    """A header that promises the samples, without them."""
    content = write(path, speech())
    path.write_bytes(content[: 44 if path.suffix == ".wav" else 86])


def stereo(other: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    left = speech()
    return np.stack([left, other(left)], axis=1)


def with_value(value: float) -> np.ndarray:
    samples = speech()
    samples[1000] = value
    return samples


OPUS: dict[str, Any] = {"format": "OGG", "subtype": "OPUS"}
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.wav": (lambda path: None, "No such file"),
    "directory.wav": (Path.mkdir, "not a regular file"),
    "dangling.wav": (lambda path: path.symlink_to("nowhere.wav"), "No such file"),
    "loop.wav": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "fifo.wav": (os.mkfifo, "not a regular file"),
    "device.wav": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "empty.wav": (Path.touch, "cannot be read as audio: the file is empty"),
    "empty.mp3": (Path.touch, "cannot be read as audio: the file is empty"),
    "text.wav": (lambda path: path.write_text("these are words, not waves\n" * 100), "cannot be read as audio"),
    "zip.flac": (lambda path: path.write_bytes(b"PK\3\4" + bytes(5000)), "cannot be read as audio"),
    "header.wav": (header, "no audio|cut short"),
    "header.flac": (header, "damaged or cut short"),
    "short.wav": (lambda path: write(path, speech()[:100]), "too short|cut short"),
    "cut.wav": (lambda path: cut(path, 0.7), "cut short"),
    "cut.flac": (lambda path: cut(path, 0.7), "cut short"),
    "cut.mp3": (lambda path: cut(path, 0.7), "cut short"),
    "cut.ogg": (lambda path: cut(path, 0.7), "cut short"),
    "opus_cut.ogg": (lambda path: cut(path, 0.7, **OPUS), "cut short"),
    "last_byte_cut.ogg": (lambda path: path.write_bytes(write(path, speech())[:-1]), "cut short"),
    "opus_last_byte_cut.ogg": (lambda path: path.write_bytes(write(path, speech(), **OPUS)[:-1]), "cut short"),
    "cut.aiff": (lambda path: cut(path, 0.7), "cut short"),
    "cut.au": (lambda path: cut(path, 0.7), "cut short"),
    "cut.w64": (lambda path: cut(path, 0.7), "cut short"),
    "cut.rf64": (lambda path: cut(path, 0.7, format="RF64"), "cut short"),
    "cut.caf": (lambda path: cut(path, 0.7), "malformed"),
    "sphere_cut.wav": (lambda path: cut(path, 0.7, format="NIST"), "cut short"),
    "flipped.flac": (lambda path: flip(path, 0.5), "damaged or cut short"),
    "flipped.ogg": (lambda path: flip(path, 0.4), "damaged|cut short|malformed"),
    "opus_flipped.ogg": (lambda path: flip(path, 0.4, **OPUS), "damaged|cut short"),
    "nan.wav": (lambda path: write(path, with_value(np.nan), subtype="FLOAT"), "NaN or infinite"),
    "inf.wav": (lambda path: write(path, with_value(-np.inf), subtype="DOUBLE"), "NaN or infinite"),
    "beyond_float.wav": (lambda path: write(path, with_value(1e300), subtype="DOUBLE"), "NaN or infinite"),
    "zeros.wav": (lambda path: write(path, np.zeros(48000)), "silent"),
    "constant.wav": (lambda path: write(path, np.full(48000, 0.25)), "silent"),
    "zeros_9_channels.wav": (lambda path: write(path, np.zeros((48000, 9))), "silent"),
    "opposed.wav": (lambda path: write(path, stereo(lambda left: -left)), "channels cancel out"),
    "opposed.mp3": (lambda path: write(path, stereo(lambda left: -left)), "channels cancel out"),
    "nearly_opposed.flac": (lambda path: write(path, stereo(lambda left: -0.99 * left)), "channels cancel out"),
    "rate_of_1_Hz.wav": (lambda path: write(path, speech(), 1), "its header tells 1 samples a second"),
    "rate_of_2_GHz.wav": (lambda path: write(path, speech(), 2_000_000_011), "tells 2000000011 samples a second"),
    "scale_of_16_bits.wav": (lambda path: write(path, 32768 * speech(), subtype="FLOAT"), "full scale is 1"),
}

READ: dict[str, tuple[Callable[[Path], object], float]] = {
    "8_kHz.wav": (lambda path: write(path, speech(8000), 8000), 1e-3),
    "44.1_kHz.flac": (lambda path: write(path, speech(44100), 44100), 1e-3),
    "48_kHz.ogg": (lambda path: write(path, speech(48000), 48000), 0.05),
    "48_kHz.mp3": (lambda path: write(path, speech(48000), 48000), 0.05),
    "opus.ogg": (lambda path: write(path, speech(), **OPUS), 0.1),
    "8_bits.wav": (lambda path: write(path, speech(), subtype="PCM_U8"), 1 / 100),
    "24_bits.wav": (lambda path: write(path, speech(), subtype="PCM_24"), 3e-5),
    "24_bits.flac": (lambda path: write(path, speech(), subtype="PCM_24"), 3e-5),
    "32_bits.wav": (lambda path: write(path, speech(), subtype="PCM_32"), 3e-5),
    "float.wav": (lambda path: write(path, speech(), subtype="FLOAT"), 3e-5),
    "double.wav": (lambda path: write(path, speech(), subtype="DOUBLE"), 3e-5),
    "mu_law.wav": (lambda path: write(path, speech(), subtype="ULAW"), 0.03),
    "a_law.wav": (lambda path: write(path, speech(), subtype="ALAW"), 0.03),
    "extensible.wav": (lambda path: write(path, speech(), format="WAVEX"), 1e-3),
    "wave64.w64": (lambda path: write(path, speech()), 1e-3),
    "rf64.wav": (lambda path: write(path, speech(), format="RF64"), 1e-3),
    "sphere.sph": (lambda path: write(path, speech(), format="NIST"), 1e-3),
    "9_channels.wav": (lambda path: write(path, np.tile(speech()[:, None], 9)), 1e-3),
    "stereo.wav": (lambda path: write(path, stereo(lambda left: left)), 1e-3),
    "wav_named.mp3": (lambda path: write(path, speech(), format="WAV"), 1e-3),
    "link.wav": (lambda path: path.symlink_to(_beside(path)), 1e-3),
}


def _beside(path: Path) -> Path:
    write(path.with_name("target.wav"), speech())
    return path.with_name("target.wav")


def reads(path: Path) -> list[Callable[[], np.ndarray]]:
    """The file by itself, and as a manifest's utterance that promises its full length."""
    utterance = Utterance(id="u", text="x", duration=SECONDS, audio=path)
    return [lambda: read_whole(path), lambda: InputReader(RATE, smallest=SMALLEST)(utterance)]


def read_whole(path: Path) -> np.ndarray:
    samples = read_audio(path, rate=RATE)
    if len(samples) < SMALLEST:
        raise AudioError(f"{path}: too short")
    return samples


def test_clipped_audio_is_read_as_it_is(tmp_path: Path) -> None:
    """It can be recognised, if worse; the doctor counts it."""
    clipped = np.clip(8 * speech(), -1, 1 - 2**-15)
    write(tmp_path / "clipped.wav", clipped)
    assert np.abs(clipped).max() == 1 and np.allclose(
        read_audio(tmp_path / "clipped.wav", rate=RATE), clipped, atol=1e-4
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_with_path_and_reason(name: str, tmp_path: Path) -> None:
    make, why = REFUSED[name]
    make(tmp_path / name)
    for read in reads(tmp_path / name):
        with pytest.raises(AudioError, match=why) as caught:
            read()
        assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READ)
def test_what_can_be_used_is_read_right(name: str, tmp_path: Path) -> None:
    make, tolerance = READ[name]
    make(tmp_path / name)
    for read in reads(tmp_path / name):
        assert np.abs(read() - speech()).max() < tolerance
    assert audio_duration(tmp_path / name) == pytest.approx(SECONDS, abs=1e-3)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_name_need_not_be_utf_8(suffix: str, tmp_path: Path) -> None:
    """Such as one in Latin-1, off an old disk or out of a zip."""
    write(tmp_path / f"a.{suffix}", speech())
    path = (tmp_path / f"a.{suffix}").rename(tmp_path / os.fsdecode(b"caf\xe9 \xff." + suffix.encode()))
    assert len(read_audio(path)) == FileRecording(path).wanted == RATE * audio_duration(path) == RATE * SECONDS


def test_clipping_is_kept_as_it_is(tmp_path: Path) -> None:
    clipped = np.clip(5 * speech(), -1.0, 1.0)
    write(tmp_path / "a.wav", clipped)
    for read in reads(tmp_path / "a.wav"):
        assert np.abs(read() - clipped).max() < 1e-3


def test_one_speaking_channel_of_many_is_no_cancelling(tmp_path: Path) -> None:
    samples = np.zeros((48000, 9))
    samples[:, 4] = speech()
    write(tmp_path / "a.wav", samples)
    assert np.abs(read_audio(tmp_path / "a.wav") - speech() / 9).max() < 1e-3


@pytest.mark.parametrize("options", [{}, OPUS], ids=["vorbis", "opus"])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.95])
def test_no_bit_flipped_in_an_ogg_page_goes_unnoticed(options: dict[str, Any], share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    flip(path, share, **options)
    with pytest.raises(AudioError):
        read_audio(path)


@pytest.mark.parametrize("again", [True, False], ids=["itself", "another"])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".ogg", {}), (".ogg", OPUS), (".flac", {}), (".flac", {"subtype": "PCM_24"})],
    ids=["vorbis", "opus", "flac", "flac_24"],
)
def test_recordings_joined_are_not_read_as_the_first_of_them(
    suffix: str, options: dict[str, Any], again: bool, tmp_path: Path
) -> None:
    """``cat`` makes such files, and those who record streams; libsndfile reads the first recording and says nothing."""
    first = write(tmp_path / f"a{suffix}", speech(), **options)
    second = write(tmp_path / f"b{suffix}", speech() if again else speech(seconds=1.0), **options)
    assert len(read_audio(tmp_path / f"a{suffix}")) == len(speech())
    (tmp_path / f"ab{suffix}").write_bytes(first + (first if again else second))
    for read in (read_audio, FileRecording):
        with pytest.raises(AudioError, match=f"ab{suffix}: holds several recordings.* the first, 3.000 s, would be"):
            read(tmp_path / f"ab{suffix}")


def told(content: bytes, size: int) -> bytes:
    """The wav or aiff with a header that tells of so many bytes of samples, as one of a recorder that was killed."""
    name, order = (b"data", "<I") if b"data" in content else (b"SSND", ">I")
    place = content.index(name) + 4
    return content[:place] + struct.pack(order, size) + content[place + 4 :]


@pytest.mark.parametrize(
    ("suffix", "options"), [(".wav", {}), (".wav", {"format": "WAVEX"}), (".aiff", {})], ids=["wav", "wavex", "aiff"]
)
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.5])
def test_a_header_that_tells_less_than_there_is_is_no_length(
    suffix: str, options: dict[str, Any], seconds: float, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(told(write(path, speech(), **options), round(2 * seconds * RATE)))
    for read in (read_audio, FileRecording):
        with pytest.raises(AudioError, match=f"a{suffix}: its header does not tell its length: {seconds:.3f} s would"):
            read(path)


LIST = b"LIST" + struct.pack("<I", 5004) + b"INFO" + bytes(5000)
ID3 = b"ID3\4\0\0" + b"\7" * 5000


@pytest.mark.parametrize(
    "behind",
    [LIST, b"\0" + LIST, b"TAG" + bytes(125), ID3, b"\0" + ID3, b"\0" * 9000, b"rubbish" * 9],
    ids=range(7),
)
def test_what_comes_behind_the_samples_may_be_chunks_tags_zeros(behind: bytes, tmp_path: Path) -> None:
    """The second chunk stands where it should, the first where those put it who forget to pad an odd size."""
    samples = speech()[:-1]
    content = write(tmp_path / "a.wav", samples, subtype="PCM_U8")
    start = content.index(b"data") + 8
    (tmp_path / "a.wav").write_bytes(content[: start + len(samples)] + behind)
    assert len(read_audio(tmp_path / "a.wav")) == FileRecording(tmp_path / "a.wav").wanted == len(samples)


def test_a_chunk_that_nobody_knows_may_stand_before_the_samples(tmp_path: Path) -> None:
    content, chunk = write(tmp_path / "a.w64", speech()), bytes(range(16)) + struct.pack("<Q", 5024) + b"\7" * 5000
    place = content.index(b"data")
    (tmp_path / "a.w64").write_bytes(content[:place] + chunk + content[place:])
    assert "Unknown chunk marker" in soundfile.SoundFile(tmp_path / "a.w64").extra_info
    assert len(read_audio(tmp_path / "a.w64")) == FileRecording(tmp_path / "a.w64").wanted == len(speech())


def three_hours(path: Path) -> np.ndarray:
    """Three hours of µ-law at 8 kHz that take no room on the disk; all is quiet but for the last three seconds."""
    tail = speech(8000)
    content = write(path, tail, 8000, subtype="ULAW")
    start = content.index(b"data") + 8
    total = 3 * 3600 * 8000
    head = bytearray(content[:start])
    struct.pack_into("<I", head, 4, start + total - 8)
    struct.pack_into("<I", head, start - 4, total)
    place = content.index(b"fact") + 8
    struct.pack_into("<I", head, place, total)
    with path.open("wb") as file:
        file.write(head)
        file.seek(start + total - len(tail))
        file.write(content[start : start + len(tail)])
    return soundfile.read(path, start=total - len(tail))[0]


def test_a_part_of_three_hours_is_read_without_the_rest(tmp_path: Path) -> None:
    tail = three_hours(tmp_path / "long.wav")
    assert audio_duration(tmp_path / "long.wav") == 3 * 3600
    started = time.process_time()
    found = read_audio(tmp_path / "long.wav", rate=8000, offset=3 * 3600 - SECONDS, duration=SECONDS)
    assert time.process_time() - started < 1.0 and np.array_equal(found, tail.astype(np.float32))


@pytest.mark.nightly
def test_three_hours_are_read_whole(tmp_path: Path) -> None:
    tail = three_hours(tmp_path / "long.wav")
    found = read_audio(tmp_path / "long.wav", rate=8000)
    assert len(found) == 3 * 3600 * 8000 and np.array_equal(found[-len(tail) :], tail.astype(np.float32))
