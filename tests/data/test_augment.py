"""Speed perturbation: lengths, pitch, features in time, and draws that follow the config."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.data.augment import SpeedPerturbConfig, draw_factor, speed_perturb, speed_perturb_features
from seq2seq_asr.errors import UsageError


@given(st.integers(1, 20000), st.sampled_from([0.9, 1.0, 1.1, 0.95, 2.0]))
def test_length_is_divided_by_the_factor(n, factor):
    assert len(speed_perturb(np.ones(n, np.float32), factor)) == pytest.approx(n / factor, abs=1)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_pitch_is_multiplied_by_the_factor(factor):
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    faster = speed_perturb(tone, factor)
    peak = np.abs(np.fft.rfft(faster * np.hanning(len(faster)), 16000 * 4)).argmax() / 4
    assert peak == pytest.approx(1000 * factor, abs=0.5)
    assert np.abs(faster[500:-500]).max() == pytest.approx(1.0, abs=0.01)


def test_factor_one_changes_nothing():
    x = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    assert np.array_equal(speed_perturb(x, 1.0), x)
    assert np.array_equal(speed_perturb_features(x[:, None], 1.0), x[:, None])


@given(st.integers(1, 300), st.floats(0.5, 2.0))
def test_features_that_rise_in_time_rise_faster(frames, factor):
    ramp = np.arange(frames, dtype=np.float32)[:, None] * np.array([1.0, -2.0], np.float32)
    faster = speed_perturb_features(ramp, factor)
    assert faster.dtype == np.float32
    assert len(faster) == math.ceil(frames / factor)
    expected = np.minimum(np.arange(len(faster)) * factor, frames - 1)
    assert np.allclose(faster, expected[:, None] * [1, -2], atol=1e-3)


def test_factors_are_drawn_with_equal_chance_and_repeat_with_the_seed():
    config = SpeedPerturbConfig(probability=0.75)
    draws = [draw_factor(config, generator) for generator in [np.random.default_rng(1)] for _ in range(4000)]
    share = {factor: draws.count(factor) / 4000 for factor in (0.9, 1.0, 1.1)}
    assert share == pytest.approx({0.9: 0.25, 1.0: 0.5, 1.1: 0.25}, abs=0.03)
    again = np.random.default_rng(1)
    assert draws == [draw_factor(config, again) for _ in range(4000)]


def test_probability_zero_switches_off_without_moving_other_draws():
    on, off = np.random.default_rng(3), np.random.default_rng(3)
    assert draw_factor(SpeedPerturbConfig(probability=0.0), off) == 1.0
    draw_factor(SpeedPerturbConfig(probability=1.0), on)
    assert on.random() == off.random()


@pytest.mark.parametrize(
    "wrong", [{"factors": ()}, {"factors": (0.0,)}, {"factors": (math.nan,)}, {"probability": 1.5}]
)
def test_unusable_settings_are_named(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SpeedPerturbConfig(**wrong)
