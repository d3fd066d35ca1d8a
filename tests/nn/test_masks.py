import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.nn.masks import reverse_within_lengths, valid_mask

length_lists = st.lists(st.integers(0, 9), min_size=1, max_size=5)


@given(length_lists, st.integers(0, 4))
def test_mask_marks_as_many_positions_as_the_length_and_the_first_ones(lengths, extra):
    mask = valid_mask(torch.tensor(lengths), max(lengths) + extra)
    assert mask.tolist() == [[t < length for t in range(max(lengths) + extra)] for length in lengths]


@given(length_lists, st.integers(0, 4))
def test_reversal_flips_each_utterance_and_leaves_its_padding(lengths, extra):
    x = torch.randn(len(lengths), max(lengths) + extra, 3)
    result = reverse_within_lengths(x, torch.tensor(lengths))
    for row, reversed_row, length in zip(x, result, lengths, strict=True):
        assert torch.equal(reversed_row[:length], row[:length].flip(0))
        assert torch.equal(reversed_row[length:], row[length:])


def test_reversing_twice_gives_the_batch_back_and_gradients_follow():
    x = torch.randn(3, 7, 2, requires_grad=True)
    lengths = torch.tensor([7, 4, 0])
    once = reverse_within_lengths(x, lengths)
    assert torch.equal(reverse_within_lengths(once, lengths), x)
    weights = torch.randn_like(once)
    (gradient,) = torch.autograd.grad((once * weights).sum(), x)
    assert torch.equal(gradient, reverse_within_lengths(weights, lengths))
