import itertools
import math

import pytest
import torch
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn import pitch
from seq2seq_asr.nn.fbank import Fbank
from seq2seq_asr.nn.features import Features, FeaturesConfig
from seq2seq_asr.nn.pitch import Pitch, best_path, best_path_in_tensors, voicing_probability


def voice(pitches: Tensor, rate: int = 16000) -> Tensor:
    """Harmonics of a pitch in Hz that may change with every sample: eight, or as many as the rate holds."""
    phase = 2 * math.pi * torch.cumsum(pitches.double(), 0) / rate
    harmonics = [(k * phase).sin() / k for k in range(1, 9) if k * pitches.max() < rate / 2]
    return 0.1 * torch.stack(harmonics).sum(0).float()


def values(samples: Tensor, rate: int = 16000) -> Tensor:
    """Voicing, height and slope of one utterance, a row a frame."""
    lengths = torch.tensor([len(samples)])
    frames = Fbank(rate=rate, bins=20).frame_counts(lengths)
    return Pitch(rate)(samples[None], lengths, frames, int(frames))[0]


def tracked(samples: Tensor, rate: int = 16000) -> Tensor:
    """The pitch of every frame in Hz."""
    finder, lengths = Pitch(rate), torch.tensor([len(samples)])
    frames = Fbank(rate=rate, bins=20).frame_counts(lengths)
    _, steady = finder.correlations(*finder.resampled(samples[None], lengths), int(frames))
    return 1 / finder.lags[best_path_in_tensors(steady * (1 - pitch.PREFERENCE * finder.lags), frames)[0]]


@pytest.mark.parametrize("rate", [4100, 8000, 16000, 44100])
@pytest.mark.parametrize("height", [70.0, 110.0, 196.0, 330.0, 390.0])
def test_a_steady_voice_has_its_pitch(height, rate):
    samples = voice(torch.full((rate,), height), rate)
    assert (tracked(samples, rate) / height).log().abs().max() < 0.015
    frames = values(samples, rate)[5:-5]
    assert (frames[:, 0] < -0.9).all() and frames[:, 1].abs().max() < 0.05 and frames[:, 2].abs().max() < 0.2


def test_a_glide_is_followed_at_the_time_of_the_frame():
    pitches = 120 * 2 ** (torch.arange(32000) / 32000)  # an octave in two seconds
    at_centre = pitches[torch.arange(198) * 160 + 200]
    assert (tracked(voice(pitches)) / at_centre).log().abs().max() < 0.015


def test_height_and_slope_are_those_of_a_glide():
    rising = values(voice(150 * 2 ** (torch.arange(11200) / 16000)))[10:-10]
    per_frame = math.log(2) / 100
    torch.testing.assert_close(rising[:, 2].mean(), torch.tensor(10 * per_frame), rtol=0.05, atol=0)
    assert abs(float(rising[-1, 1] - rising[0, 1]) - 2 * per_frame * (len(rising) - 1)) < 0.05
    assert rising[0, 1] < 0 < rising[-1, 1]


def test_height_does_not_depend_on_the_speaker():
    low, high = (values(voice(height * 1.5 ** (torch.arange(16000) / 16000))) for height in (100, 200))
    torch.testing.assert_close(low[10:-10, 1], high[10:-10, 1], rtol=0, atol=0.05)


def test_noise_and_silence_have_no_voice():
    noise = values(0.1 * torch.randn(32000))
    assert noise[:, 0].mean() > -0.45 and noise[:, 1].abs().mean() < 0.3
    silent = values(torch.zeros(16000))
    assert silent.isfinite().all() and (silent[:, 0].abs() < 1e-3).all() and (silent[:, 1:].abs() < 0.05).all()


@pytest.mark.parametrize("rate", [4100, 16000])
def test_what_lies_above_the_band_is_filtered_away(rate):
    high = (2 * math.pi * 1700 * torch.arange(rate) / rate).sin()[None]
    samples, _ = Pitch(rate).resampled(high, torch.tensor([rate]))
    assert samples[:, 100:-100].square().mean() < 1e-4


