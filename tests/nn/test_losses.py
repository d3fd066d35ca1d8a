import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.nn.losses import accuracy, cross_entropy, ctc_loss, guided_attention, shift_targets
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

token_lists = st.lists(st.lists(st.integers(4, 6), max_size=4), min_size=1, max_size=4)


def pad(rows: list[list[int]], value: int = BLANK, extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Token lists as a padded batch with its lengths."""
    size = max(map(len, rows)) + extra
    padded = [row + [value] * (size - len(row)) for row in rows]
    return torch.tensor(padded, dtype=torch.long).view(len(rows), size), torch.tensor([len(row) for row in rows])


def collapse(path: tuple[int, ...]) -> list[int]:
    """What a CTC path says: equal neighbours merged, blanks removed."""
    return [token for token, _ in itertools.groupby(path) if token != BLANK]


@given(token_lists, st.integers(0, 2))
def test_shift_puts_the_start_before_and_the_end_behind(rows, extra):
    tokens, lengths = pad(rows, extra=extra)
    inputs, outputs = shift_targets(tokens, lengths)
    assert inputs.shape == outputs.shape == (len(rows), tokens.shape[1] + 1)
    for row, read, said in zip(rows, inputs.tolist(), outputs.tolist(), strict=True):
        assert read[: len(row) + 1] == [SOS, *row]
        assert said[: len(row) + 1] == [*row, EOS]
        assert set(read[len(row) + 1 :]) | set(said[len(row) + 1 :]) <= {BLANK}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_cross_entropy_and_accuracy_equal_a_loop(smoothing):
    logits = 3 * torch.randn(3, 4, 5, dtype=torch.float64)
    targets, lengths = pad([[1, 4, 2, 0], [3], []])
    losses, right = cross_entropy(logits, targets, lengths, smoothing), accuracy(logits, targets, lengths)
    for b, length in enumerate(lengths.tolist()):
        loss, hits = 0.0, 0
        for u in range(length):
            scores = logits[b, u].tolist()
            total = math.log(sum(map(math.exp, scores)))
            truth = int(targets[b, u])
            loss -= (1 - smoothing) * (scores[truth] - total) + smoothing * sum(s - total for s in scores) / 5
            hits += scores.index(max(scores)) == truth
        assert float(losses[b]) == pytest.approx(loss, abs=1e-12)
        assert int(right[b]) == hits


def test_smoothed_cross_entropy_is_least_where_the_smoothed_target_is_said():
    target = torch.full((1, 1, 5), 0.1 / 5, dtype=torch.float64)
    target[0, 0, 3] += 0.9
    logits = target.log().requires_grad_()
    cross_entropy(logits, torch.tensor([[3]]), torch.tensor([1]), 0.1).sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(target))


@pytest.mark.parametrize("row", [[], [1], [2, 1], [1, 1], [1, 2, 1], [2, 2, 2], [1, 2, 1, 2], [1, 1, 2]])
@pytest.mark.parametrize("frames", [1, 2, 4, 5])
def test_ctc_equals_the_sum_over_all_alignments(row, frames):
    log_probs = torch.randn(1, frames, 3, dtype=torch.float64).log_softmax(2)
    paths = [path for path in itertools.product(range(3), repeat=frames) if collapse(path) == row]
    total = sum(math.exp(sum(float(log_probs[0, s, token]) for s, token in enumerate(path))) for path in paths)
    tokens, lengths = pad([row])
    loss = float(ctc_loss(log_probs, torch.tensor([frames]), tokens, lengths))
    assert loss == pytest.approx(-math.log(total) if paths else 0.0, abs=1e-9)


def test_losses_are_the_same_alone_and_beside_others_whatever_the_padding():
    rows, frames = [[1, 2, 2, 3], [2], [], [3, 1]], torch.tensor([9, 2, 3, 1])
    tokens, lengths = pad(rows, value=4, extra=2)
    log_probs = torch.randn(4, 10, 5).log_softmax(2)
    logits = torch.randn(4, 6, 5)
    for b, (length, frame) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
        log_probs[b, frame:] = 7.0
        logits[b, length:] = 1e4
    together = (
        ctc_loss(log_probs, frames, tokens, lengths),
        cross_entropy(logits, tokens, lengths, 0.1),
        accuracy(logits, tokens, lengths),
    )
    for b, length in enumerate(lengths.tolist()):
        one = slice(b, b + 1)
        mine, count = tokens[one, :length], lengths[one]
        alone = (
            ctc_loss(log_probs[one, : int(frames[b])], frames[one], mine, count),
            cross_entropy(logits[one, :length], mine, count, 0.1),
            accuracy(logits[one, :length], mine, count),
        )
        for expected, result in zip(alone, together, strict=True):
            torch.testing.assert_close(result[one], expected)


def test_gradients_are_those_of_finite_differences():
    tokens, lengths = pad([[1, 2], [2]])
    logits = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    frames = torch.tensor([4, 3])
    assert torch.autograd.gradcheck(lambda x: ctc_loss(x.log_softmax(2), frames, tokens, lengths), logits)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x[:, :2], tokens, lengths, 0.1), logits)


def test_an_utterance_too_short_for_its_tokens_costs_nothing_and_pulls_at_nothing():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    tokens, lengths = pad([[1, 1, 2], [1, 2]])
    losses = ctc_loss(logits.log_softmax(2), torch.tensor([3, 3]), tokens, lengths)
    losses.sum().backward()
    assert losses[0] == 0 and losses[1] > 0
    assert (logits.grad[0] == 0).all() and (logits.grad[1] != 0).any()


def test_guided_attention_equals_a_loop_for_each_utterance_of_a_batch():
    steps, frames = torch.tensor([4, 1, 3]), torch.tensor([6, 2, 5])
    alignments = torch.rand(3, 5, 7, dtype=torch.float64)
    for b, length in enumerate(frames.tolist()):
        alignments[b, :, length:] = 0
    found = guided_attention(alignments, steps, frames, 0.3)
    for b in range(3):
        total, said, heard = 0.0, int(steps[b]), int(frames[b])
        for u in range(said):
            for s in range(heard):
                cost = 1 - math.exp(-((u / said - s / heard) ** 2) / (2 * 0.3**2))
                total += float(alignments[b, u, s]) * cost
        assert float(found[b]) == pytest.approx(total, abs=1e-12)


def test_a_diagonal_alignment_costs_nothing_and_the_opposite_one_most():
    steps = frames = torch.tensor([5])
    diagonal, opposite = torch.eye(5)[None], torch.eye(5).flip(1)[None]
    flat = torch.full((1, 5, 5), 0.2)
    costs = [float(guided_attention(one, steps, frames, 0.2)) for one in (diagonal, flat, opposite)]
    assert costs[0] == 0 and 0 < costs[1] < costs[2] < 5


def test_the_gradient_of_guided_attention_is_that_of_finite_differences():
    alignments = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([3, 2]), torch.tensor([4, 2])
    assert torch.autograd.gradcheck(lambda x: guided_attention(x, *lengths, 0.2), alignments)
