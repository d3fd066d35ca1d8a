import pytest
import torch

from seq2seq_asr.nn.convolution import ConvolutionalFrontEnd, VggFrontEnd

LENGTHS = torch.tensor([9, 4, 1])


def written_out(front: ConvolutionalFrontEnd, features: torch.Tensor) -> torch.Tensor:
    """Every output value as a sum over its own 3 x 3 neighbourhood; ``(T, F)`` to ``(T2, F2)``."""
    maps = features[None]
    for convolution in front.convolutions:
        weight, bias = convolution.parameters()
        _, time, bins = maps.shape
        out = torch.zeros(len(weight), -(-time // 2), -(-bins // 2), dtype=maps.dtype)
        for channel, t, f in torch.cartesian_prod(*(torch.arange(size) for size in out.shape)).tolist():
            value = bias[channel]
            for dt, df in torch.cartesian_prod(torch.arange(3), torch.arange(3)).tolist():
                row, column = 2 * t + dt - 1, 2 * f + df - 1
                if 0 <= row < time and 0 <= column < bins:
                    value = value + maps[:, row, column] @ weight[channel, :, dt, df]
            out[channel, t, f] = value.clamp(min=0)
        maps = out
    return maps.transpose(0, 1).flatten(1)


def test_equals_its_written_out_sum_for_each_utterance_in_a_batch():
    front = ConvolutionalFrontEnd((2, 3), 5).double()
    features = torch.randn(3, 11, 5, dtype=torch.float64)
    for row, length in zip(features, LENGTHS.tolist(), strict=True):
        row[length:] = 0
    frames, lengths = front(features, LENGTHS)
    assert lengths.tolist() == [3, 1, 1]
    assert frames.shape == (3, 3, front.size)
    for b, (length, kept) in enumerate(zip(LENGTHS.tolist(), lengths.tolist(), strict=True)):
        torch.testing.assert_close(frames[b, :kept], written_out(front, features[b, :length]))
        assert (frames[b, kept:] == 0).all()


def same(convolution, maps):
    """A 3 x 3 convolution without stride and a ReLU, a value at a time."""
    _, time, bins = maps.shape
    out = torch.zeros(convolution.out_channels, time, bins, dtype=maps.dtype)
    for channel, t, f in torch.cartesian_prod(*(torch.arange(size) for size in out.shape)).tolist():
        value = convolution.bias[channel]
        for row in range(max(0, t - 1), min(time, t + 2)):
            for column in range(max(0, f - 1), min(bins, f + 2)):
                value = value + maps[:, row, column] @ convolution.weight[channel, :, row - t + 1, column - f + 1]
        out[channel, t, f] = value.clamp(min=0)
    return out


def vgg_written_out(front, features):
    """Blocks of two convolutions and the largest value of each 2 x 2 square; ``(T, F)`` to ``(T2, F2)``."""
    maps = features[None]
    for first in range(0, len(front.convolutions), 2):
        maps = same(front.convolutions[first + 1], same(front.convolutions[first], maps))
        rows = [maps[:, t : t + 2].amax(dim=1) for t in range(0, maps.shape[1], 2)]
        columns = torch.stack(rows, dim=1)
        maps = torch.stack([columns[:, :, f : f + 2].amax(dim=2) for f in range(0, maps.shape[2], 2)], dim=2)
    return maps.transpose(0, 1).flatten(1)


def test_vgg_equals_its_written_out_sum_for_each_utterance_in_a_batch():
    front = VggFrontEnd((2, 3), 5).double()
    features = torch.randn(3, 11, 5, dtype=torch.float64)
    for row, length in zip(features, LENGTHS.tolist(), strict=True):
        row[length:] = 0
    frames, lengths = front(features, LENGTHS)
    assert lengths.tolist() == [3, 1, 1]
    assert frames.shape == (3, 3, front.size)
    for b, (length, kept) in enumerate(zip(LENGTHS.tolist(), lengths.tolist(), strict=True)):
        torch.testing.assert_close(frames[b, :kept], vgg_written_out(front, features[b, :length]))
        assert (frames[b, kept:] == 0).all()


@pytest.mark.parametrize("kind", [ConvolutionalFrontEnd, VggFrontEnd])
def test_a_filter_sees_a_bin_beside_its_own_deltas_and_no_other_bins(kind):
    front = kind((4,), 6, deltas=2).double()
    assert front.size == kind((4,), 6).size, "no wider for them"
    spectrum = torch.randn(1, 8, 3, 6, dtype=torch.float64, requires_grad=True)
    maps, _ = front.convolve(spectrum.transpose(1, 2), torch.tensor([8]))
    frames, _ = front(spectrum.flatten(2), torch.tensor([8]))
    torch.testing.assert_close(frames, maps.transpose(1, 2).flatten(2))
    frames.unflatten(2, (4, 3))[..., -1].sum().backward()  # of the highest frequencies
    reached = spectrum.grad.abs().sum(dim=(0, 1)) > 0
    assert (reached == reached[0]).all() and not reached[:, 0].any() and reached[:, 4:].all()


@pytest.mark.parametrize("kind", [ConvolutionalFrontEnd, VggFrontEnd])
def test_what_has_no_place_in_frequency_passes_by_and_is_added(kind):
    front, features = kind((2, 3), 5, others=2).double(), torch.randn(3, 11, 7, dtype=torch.float64)
    for row, length in zip(features, LENGTHS.tolist(), strict=True):
        row[length:] = 0
    frames, lengths = front(features, LENGTHS)
    assert lengths.tolist() == [3, 1, 1]
    plain = kind((2, 3), 5).double()
    plain.load_state_dict({name: value for name, value in front.state_dict().items() if name != "others.weight"})
    expected, _ = plain(features[:, :, :5], LENGTHS)
    for t in range(3):
        beside = torch.zeros(3, 4, 2, dtype=torch.float64)
        beside[:, : len(features[0, 4 * t : 4 * t + 4])] = features[:, 4 * t : 4 * t + 4, 5:]
        expected[:, t] += beside.flatten(1) @ front.others.weight.T
    torch.testing.assert_close(frames, expected)
    for b, length in enumerate(lengths.tolist()):
        assert (frames[b, length:] == 0).all()


@pytest.mark.parametrize("kind", [ConvolutionalFrontEnd, VggFrontEnd])
def test_maps_have_channels_side_by_side_also_after_weights_were_loaded(kind):
    front = kind((4, 4), 8)
    front.load_state_dict({name: value.contiguous().clone() for name, value in front.state_dict().items()})
    maps, _ = front.convolve(torch.randn(3, 1, 11, 8), LENGTHS)
    assert maps.stride(1) == 1
    assert maps.is_contiguous(memory_format=torch.channels_last)
