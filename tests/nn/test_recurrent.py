import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq_asr.nn.recurrent import BidirectionalLayer

LIBRARY_CELLS = ("lstm", "gru", "elman", "elman_relu")


def packed_twin(layer: BidirectionalLayer, cell: str, size: int, units: int) -> nn.Module:
    """PyTorch's own bidirectional layer with the weights of ``layer``."""
    options = {"nonlinearity": "relu"} if cell == "elman_relu" else {}
    kind = getattr(nn, "RNN" if cell.startswith("elman") else cell.upper())
    twin = kind(size, units, batch_first=True, bidirectional=True, **options).to(torch.float64)
    back = {f"{name}_reverse": value for name, value in layer.back.state_dict().items()}
    twin.load_state_dict({**layer.ahead.state_dict(), **back})
    return twin


@pytest.mark.parametrize("cell", LIBRARY_CELLS)
def test_layer_equals_the_packed_bidirectional_one_in_values_and_gradients(cell):
    layer = BidirectionalLayer(cell, 3, 4).double()
    twin = packed_twin(layer, cell, 3, 4)
    frames = torch.randn(4, 9, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([5, 9, 1, 8])
    result = layer(frames, lengths)
    packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(twin(packed)[0], batch_first=True)
    torch.testing.assert_close(result, expected)

    weights = torch.randn_like(result)
    gradients = torch.autograd.grad((result * weights).sum(), [frames, *layer.parameters()])
    wanted = torch.autograd.grad((expected * weights).sum(), [frames, *twin.parameters()])
    for gradient, one in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, one)


@pytest.mark.parametrize("cell", (*LIBRARY_CELLS, "peephole_lstm", "light_gru"))
def test_states_are_the_same_alone_and_beside_others_whatever_the_padding(cell):
    layer = BidirectionalLayer(cell, 3, 4)
    lengths = torch.tensor([6, 2, 1])
    frames = torch.randn(3, 7, 3)
    for row, length in zip(frames, lengths.tolist(), strict=True):
        row[length:] = 1e4
    result = layer(frames, lengths)
    assert layer.size == result.shape[2] == 8
    for b, length in enumerate(lengths.tolist()):
        alone = layer(frames[b : b + 1, :length], lengths[b : b + 1])
        torch.testing.assert_close(result[b, :length], alone[0])
        assert (result[b, length:] == 0).all()
