"""What is measured of a recording, against recordings made to have it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.health.signal import block_levels, clipped_share, measure
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError

RATE = 8000


def tone(seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def utterance(path: Path, samples: np.ndarray, duration: float | None = None, **options: str) -> Utterance:
    soundfile.write(path, samples, RATE, **options)
    return Utterance(id=path.stem, text="x", duration=duration or len(samples) / RATE, audio=path)


@pytest.mark.parametrize("level", [1.0, 0.1])
def test_clipping_is_seen_at_any_level(level: float) -> None:
    assert clipped_share(level * tone()) == 0
    clipped = np.clip(tone(), -0.3, 0.4)
    beyond = np.count_nonzero((tone() > 0.4) | (tone() < -0.3))
    assert clipped_share(level * clipped) == pytest.approx(beyond / RATE, rel=0.1)


def test_clipping_is_that_of_the_worst_channel(tmp_path: Path) -> None:
    """Their average, where one is clipped and the other is not, never stands still."""
    clipped, clean = np.clip(tone(), -0.3, 0.3), 0.1 * np.sin(np.arange(RATE) / 3).astype(np.float32)
    found = [
        measure(utterance(tmp_path / f"{place}.wav", np.stack(both, 1), subtype="FLOAT"), whole=True).clipped
        for place, both in enumerate([(clipped, clean), (clean, clipped), (clean, clean)])
    ]
    assert found == [clipped_share(clipped), clipped_share(clipped), 0]
    assert clipped_share(clipped) > 0.3 and clipped_share((clipped + clean) / 2) == 0


def test_silence_is_no_clipping() -> None:
    assert clipped_share(np.concatenate([np.zeros(4000, np.float32), np.abs(tone())])) == 0


def test_levels_are_of_blocks_of_20_ms() -> None:
    levels = block_levels(np.concatenate([tone(level=1.0), tone(level=0.1)]), RATE)
    assert levels.shape == (100,)
    assert np.allclose(levels[:50], -3.01, atol=0.3) and np.allclose(levels[50:], -23.01, atol=0.3)
    assert block_levels(np.ones(3, np.float32), RATE).shape == (1,)


def test_quiet_is_relative_to_the_loudest_block(tmp_path: Path) -> None:
    for level in (1.0, 0.01):
        samples = level * np.concatenate([tone(3.0, level=0.001), tone(1.0, level=0.5)])
        found = measure(utterance(tmp_path / "a.wav", samples, subtype="FLOAT"), whole=True)
        assert found.quiet == pytest.approx(0.75)
        assert found.level == pytest.approx(20 * np.log10(level * 0.5) - 3.01, abs=0.3)


def test_the_digest_is_of_the_samples_not_of_the_file(tmp_path: Path) -> None:
    samples = np.round(32767 * tone()).astype(np.int16)  # rounded here, as the formats round floats differently
    kinds = [utterance(tmp_path / name, samples) for name in ("a.wav", "b.flac", "c.aiff")]
    other = utterance(tmp_path / "d.wav", samples // 2)
    digests = [measure(one, whole=True).digest for one in (*kinds, other)]
    assert len(set(digests[:3])) == 1 and len(set(digests)) == 2


def test_a_part_is_measured_alone_and_a_whole_file_must_be_complete(tmp_path: Path) -> None:
    whole = utterance(tmp_path / "a.wav", np.concatenate([tone(1.0), tone(1.0, level=0.2)]), duration=1.0)
    assert measure(whole, whole=True).seconds == 2.0
    part = measure(whole, whole=False)
    assert part.seconds == 1.0 and part.kind == "8000 Hz"
    assert part.digest == measure(utterance(tmp_path / "b.wav", tone(1.0)), whole=True).digest
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:-100])
    assert measure(whole, whole=False).seconds == 1.0
    with pytest.raises(AudioError, match="cut short"):
        measure(whole, whole=True)


def test_features_are_measured_in_frames(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((250, 13), np.float32))
    found = measure(Utterance(id="a", text="x", duration=2.5, features=tmp_path / "a.npy"), whole=True)
    assert (found.length, found.seconds, found.kind, found.clipped, found.quiet) == (250, 2.5, "13 bins", 0, 0)
