"""Endpoints of single words, on signals whose loud stretches are known."""

import numpy as np
import pytest

from seq2seq_asr.data.corpora.endpointing import endpoint, voicing

QUIET = 1e-3  # 60 dB below the bursts


def recording(*parts: tuple[float, float]) -> np.ndarray:
    """Parts of (seconds, level) one after the other."""
    return np.concatenate([np.full(round(seconds * 16000), level, np.float32) for seconds, level in parts])


def test_the_word_and_a_margin_are_left():
    burst = recording((0.1, 1.0))
    found = endpoint(recording((0.2, QUIET), (0.1, 1.0), (0.2, QUIET)))
    assert np.array_equal(found, np.pad(burst, 480, constant_values=QUIET))


def test_a_word_without_quiet_stays_whole():
    burst = recording((0.1, 1.0))
    assert np.array_equal(endpoint(burst), burst)
    assert np.array_equal(endpoint(burst[:50]), burst[:50])  # shorter than a frame


@pytest.mark.parametrize(("gap", "together"), [(0.1, True), (0.24, True), (0.26, False), (0.6, False)])
def test_a_closure_belongs_to_the_word_and_a_longer_quiet_does_not(gap, together):
    found = endpoint(recording((0.2, QUIET), (0.1, 1.0), (gap, QUIET), (0.3, 1.0), (0.2, QUIET)))
    expected = 0.1 + gap + 0.3 if together else 0.3
    assert len(found) == pytest.approx(16000 * (expected + 0.06))


@pytest.mark.parametrize(
    ("level", "noise", "kept"),
    [
        (10 ** (-50 / 20), QUIET, 0.2),
        (10 ** (-57 / 20), 1e-4, 0.0),  # fainter than anything of a word
        (10 ** (-50 / 20), 10 ** (-55 / 20), 0.0),  # near the noise
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_faint_consonant_is_kept_where_it_stands_out_of_the_noise(level, noise, kept, first):
    parts = [(0.2, level), (0.3, 1.0)] if first else [(0.3, 1.0), (0.2, level)]
    found = endpoint(recording((0.4, noise), *parts, (0.4, noise)))
    assert len(found) == pytest.approx(16000 * (0.3 + kept + 0.06))
    assert (found == np.float32(1.0)).sum() == 4800


@pytest.mark.parametrize(("before", "gap", "together"), [(0.0, 0.11, True), (0.0, 0.13, False), (0.1, 0.13, True)])
def test_a_sound_under_way_at_the_beginning_is_the_tail_of_another_word(before, gap, together):
    found = endpoint(recording((before, QUIET), (0.2, 1.0), (gap, QUIET), (0.3, 1.0), (0.2, QUIET)))
    assert (found == 1.0).sum() == (8000 if together else 4800)


def test_what_lies_behind_the_tail_of_another_word_may_hold_closures():
    found = endpoint(recording((0.2, 1.0), (0.13, QUIET), (0.2, 1.0), (0.13, QUIET), (0.2, 1.0), (0.2, QUIET)))
    assert (found == 1.0).sum() == 6400


@pytest.mark.parametrize("first", [True, False])
def test_a_click_louder_than_the_word_is_not_the_word(first):
    click, word = [(0.01, 1.0)], [(0.5, 0.5)]
    parts = [*click, (0.4, QUIET), *word] if first else [*word, (0.4, QUIET), *click]
    found = endpoint(recording((0.1, QUIET), *parts, (0.1, QUIET)))
    assert found.max() == 0.5
    assert (found == 0.5).sum() == 8000


def test_silence_and_digital_zero_are_left_alone():
    assert len(endpoint(recording((0.5, 0.0)))) == 8000
    assert len(endpoint(recording((0.5, QUIET)))) == 8000


def voice(seconds: float, pitch: float) -> np.ndarray:
    """Pulses of a voice: all harmonics of its pitch below 3 kHz."""
    time = np.arange(round(seconds * 16000)) / 16000
    tones = [np.cos(2 * np.pi * pitch * harmonic * time) / harmonic for harmonic in range(1, int(3000 / pitch))]
    return (0.05 * np.sum(tones, axis=0)).astype(np.float32)


def crackle(seconds: float, draw: np.random.Generator) -> np.ndarray:
    """Some thirty clicks a second, at no regular times."""
    samples = np.zeros(round(seconds * 16000), np.float32)
    for place in draw.integers(0, len(samples) - 40, round(30 * seconds)):
        samples[place : place + 40] += draw.normal(0, 0.5, 40) * np.exp(-np.arange(40) / 8)
    return samples


@pytest.mark.parametrize("pitch", [70.0, 120.0, 250.0, 390.0])
def test_a_voice_is_voiced_and_noise_crackle_and_other_periods_are_not(pitch):
    draw = np.random.default_rng(0)
    assert voicing(voice(0.5, pitch), 50)[2:-3].all()
    for other in (draw.normal(0, 0.1, 16000), crackle(1.0, draw), np.zeros(16000), np.ones(16000)):
        assert voicing(other.astype(np.float32), 100).mean() < 0.05


@pytest.mark.parametrize("first", [True, False])
def test_a_word_quieter_than_crackle_is_found(first):
    draw = np.random.default_rng(1)
    word, noise, quiet = 0.3 * voice(0.4, 150.0), crackle(0.5, draw), np.zeros(6400, np.float32)
    assert (noise**2).mean() > 3 * (word**2).mean()
    found = endpoint(np.concatenate([noise, quiet, word] if first else [word, quiet, noise]))
    assert len(word) <= len(found) <= len(word) + 2 * 480 + 480
    assert np.abs(np.correlate(found, word)).max() == pytest.approx((word**2).sum(), rel=0.02)


def test_what_touches_the_word_is_kept_for_half_a_second():
    hiss = np.random.default_rng(2).normal(0, 0.03, 16000).astype(np.float32)
    found = endpoint(np.concatenate([hiss, voice(0.4, 150.0), hiss]))
    assert len(found) / 16000 == pytest.approx(0.5 + 0.4 + 0.5 + 0.06, abs=0.05)
