import copy
import math

import pytest
import torch
from torch import nn

from seq2seq_asr.nn.normalise import VARIANCE_FLOOR, Normalise, frame_statistics


def batch(lengths: list[int], size: int, padding: float = math.nan) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.full((len(lengths), max(lengths) + 2, size), padding)
    for b, length in enumerate(lengths):
        features[b, :length] = torch.randn(length, size) * (1 + torch.arange(size)) + 10 * b - 3
    return features, torch.tensor(lengths)


def test_utterance_gives_mean_zero_and_variance_one():
    features, lengths = batch([50, 7, 2], 4)
    result = Normalise("utterance", 4)(features, lengths)
    for row, length in zip(result, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length].mean(0), torch.zeros(4), rtol=0, atol=1e-5)
        torch.testing.assert_close(row[:length].var(0, correction=0), torch.ones(4), rtol=1e-4, atol=0)
        assert (row[length:] == 0).all()


@pytest.mark.parametrize("kind", ["none", "utterance", "global"])
def test_an_utterance_yields_the_same_alone_and_in_any_batch(kind):
    normalise = Normalise(kind, 3)
    if kind == "global":
        normalise.set_statistics(torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 2.0, 9.0]))
    features, lengths = batch([20, 5, 1, 0], 3)
    result = normalise(features, lengths)
    for b, length in enumerate(lengths.tolist()):
        alone = normalise(features[b : b + 1, :length], lengths[b : b + 1])
        torch.testing.assert_close(result[b, :length], alone[0], rtol=1e-5, atol=1e-6)
        assert (result[b, length:] == 0).all()


def test_a_constant_feature_becomes_zero_and_a_faint_one_stays_faint():
    features = torch.full((1, 30, 2), -15.942385)
    features[0, :, 1] = 1e-4 * torch.randn(30)
    result = Normalise("utterance", 2)(features, torch.tensor([30]))
    torch.testing.assert_close(result[0, :, 0], torch.zeros(30), rtol=0, atol=1e-2)
    assert result[0, :, 1].abs().max() < 4 * 1e-4 / math.sqrt(VARIANCE_FLOOR)


def test_statistics_over_batches_are_those_of_all_frames_together():
    batches = [batch([9, 4], 3), batch([0], 3), batch([2, 30, 1], 3)]
    frames = torch.cat([x[b, :n] for x, lengths in batches for b, n in enumerate(lengths.tolist())]).double()
    mean, std = frame_statistics(batches)
    torch.testing.assert_close(mean, frames.mean(0))
    torch.testing.assert_close(std, frames.std(0, correction=0))


def test_statistics_stay_exact_beside_a_large_mean():
    frames = torch.randn(4, 100, 1, dtype=torch.float64)
    _, std = frame_statistics([(frames[b : b + 1] + 1e8, torch.tensor([100])) for b in range(4)])
    torch.testing.assert_close(std, frames.reshape(-1, 1).std(0, correction=0), rtol=1e-6, atol=0)


def test_global_normalises_the_training_data_as_a_whole():
    batches = [batch([40, 8], 2), batch([25], 2)]
    normalise = Normalise("global", 2)
    normalise.fit_global(iter(batches))
    mean, std = frame_statistics((normalise(x, lengths), lengths) for x, lengths in batches)
    torch.testing.assert_close(mean, torch.zeros(2).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(std, torch.ones(2).double(), rtol=1e-4, atol=0)


def test_global_statistics_travel_with_the_state():
    trained = nn.Sequential(Normalise("global", 3))
    trained[0].fit_global([batch([12, 5], 3)])
    loaded = nn.Sequential(Normalise("global", 3))
    loaded.load_state_dict(trained.state_dict())
    features, lengths = batch([6], 3)
    assert torch.equal(loaded[0](features, lengths), trained[0](features, lengths))
    assert torch.equal(copy.deepcopy(loaded)[0](features, lengths), trained[0](features, lengths))


def test_global_without_statistics_refuses_to_run():
    features, lengths = batch([6], 3)
    unfitted = Normalise("global", 3)
    with pytest.raises(RuntimeError, match="has no statistics"):
        unfitted(features, lengths)
    other = Normalise("global", 3)
    other.load_state_dict(unfitted.state_dict())
    with pytest.raises(RuntimeError, match="has no statistics"):
        other(features, lengths)


def test_unusable_statistics_are_refused():
    with pytest.raises(ValueError, match="no frame"):
        Normalise("global", 3).fit_global([batch([0], 3)])
    with pytest.raises(ValueError, match="not finite"):
        Normalise("global", 1).set_statistics(torch.tensor([math.nan]), torch.ones(1))
    with pytest.raises(ValueError, match="keeps no statistics"):
        Normalise("utterance", 1).set_statistics(torch.zeros(1), torch.ones(1))


@pytest.mark.parametrize("kind, saved", [("none", set()), ("utterance", set()), ("global", {"mean", "std"})])
def test_only_global_saves_anything(kind, saved):
    assert set(Normalise(kind, 2).state_dict()) == saved
