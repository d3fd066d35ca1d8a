"""Reading in blocks: the segments are the recording, and what is wrong with a file is found before anything else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.audio import read_audio
from seq2seq_asr.data.long_audio import ArrayRecording, FileRecording, plan, read_segments
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.errors import AudioError

CONFIG = SegmentConfig(shortest=0.5, longest=3.0)


def speech(rate: int, seconds: float = 25.3, seed: int = 0) -> np.ndarray:
    """Noise in bursts: a second and a half loud, half a second quiet."""
    draw, time = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    return (draw.normal(0, 0.1, len(time)) * np.where(time % 2 < 1.5, 1.0, 0.01)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8000, 11025])
def test_the_segments_are_the_file(suffix: str, rate: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    samples = speech(rate)
    soundfile.write(path, np.stack([samples, 0.5 * samples], 1), rate)
    recording = FileRecording(path)
    cut = plan(recording, CONFIG)
    assert len(cut.segments) > 15 and (cut.segments[0].start, cut.segments[-1].end) == (0, len(samples))
    parts = list(read_segments(recording, cut.segments, rate))
    assert [len(part) for part in parts] == [one.end - one.start for one in cut.segments]
    np.testing.assert_array_equal(np.concatenate(parts), read_audio(path, rate=rate))


def test_the_segments_of_an_mp3_are_the_file(tmp_path: Path) -> None:
    """Each begins within what its frame takes from those before."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, speech(16000), 16000, bitrate_mode="VARIABLE", compression_level=0.95)
    recording = FileRecording(path)
    cut = plan(recording, CONFIG)
    assert len(cut.segments) > 8
    parts = np.concatenate(list(read_segments(recording, cut.segments, 16000)))
    np.testing.assert_allclose(parts, read_audio(path), atol=1e-6)


def test_a_part_of_a_file_is_that_part(tmp_path: Path) -> None:
    path, samples = tmp_path / "a.wav", speech(8000)
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    recording = FileRecording(path, offset=3.25, duration=12.5)
    cut = plan(recording, CONFIG)
    found = np.concatenate(list(read_segments(recording, cut.segments, 8000)))
    np.testing.assert_array_equal(found, samples[26000:126000])


def test_segments_come_at_the_rate_of_the_model(tmp_path: Path) -> None:
    path, samples = tmp_path / "a.wav", speech(16000)
    soundfile.write(path, samples, 16000)
    recording = FileRecording(path)
    cut = plan(recording, CONFIG)
    for part, segment in zip(read_segments(recording, cut.segments, 8000), cut.segments, strict=True):
        assert len(part) == -(-(segment.end - segment.start) // 2)


def test_an_array_is_cut_like_its_file(tmp_path: Path) -> None:
    samples = speech(8000)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    array, file = ArrayRecording(samples, 8000), FileRecording(tmp_path / "a.wav")
    cut = plan(array, CONFIG)
    assert cut == plan(file, CONFIG)
    np.testing.assert_array_equal(np.concatenate(list(read_segments(array, cut.segments, 8000))), samples)


def test_no_more_than_ten_seconds_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(8000, seconds=65.0), 8000)
    asked: list[int] = []
    blocks = FileRecording.blocks

    def watched(self: FileRecording, sizes: Iterator[int]) -> Iterator[np.ndarray]:
        for block in blocks(self, sizes):
            asked.append(len(block))
            yield block

    monkeypatch.setattr(FileRecording, "blocks", watched)
    recording = FileRecording(path)
    cut = plan(recording, CONFIG)
    assert sum(asked) == 65 * 8000
    for _ in read_segments(recording, cut.segments, 8000):
        pass
    assert max(asked) <= 80000 and sum(asked) == 2 * 65 * 8000


def broken(kind: str, path: Path) -> Path:
    samples = speech(8000)
    if kind == "nan":
        samples[170000] = np.nan
    if kind == "scale":
        samples[190000] = 20000.0
    if kind == "silent":
        samples[:] = 0.25
    channels = np.stack([samples, -samples], 1) if kind == "cancel" else samples
    soundfile.write(path, channels, 8000, subtype="FLOAT")
    if kind == "short":
        path.write_bytes(path.read_bytes()[:-9000])
    return path


@pytest.mark.parametrize(
    ("kind", "why"),
    [("nan", "NaN"), ("scale", "full scale"), ("silent", "silent"), ("cancel", "cancel out"), ("short", "cut short")],
)
def test_what_is_wrong_with_a_file_is_told(kind: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=why):
        plan(FileRecording(broken(kind, tmp_path / "a.wav")), CONFIG)


def test_a_hole_in_a_stream_that_is_read_block_by_block_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, speech(8000), 8000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(AudioError, match="bytes in the middle of the stream cannot be read"):
        plan(FileRecording(path), CONFIG)


def test_a_part_beyond_the_end_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(8000), 8000)
    for offset, duration in ((20.0, 10.0), (30.0, 1.0)):
        with pytest.raises(AudioError, match="cut short"):
            FileRecording(tmp_path / "a.wav", offset, duration)
