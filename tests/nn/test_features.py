import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.deltas import add_deltas
from seq2seq_asr.nn.fbank import Fbank
from seq2seq_asr.nn.features import Features, FeaturesConfig

SHARED = Path(__file__).parents[2] / "../shared/data"


def test_without_deltas_and_normalisation_features_are_the_filterbank():
    waveforms, lengths = 0.1 * torch.randn(2, 9000), torch.tensor([9000, 5000])
    features = Features(FeaturesConfig(normalisation="none"))
    expected, expected_lengths = Fbank()(waveforms, lengths)
    result, frames = features(waveforms, lengths)
    assert torch.equal(result, expected) and torch.equal(frames, expected_lengths)
    assert features.frame_shift == 0.01


def test_the_shift_of_frames_is_that_of_whole_samples():
    features = Features(FeaturesConfig(rate=22050))
    frames = features.frame_count(22050 * 600)
    assert features.frame_shift == 220 / 22050
    assert frames * features.frame_shift == pytest.approx(600, abs=0.03)
    with pytest.raises(UsageError, match="multiple of 100 Hz, got 22050"):
        FeaturesConfig(rate=22050, pitch=True)


def test_pitch_needs_more_samples_than_it_works_on():
    for rate in (2000, 4000):
        assert Features(FeaturesConfig(rate=rate, bins=5)).pitch is None
        with pytest.raises(UsageError, match=f"pitch needs a rate above 4000 Hz, got {rate}"):
            FeaturesConfig(rate=rate, pitch=True)


@pytest.mark.parametrize("kind", ["fbank", "precomputed"])
@pytest.mark.parametrize("normalisation", ["none", "utterance", "global"])
@pytest.mark.parametrize("deltas", [0, 1, 2])
def test_an_utterance_yields_the_same_alone_and_in_any_batch(kind, normalisation, deltas):
    features = Features(FeaturesConfig(kind=kind, bins=13, deltas=deltas, normalisation=normalisation))
    lengths = [4000, 390, 2100, 400] if kind == "fbank" else [20, 1, 7, 0]
    shape = (4, max(lengths) + 50) if kind == "fbank" else (4, max(lengths) + 5, 13)
    inputs = torch.full(shape, math.nan)
    for row, length in zip(inputs, lengths, strict=True):
        row[:length] = 0.1 * torch.randn(row[:length].shape)
    features.fit_global([(inputs, torch.tensor(lengths))]) if normalisation == "global" else None
    result, frames = features(inputs, torch.tensor(lengths))
    assert frames.tolist() == [features.frame_count(length) for length in lengths]
    assert result.shape[2] == features.size == 13 * (1 + deltas)
    for b, length in enumerate(lengths):
        alone, _ = features(inputs[b : b + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(result[b, : frames[b]], alone[0], rtol=1e-4, atol=1e-4)
        assert (result[b, frames[b] :] == 0).all()


def test_deltas_are_taken_before_normalisation():
    inputs, lengths = torch.randn(1, 40, 3) * 5 + 2, torch.tensor([40])
    result, _ = Features(FeaturesConfig(kind="precomputed", bins=3, deltas=2))(inputs, lengths)
    raw = add_deltas(inputs, lengths, 2)[0]
    expected = (raw - raw.mean(0)) / raw.std(0, correction=0)
    torch.testing.assert_close(result[0], expected, rtol=1e-4, atol=1e-5)


def test_global_statistics_are_saved_and_loaded():
    config = FeaturesConfig(normalisation="global", bins=20)
    inputs, lengths = 0.1 * torch.randn(3, 6000), torch.tensor([6000, 3000, 800])
    trained, loaded = Features(config), Features(config)
    trained.fit_global([(inputs, lengths)])
    result, frames = trained(inputs, lengths)
    valid = torch.cat([row[:n] for row, n in zip(result, frames.tolist(), strict=True)])
    torch.testing.assert_close(valid.mean(0), torch.zeros(20), rtol=0, atol=1e-4)
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded(inputs, lengths)[0], result)


def test_autocast_changes_nothing():
    features = Features(FeaturesConfig(deltas=2))
    inputs, lengths = 0.1 * torch.randn(2, 6000), torch.tensor([6000, 3000])
    expected, _ = features(inputs, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, _ = features(inputs, lengths)
    assert result.dtype == torch.float32 and torch.equal(result, expected)


def test_no_gradient_is_kept_and_no_weight_is_there():
    features = Features(FeaturesConfig(kind="precomputed", bins=2))
    result, _ = features(torch.randn(1, 5, 2, requires_grad=True), torch.tensor([5]))
    assert not result.requires_grad and not list(features.parameters())


def test_inputs_of_the_wrong_kind_are_refused():
    with pytest.raises(UsageError, match="bins is 13"):
        Features(FeaturesConfig(kind="precomputed", bins=13))(torch.randn(1, 5, 12), torch.tensor([5]))
    with pytest.raises(UsageError, match="reads waveforms"):
        Features(FeaturesConfig())(torch.randn(1, 5, 80), torch.tensor([5]))


@pytest.mark.parametrize("field, value", [("rate", 999), ("rate", 192_001), ("bins", 0)])
def test_impossible_settings_name_their_field(field, value):
    with pytest.raises(UsageError, match=field):
        FeaturesConfig(**{field: value})


def test_recorded_speech_agrees_with_torchaudio():
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    soundfile = pytest.importorskip("soundfile")
    paths = sorted(SHARED.glob("fsdd/audio/*/*_0.flac"))[:20]
    if not paths:
        pytest.skip("shared/data is not here")
    features = Features(FeaturesConfig(rate=8000, bins=40, normalisation="none"))
    for path in paths:
        samples, rate = soundfile.read(path, dtype=np.float32)
        assert rate == 8000
        waveform = torch.from_numpy(samples)[None]
        expected = kaldi.fbank(waveform, num_mel_bins=40, dither=0.0, sample_frequency=8000)
        result, _ = features(waveform, torch.tensor([waveform.shape[1]]))
        torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-3)