def test_loudness_changes_nothing():
    samples = voice(torch.full((16000,), 150.0)) + 0.02 * torch.randn(16000)
    torch.testing.assert_close(values(samples), values(samples * 2**-10))


def test_correlations_are_those_of_their_formula():
    finder, samples = Pitch(16000), 0.1 * torch.randn(1, 700)
    plain, _ = finder.correlations(samples, torch.tensor([700]), 5)
    before, longest, window = finder.longest // 2, finder.longest, finder.window
    padded = torch.nn.functional.pad(samples[0].double(), (before, 300))
    for frame in range(5):
        piece = padded[40 * frame :][: window + longest]
        piece = piece - piece.mean()
        first = piece[:window]
        whole = [first @ (later := piece[lag:][:window]) / (first.norm() * later.norm()) for lag in range(longest + 1)]
        for place in range(0, len(finder.lags), 17):
            lag = float(finder.lags[place].double() * pitch.RATE)
            near = [k for k in range(longest + 1) if abs(k - lag) < pitch.SIDE]
            hann = [0.5 + 0.5 * math.cos(math.pi * (k - lag) / pitch.SIDE) for k in near]
            sinc = [math.sin(math.pi * (k - lag)) / (math.pi * (k - lag)) for k in near]
            expected = sum(float(whole[k]) * w * s for k, w, s in zip(near, hann, sinc, strict=True))
            assert float(plain[0, frame, place]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("find", [best_path_in_tensors, best_path], ids=["tensors", "loop"])
def test_the_path_is_the_best_of_all(find, monkeypatch):
    monkeypatch.setattr(pitch, "GLIDE", 1)
    worth = torch.rand(20, 4, 5) * 0.2

    def total(row: list[list[float]], path: tuple[int, ...]) -> float:
        moves = sum(abs(a - b) > 1 for a, b in itertools.pairwise(path))
        return sum(row[t][place] for t, place in enumerate(path)) - pitch.LEAP * moves

    found = find(worth, torch.full((20,), 4))
    for row, path in zip(worth.tolist(), found.tolist(), strict=True):
        assert tuple(path) == max(itertools.product(range(5), repeat=4), key=lambda one: total(row, one))


def test_the_compiled_loop_finds_the_same_path():
    worth, frames = torch.rand(7, 60, 40), torch.tensor([60, 59, 31, 2, 1, 0, 47])
    assert torch.equal(best_path(worth, frames), best_path_in_tensors(worth, frames))


def test_an_utterance_has_the_same_pitch_alone_and_in_any_batch():
    lengths = torch.tensor([12000, 390, 5000, 400])
    waveforms = torch.full((4, 12345), math.nan)
    for row, length in zip(waveforms, lengths.tolist(), strict=True):
        row[:length] = voice(torch.linspace(100, 300, length)) + 0.01 * torch.randn(length)
    features = Features(FeaturesConfig(bins=13, pitch=True))
    together, frames = features(waveforms, lengths)
    assert together.shape[2] == features.size == 16 and frames.tolist() == [73, 0, 29, 1]
    for row, length, count in zip(range(4), lengths.tolist(), frames.tolist(), strict=True):
        alone, _ = features(waveforms[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[row, :count], alone[0], rtol=1e-4, atol=1e-4)
        assert (together[row, count:] == 0).all()


def test_the_filterbank_beside_it_stays_as_it_is():
    waveforms, lengths = 0.1 * torch.randn(2, 9000), torch.tensor([9000, 5000])
    without, _ = Features(FeaturesConfig(deltas=1))(waveforms, lengths)
    beside, _ = Features(FeaturesConfig(deltas=1, pitch=True))(waveforms, lengths)
    assert torch.equal(beside[:, :, :160], without)


def test_a_likelier_voice_is_more_like_itself():
    probabilities = voicing_probability(torch.linspace(0, 1, 101))
    assert (probabilities.diff() > 0).all() and probabilities[0] < 0.01 and probabilities[-1] > 0.99


def test_its_tables_are_not_saved():
    assert not Features(FeaturesConfig(pitch=True)).state_dict()


def test_arrays_have_no_pitch():
    with pytest.raises(UsageError, match="^pitch is found in waveforms"):
        FeaturesConfig(kind="precomputed", pitch=True)
