"""Endpoints of single words, on signals whose loud stretches are known."""

import numpy as np
import pytest

from seq2seq_asr.data.corpora.endpointing import endpoint

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
