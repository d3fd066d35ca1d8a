import math

import numpy as np
import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.fbank import FLOOR, Fbank, mel_filters, povey_window


def sounds(seconds: float, rate: int = 16000) -> dict[str, torch.Tensor]:
    """Waveforms in [-1, 1] of different kinds: harmonics that glide, noise, an offset, clicks in silence."""
    t = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    glide = sum(torch.sin(2 * math.pi * k * (120 * t + 15 * t**2)) / k for k in range(1, 20)) / 4
    noise = torch.randn(len(t), dtype=torch.float64)
    clicks = torch.zeros_like(t)
    clicks[:: rate // 7] = 0.9
    waveforms = {
        "voiced": glide + 0.01 * noise,
        "noise": 0.2 * noise,
        "offset": 0.3 + 0.05 * noise,
        "faint": 1e-4 * noise,
        "clicks": clicks,
        "silence": torch.zeros_like(t),
    }
    return {name: waveform.clamp(-1, 1).float() for name, waveform in waveforms.items()}


def textbook(waveform: torch.Tensor, bins: int) -> torch.Tensor:
    """The definition frame by frame in float64, with a discrete Fourier sum instead of an FFT."""
    n, k = torch.arange(400, dtype=torch.float64), torch.arange(257, dtype=torch.float64)
    angles = 2 * math.pi * k[:, None] * n / 512
    rows = []
    for start in range(0, len(waveform) - 399, 160):
        frame = waveform[start : start + 400].double()
        frame = frame - frame.mean()
        frame = frame - 0.97 * torch.cat([frame[:1], frame[:-1]])
        frame = frame * (0.5 - 0.5 * torch.cos(2 * math.pi * n / 399)) ** 0.85
        power = (angles.cos() @ frame) ** 2 + (angles.sin() @ frame) ** 2
        rows.append((power @ mel_filters(bins, 512, 16000)).clamp(min=FLOOR).log())
    return torch.stack(rows)


@pytest.mark.parametrize("name", sounds(0.1))
def test_features_are_those_of_the_definition(name):
    waveform = sounds(0.5)[name]
    features, lengths = Fbank()(waveform[None], torch.tensor([len(waveform)]))
    assert lengths.tolist() == [1 + (len(waveform) - 400) // 160]
    torch.testing.assert_close(features[0].double(), textbook(waveform, 80), rtol=0, atol=1e-3)


@pytest.mark.parametrize("rate, bins", [(16000, 80), (16000, 40), (8000, 40), (22050, 80)])
@pytest.mark.parametrize("name", ["voiced", "noise", "clicks", "silence"])
def test_features_are_those_of_torchaudio(name, rate, bins):
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    waveform = sounds(2.0, rate)[name]
    expected = kaldi.fbank(waveform[None], num_mel_bins=bins, dither=0.0, sample_frequency=rate)
    features, lengths = Fbank(bins=bins, rate=rate)(waveform[None], torch.tensor([len(waveform)]))
    assert lengths.tolist() == [len(expected)]
    torch.testing.assert_close(features[0], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["voiced", "noise", "offset", "clicks"])
def test_features_are_those_of_kaldi(name):
    knf = pytest.importorskip("kaldi_native_fbank")
    waveform = sounds(2.0)[name]
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0.0, True
    options.mel_opts.num_bins = 80
    kaldi = knf.OnlineFbank(options)
    kaldi.accept_waveform(16000, waveform.tolist())
    kaldi.input_finished()
    expected = np.stack([kaldi.get_frame(i) for i in range(kaldi.num_frames_ready)])
    features, _ = Fbank()(waveform[None], torch.tensor([len(waveform)]))
    np.testing.assert_allclose(features[0].numpy(), expected, rtol=0, atol=1e-3)


def test_an_utterance_yields_the_same_alone_and_in_any_batch():
    fbank, lengths = Fbank(), [16000, 399, 400, 559, 560, 9000, 0]
    waveforms = torch.full((len(lengths), 18000), math.nan)  # padding that spoils whatever reads it
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = 0.1 * torch.randn(length)
    features, frames = fbank(waveforms, torch.tensor(lengths))
    assert frames.tolist() == [98, 0, 1, 1, 2, 54, 0] == [fbank.frame_count(length) for length in lengths]
    for b, length in enumerate(lengths):
        alone, count = fbank(waveforms[b : b + 1, :length], torch.tensor([length]))
        assert alone.shape[1] == count[0] == frames[b]
        torch.testing.assert_close(features[b, : frames[b]], alone[0], rtol=0, atol=1e-5)
        assert (features[b, frames[b] :] == 0).all()


def test_features_stay_in_float32_under_autocast():
    waveform, lengths, fbank = 0.1 * torch.randn(1, 8000), torch.tensor([8000]), Fbank()
    expected, _ = fbank(waveform, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = fbank(waveform, lengths)
    assert features.dtype == torch.float32
    assert torch.equal(features, expected)


def test_nothing_is_learnt_or_saved():
    fbank = Fbank()
    assert not list(fbank.parameters()) and not fbank.state_dict()
    assert not fbank(torch.randn(1, 800, requires_grad=True), torch.tensor([800]))[0].requires_grad


def test_neighbouring_mel_filters_share_each_line_of_the_spectrum():
    filters = mel_filters(40, 512, 16000)
    inside = (filters.cumsum(1)[:, -1] > 0).nonzero().squeeze(1)
    peaks = filters.argmax(0)
    assert (peaks[1:] >= peaks[:-1]).all()
    between = inside[(inside > peaks[0]) & (inside < peaks[-1])]
    torch.testing.assert_close(filters[between].sum(1), torch.ones(len(between), dtype=torch.float64))


def test_window_is_symmetric_and_zero_at_both_ends():
    window = povey_window(400)
    assert window[0] == 0 and window[-1] == 0 and window.max() <= 1
    torch.testing.assert_close(window, window.flip(0))


def test_too_many_filters_are_refused():
    with pytest.raises(UsageError, match="200 mel filters are too many"):
        Fbank(bins=200, rate=8000)
