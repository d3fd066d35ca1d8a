"""Frames of an mp3 are counted as decoders count them; what libsndfile would leave unread is refused by name."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.data.audio import audio_duration, read_audio
from seq2seq_asr.data.long_audio import FileRecording
from seq2seq_asr.data.mpeg_frames import MpegLength, mpeg_length
from seq2seq_asr.errors import AudioError

READERS: list[Callable[[Path], object]] = [audio_duration, read_audio, FileRecording]
ID3V2 = b"ID3\3\0\0" + bytes([0, 1, 0, 0]) + b"picture\xff\xfb\x90\x64" + bytes((1 << 14) - 11)
ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (4000).to_bytes(4, "little") + bytes(4000 + 16)
MPEG_1, MPEG_2, MPEG_25 = 3, 2, 0


@cache
def mp3(rate: int = 16000, mode: str = "VARIABLE", seconds: float = 3.0) -> bytes:
    """Noise, quiet at first and loud later, so that a variable bitrate varies."""
    samples = np.random.default_rng(0).normal(0, 0.1, round(rate * seconds))
    samples[: len(samples) // 3] *= 0.003
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return file.getvalue()


def without_tag(content: bytes) -> bytes:
    """The file from its second frame on, as written by an encoder that knows no Xing header."""
    return content[content.index(content[:2], 4) :]


def silent_frame(version: int, layer: int, bitrate: int, rate: int) -> bytes:
    """A mono frame of zeros, without padding; sizes by ISO 11172-3, in slots of 4 bytes in layer I."""
    table = {
        (True, 1): [32 * index for index in range(15)],
        (True, 2): [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        (True, 3): [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        (False, 1): [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    }
    lower = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    hertz = [44100, 48000, 32000][rate] // {MPEG_1: 1, MPEG_2: 2, MPEG_25: 4}[version]
    kilobits = table.get((version == MPEG_1, layer), lower)[bitrate]
    slots = {1: 12, 2: 144, 3: 144 if version == MPEG_1 else 72}[layer] * kilobits * 1000 // hertz
    head = 0x7FF << 21 | version << 19 | (4 - layer) << 17 | 1 << 16 | bitrate << 12 | rate << 10 | 3 << 6
    return head.to_bytes(4, "big") + bytes(slots * (4 if layer == 1 else 1) - 4)


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "a.mp3"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("version", "layer"), [*((v, layer) for v in (MPEG_1, MPEG_2) for layer in (1, 2, 3)), (MPEG_25, 3)]
)
def test_every_bitrate_of_every_layer_is_counted_as_libsndfile_does(tmp_path: Path, version: int, layer: int) -> None:
    for bitrate in range(1, 15):
        for rate in range(3):
            path = saved(tmp_path, 12 * silent_frame(version, layer, bitrate, rate))
            found = mpeg_length(path)
            assert found is not None and found.samples == 12 * found.frame
            # By one bitrate and no padding libsndfile is right, but for sizes that are no whole bytes.
            assert abs(found.samples - soundfile.info(path).frames) < found.frame


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_what_the_encoder_promises_is_what_is_counted(tmp_path: Path, rate: int, mode: str) -> None:
    path = saved(tmp_path, mp3(rate, mode))
    found = mpeg_length(path)
    assert found is not None and found.promised and found.samples - found.trimmed == 3 * rate
    assert audio_duration(path) == 3.0 and len(read_audio(path, rate=rate)) == 3 * rate


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_variable_bitrate_without_a_xing_header_is_no_cut_recording(tmp_path: Path, read, rate: int) -> None:
    content = without_tag(mp3(rate))
    assert soundfile.info(io.BytesIO(content)).duration < 2.5  # what would have been read
    with pytest.raises(AudioError, match=r"a\.mp3: its header does not tell its length: 3\.\d+ s are there.*ffmpeg"):
        read(saved(tmp_path, content))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("between", [b"", ID3V1, ID3V2, ID3V1 + ID3V2])
def test_files_joined_are_not_read_as_the_first_of_them(tmp_path: Path, read, between: bytes) -> None:
    with pytest.raises(AudioError, match=r"does not tell its length: [67]\.\d+ s are there, 3\.000 s would be read"):
        read(saved(tmp_path, between.join([mp3(mode="CONSTANT"), mp3(mode="CONSTANT")])))


def test_a_part_beyond_what_libsndfile_reads_tells_of_the_header(tmp_path: Path) -> None:
    path = saved(tmp_path, without_tag(mp3()))
    assert len(read_audio(path, offset=0.5, duration=0.5)) == 8000
    for read in (read_audio, FileRecording):
        with pytest.raises(AudioError, match="does not tell its length"):
            read(path, offset=2.0, duration=1.0)


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
@pytest.mark.parametrize("cut", [1, 100, 200, 300])
def test_a_stream_that_begins_within_a_frame_is_read(tmp_path: Path, rate: int, cut: int) -> None:
    """As one recorded off the air: libsndfile guesses less than a frame fewer than are there."""
    path = saved(tmp_path, without_tag(mp3(rate, "CONSTANT"))[cut:])
    there = mpeg_length(path)
    assert there is not None and not there.promised
    found = read_audio(path, rate=rate)
    assert abs(len(found) - there.samples) < there.frame and len(found) == FileRecording(path).wanted


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_duration_of_frames_is_told_from_a_cut_recording(tmp_path: Path, rate: int) -> None:
    """Other programs count what the encoder added; a manifest of theirs is refused, with what to do."""
    path = saved(tmp_path, mp3(rate, "CONSTANT"))
    there = mpeg_length(path)
    assert there is not None and there.samples > 3.03 * rate
    for read in (read_audio, FileRecording):
        with pytest.raises(AudioError, match=r"cut short: .*; a duration must leave out .* the file has 3\.000 s"):
            read(path, offset=1.0, duration=there.samples / rate - 1)
        with pytest.raises(AudioError, match=r"cut short: .* \([12]\.\d{3} s\)$"):
            read(path, offset=1.0, duration=4.0)


@pytest.mark.parametrize("before", [b"", ID3V2])
@pytest.mark.parametrize("behind", [b"", ID3V1, APE, APE + ID3V1])
@pytest.mark.parametrize("tagged", [True, False], ids=["Xing", "none"])
def test_tags_around_a_constant_bitrate_are_no_sound(
    tmp_path: Path, before: bytes, behind: bytes, tagged: bool
) -> None:
    content = mp3(mode="CONSTANT")
    frames = mpeg_length(saved(tmp_path, content))
    assert frames is not None
    length = 3 * 16000 if tagged else frames.samples
    path = saved(tmp_path, before + (content if tagged else without_tag(content)) + behind)
    assert audio_duration(path) == length / 16000
    assert len(read_audio(path)) == FileRecording(path).wanted == length


def test_a_bitrate_of_uneven_frames_is_read_whole_without_a_xing_header(tmp_path: Path) -> None:
    content = mp3(44100, "CONSTANT")
    there = mpeg_length(saved(tmp_path, content))
    path = saved(tmp_path, without_tag(content))
    assert there is not None and soundfile.info(path).frames > there.samples  # libsndfile's guess
    assert len(read_audio(path, rate=44100)) == there.samples


@pytest.mark.parametrize("read", READERS)
def test_less_than_a_xing_header_promises_is_a_cut(tmp_path: Path, read) -> None:
    content = mp3()
    with pytest.raises(AudioError, match="cut short: expected 48000 samples, found"):
        read(saved(tmp_path, content[: len(content) * 3 // 4]))


def test_damage_costs_the_frames_that_it_hits(tmp_path: Path) -> None:
    content = mp3(mode="CONSTANT")
    half = content.index(content[:2], len(content) // 2)
    whole = mpeg_length(saved(tmp_path, content))
    damaged = mpeg_length(saved(tmp_path, content[:half] + b"\xff\xf3 junk" + bytes(50) + content[half:]))
    zeroed = mpeg_length(saved(tmp_path, content[:half] + bytes(2) + content[half + 2 :]))
    assert whole is not None and damaged == whole
    assert zeroed is not None and zeroed.samples == whole.samples - 576


def test_free_format_is_left_alone(tmp_path: Path) -> None:
    assert mpeg_length(saved(tmp_path, (b"\xff\xfb\x00\xc4" + bytes(500)) * 10)) is None


PARTS = [b"ID3", b"TAG", b"APETAGEX", b"\xff\xfb\x90\xc4", b"\xff\xf3\x40\xc4", b"Xing", bytes(413)]


@given(st.lists(st.sampled_from(PARTS) | st.binary()))
def test_whatever_a_file_holds_the_counting_ends(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    found = mpeg_length(saved(tmp_path_factory.getbasetemp(), b"".join(parts)))
    assert found is None or isinstance(found, MpegLength)
