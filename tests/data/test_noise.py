import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.data.noise import NoiseAdder, NoiseConfig, coloured_noise, crackle, find_audio, mix
from seq2seq_asr.errors import AudioError, UsageError


def tone(size: int = 8000) -> np.ndarray:
    return 0.1 * np.sin(np.arange(size, dtype=np.float32) / 3)


@given(st.floats(-10, 60))
def test_speech_over_noise_is_as_asked(snr):
    speech, noise = tone(), np.random.default_rng(0).standard_normal(8000, dtype=np.float32)
    mixed = mix(speech, noise, snr)
    gain = float(mixed @ speech / (speech @ speech)) if snr > 20 else 1 / max(1.0, np.abs(mixed).max())
    added = mixed - gain * speech
    if np.abs(mixed).max() < 1:
        assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.5)
    assert np.abs(mixed).max() <= 1


def test_what_goes_beyond_full_scale_is_scaled_back_as_a_whole():
    noise = np.random.default_rng(0).standard_normal(8000, dtype=np.float32)
    loud, quiet = mix(tone(), noise, -40.0), mix(tone() / 1000, noise / 1000, -40.0)
    assert np.abs(loud).max() == 1 and np.abs(quiet).max() < 0.1
    assert np.allclose(loud, quiet / np.abs(quiet).max(), atol=1e-5)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_power_falls_with_frequency_as_the_colour_says(slope):
    noise = coloured_noise(1 << 16, slope, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[1000:2000].mean(), power[16000:32000].mean()
    assert 10 * np.log10(low / high) == pytest.approx(10 * slope * np.log10(16), abs=1.0)
    assert noise.dtype == np.float32


@pytest.mark.parametrize("clicks", [2.0, 20.0, 100.0])
def test_a_crackle_has_as_many_clicks_as_asked_with_quiet_between(clicks):
    noise = crackle(80000, 16000, clicks, np.random.default_rng(1))
    assert noise.dtype == np.float32
    frames = np.abs(noise.reshape(-1, 16)).max(1)  # one a millisecond
    starts = np.sum((frames[1:] > 0.01 * frames.max()) & (frames[:-1] <= 0.01 * frames.max()))
    assert 0.3 * 5 * clicks <= starts <= 1.5 * 5 * clicks + 3  # quiet ones and overlaps are not told apart
    assert np.mean(frames < 0.01 * frames.max()) > 0.2


@pytest.mark.parametrize("clicks", [0.0, 20.0, 2000.0])
def test_a_crackle_is_the_sum_of_its_clicks_ringing(clicks):
    noise, drawn = crackle(4000, 16000, clicks, np.random.default_rng(3)), np.random.default_rng(3)
    struck = drawn.random(4000) < clicks / 16000
    struck[drawn.integers(4000)] = True
    strokes = struck * drawn.standard_exponential(4000) * drawn.choice((-1.0, 1.0), 4000)
    decay = drawn.uniform(0.0001, 0.002) * 16000
    ringing = np.exp(-np.arange(round(10 * decay) + 1) / decay) * drawn.standard_normal(round(10 * decay) + 1)
    np.testing.assert_allclose(noise, np.convolve(strokes, ringing)[:4000], rtol=1e-5, atol=1e-7)


def test_linked_folders_are_searched_once_and_a_circle_ends(tmp_path):
    for name in ("far/deep/b.wav", "noise/a.FLAC", "noise/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = tmp_path / "noise"
    (root / "linked").symlink_to(tmp_path / "far")
    (root / "twice").symlink_to(tmp_path / "far" / "deep")
    (tmp_path / "far" / "deep" / "up").symlink_to(root)
    assert find_audio(root) == [root / "a.FLAC", root / "linked" / "deep" / "b.wav"]


def test_synthetic_noise_is_a_crackle_now_and_then():
    adder = NoiseAdder(NoiseConfig(probability=1.0, snr_min=0.0, snr_max=0.0), 8000)
    added = [adder(np.full(8000, 1e-3, np.float32), np.random.default_rng(seed)) - 1e-3 for seed in range(200)]
    peaked = sum(np.abs(noise).max() > 6 * np.sqrt(np.mean(noise**2)) for noise in added)
    assert 40 < peaked < 95


def test_noise_comes_as_often_as_asked_and_from_the_generator_alone():
    adder = NoiseAdder(NoiseConfig(probability=0.3), 8000)
    results = [adder(tone(), np.random.default_rng(seed)) for seed in range(300)]
    changed = sum(not np.array_equal(result, tone()) for result in results)
    assert 60 < changed < 120
    assert np.array_equal(results[7], adder(tone(), np.random.default_rng(7)))


def test_recordings_are_cut_repeated_and_resampled_to_the_length(tmp_path):
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "short.wav", np.full(100, 0.5), 8000)
    soundfile.write(tmp_path / "deep" / "long.flac", np.full((90000, 2), -0.5), 16000)
    adder = NoiseAdder(NoiseConfig(probability=1.0, snr_min=0.0, snr_max=0.0, folders=(tmp_path,)), 8000)
    signs = {float(np.sign(np.mean(adder(tone(), np.random.default_rng(seed))))) for seed in range(20)}
    assert signs == {1.0, -1.0}


def test_a_recording_longer_than_the_speech_begins_anywhere(tmp_path):
    soundfile.write(tmp_path / "rising.wav", np.linspace(0, 1, 80000), 8000, subtype="FLOAT")
    adder = NoiseAdder(NoiseConfig(probability=1.0, snr_min=0.0, snr_max=0.0, folders=(tmp_path,)), 8000)
    added = [adder(tone(), np.random.default_rng(seed)) - tone() for seed in range(40)]
    begins = np.array([one[0] / (one[-1] - one[0]) for one in added])  # in lengths of the speech, a tenth of the file
    assert begins.min() < 2 and begins.max() > 7 and begins.max() <= 9.01


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_recording_of_noise_that_is_not_finite_is_named_before_it_spoils_speech(tmp_path, bad):
    noise = np.zeros(9000, np.float32)
    noise[100] = bad
    soundfile.write(tmp_path / "hiss.wav", noise, 8000, subtype="FLOAT")
    adder = NoiseAdder(NoiseConfig(probability=1.0, folders=(tmp_path,)), 8000)
    with pytest.raises(AudioError, match=r"hiss\.wav: samples hold NaN"):
        adder(tone(9000), np.random.default_rng(0))


def test_a_folder_without_recordings_is_named(tmp_path):
    with pytest.raises(AudioError, match=str(tmp_path)):
        NoiseAdder(NoiseConfig(probability=1.0, folders=(tmp_path,)), 8000)


def test_silent_noise_changes_nothing():
    assert np.array_equal(mix(tone(), np.zeros(8000, np.float32), 0.0), tone())


@pytest.mark.parametrize(
    "settings",
    [{"probability": 1.5}, {"snr_min": 9.0, "snr_max": 3.0}, {"snr_min": float("-inf")}, {"snr_max": float("inf")}],
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(UsageError, match="noise."):
        NoiseConfig(**settings)
