"""The compiled CTC prefix scores are those of the reference, step after step; for alignments see ``tests/search``."""

import math

import numpy as np
import pytest
import torch
from numba import njit

from seq2seq_asr.cpu import ctc_loops
from seq2seq_asr.search.ctc_fused import CompiledCtcPrefixScorer
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer, CtcPrefixState
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

NEVER = -torch.inf


def posteriors(batch: int, frames: int, vocabulary: int, spread: float = 3.0) -> torch.Tensor:
    return (spread * torch.randn(batch, frames, vocabulary, dtype=torch.float64)).log_softmax(2)


def inside(state: CtcPrefixState, lengths: torch.Tensor) -> list[torch.Tensor]:
    """What a state says of each utterance's own frames."""
    outside = torch.arange(state.blank.shape[1]) > lengths[state.utterance][:, None]
    return [part.masked_fill(outside, 0.0) for part in state[:2]] + [*state[2:]]


def assert_equal(found, wanted) -> None:
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-11)


def assert_equal_steps(
    log_probs: torch.Tensor, lengths: torch.Tensor, beam: int, steps: int = 4, repeating: float = 0.3
) -> None:
    """Random steps of both, in which parents repeat and so do tokens; every score and state must be equal."""
    exact, ours = CtcPrefixScorer(log_probs, lengths), CompiledCtcPrefixScorer(log_probs, lengths)
    wanted, found = exact.start(beam), ours.start(beam)
    rows, others = len(lengths) * beam, torch.tensor([one for one in range(log_probs.shape[2]) if one != EOS])
    many = min(6, len(others))
    for _ in range(steps):
        candidates = torch.stack([others[torch.randperm(len(others))[:many]] for _ in range(rows)])
        candidates[:, 0] = EOS  # never chosen: nothing follows it
        again = torch.rand(rows) < repeating
        candidates[again, 1] = wanted.last[again]
        (gains, extension), (our_gains, our_extension) = (
            exact.extend(candidates, wanted),
            ours.extend(candidates, found),
        )
        assert_equal(our_gains, gains)
        assert (our_gains <= 0).all()
        first = torch.arange(rows) // beam * beam
        parents = (first + torch.randint(beam, (rows,))) * many + 1 + torch.randint(many - 1, (rows,))
        wanted, found = extension.select(parents), our_extension.select(parents)
        for one, other in zip(inside(found, lengths), inside(wanted, lengths), strict=True):
            assert_equal(one, other)


@pytest.mark.parametrize(
    ("frames", "lengths", "beam", "vocabulary"),
    [(6, (6, 3, 1), 2, 8), (1, (1,), 1, 7), (67, (67, 5), 1, 9), (4, (4, 0), 3, 6), (50, (50, 31, 8, 9, 7), 5, 40)],
    ids="several least long empty groups".split(),
)
def test_steps_equal_the_reference(frames, lengths, beam, vocabulary) -> None:
    assert_equal_steps(posteriors(len(lengths), frames, vocabulary), torch.tensor(lengths), beam)


@pytest.mark.parametrize("spread", [30.0, 300.0, 3000.0], ids=["confident", "certain", "most at the floor"])
def test_nothing_underflows_that_does_not_in_the_reference(spread) -> None:
    assert_equal_steps(posteriors(3, 200, 9, spread), torch.tensor([200, 150, 13]), beam=3, steps=6)


def test_everything_at_the_floor() -> None:
    log_probs = torch.full((2, 300, 8), -700.0, dtype=torch.float64)
    log_probs[1, :, 4] = 0.0
    assert_equal_steps(log_probs, torch.tensor([300, 290]), beam=4)


def test_a_repetition_after_blanks_that_were_hardly_possible() -> None:
    """What ends in blank may be e^-1200 as probable as the prefix, and is all that a repeated token goes on from."""
    log_probs = torch.full((1, 4, 6), -60.0, dtype=torch.float64)
    log_probs[0, :2, 4], log_probs[0, :, BLANK] = 0.0, -600.0
    exact, ours = (kind(log_probs, torch.tensor([4])) for kind in (CtcPrefixScorer, CompiledCtcPrefixScorer))
    four = torch.tensor([[4]])
    states = [scorer.extend(four, scorer.start())[1].select(torch.tensor([0])) for scorer in (exact, ours)]
    wanted, found = (scorer.extend(four, state)[0] for scorer, state in zip((exact, ours), states, strict=True))
    assert -720 < float(wanted) < -600
    assert_equal(found, wanted)


def test_a_token_for_which_all_before_had_to_come_a_frame_earlier() -> None:
    """Whose three tokens stand in the last frames, with certainty, says a fourth by four frames at the floor."""
    log_probs, lengths = torch.full((1, 6, 9), -700.0, dtype=torch.float64), torch.tensor([6])
    log_probs[0, torch.arange(6), torch.tensor([BLANK, BLANK, BLANK, 4, 5, 6])] = 0.0
    exact, ours = (kind(log_probs, lengths) for kind in (CtcPrefixScorer, CompiledCtcPrefixScorer))
    wanted, found = exact.start(), ours.start()
    for token in (4, 5, 6, 7):
        (change, extension), (our_change, our_extension) = (
            scorer.extend(torch.tensor([[token]]), state) for scorer, state in ((exact, wanted), (ours, found))
        )
        assert_equal(our_change, change)
        wanted, found = extension.select(torch.tensor([0])), our_extension.select(torch.tensor([0]))
    assert float(found.prefix) == pytest.approx(-2400.0, abs=2.0)


def test_the_first_frames_far_less_probable_than_the_last() -> None:
    log_probs = posteriors(2, 40, 7, 1.0)
    log_probs[:, :20, 5], log_probs[:, 20:, 5] = -500.0, -1e-3
    log_probs[:, 10:12, BLANK] = -590.0
    assert_equal_steps(log_probs, torch.tensor([40, 33]), beam=4, steps=6, repeating=0.5)


def test_what_is_impossible_stays_so_and_harms_nobody() -> None:
    log_probs, lengths = posteriors(2, 6, 7), torch.tensor([6, 0])
    scorer = CompiledCtcPrefixScorer(log_probs, lengths)
    candidates = torch.tensor([[EOS, 4, BLANK], [EOS, 4, SOS]]).repeat_interleave(2, 0)
    gains, extension = scorer.extend(candidates, scorer.start(2))
    assert gains[2:].tolist() == [[0.0, NEVER, NEVER]] * 2 and gains[:2, 2].tolist() == [NEVER] * 2
    state = extension.select(torch.tensor([2, 4, 7, 8]))  # blank, a token; a token without frames, SOS
    assert state.prefix.isneginf().tolist() == [True, False, True, True]
    gains, _ = scorer.extend(candidates, state)
    assert gains.isneginf().tolist() == [[True] * 3, [False, False, True], [True] * 3, [True] * 3]


def test_the_same_alone_and_in_any_batch_to_the_bit() -> None:
    log_probs, lengths = posteriors(5, 61, 30), torch.tensor([61, 50, 9, 17, 1])
    log_probs[4] = torch.nan
    steps = [(torch.randint(4, 30, (10, 7)), torch.arange(10) * 7 + torch.randint(7, (10,))) for _ in range(4)]
    steps[0][0][:, 0] = EOS
    together = CompiledCtcPrefixScorer(log_probs, lengths)
    state, found = together.start(2), list[tuple[torch.Tensor, CtcPrefixState]]()
    for candidates, parents in steps:
        gains, extension = together.extend(candidates, state)
        state = extension.select(parents)
        found.append((gains, state))
    for row, length in enumerate(lengths[:4].tolist()):
        alone = CompiledCtcPrefixScorer(log_probs[row : row + 1, :length], lengths[row : row + 1])
        state, rows = alone.start(2), slice(2 * row, 2 * row + 2)
        for (candidates, parents), (gains, wanted) in zip(steps, found, strict=True):
            own, extension = alone.extend(candidates[rows], state)
            state = extension.select(parents[rows] - 14 * row)
            assert torch.equal(own, gains[rows])
            assert torch.equal(state.nonblank, wanted.nonblank[rows, : length + 1])
            assert torch.equal(state.blank, wanted.blank[rows, : length + 1])
            assert torch.equal(state.prefix, wanted.prefix[rows])


def test_posteriors_that_are_no_numbers_give_none() -> None:
    log_probs = torch.full((1, 5, 6), torch.nan)
    scorer = CompiledCtcPrefixScorer(log_probs, torch.tensor([5]))
    gains, extension = scorer.extend(torch.tensor([[4, 5]]), scorer.start())
    assert gains.isnan().all()
    gains, _ = scorer.extend(torch.tensor([[4, 5]]), extension.select(torch.tensor([1])))
    assert gains.isnan().all()


def test_a_longer_prefix_is_never_more_probable() -> None:
    """Where one path has all the probability, rounding alone decides."""
    log_probs = torch.zeros(1, 400, 6, dtype=torch.float64)
    log_probs[0, torch.arange(400), torch.arange(400) % 3 % 2 * 4] = 40.0
    log_probs = (log_probs + torch.rand(1, 400, 1) * 10).log_softmax(2)
    scorer = CompiledCtcPrefixScorer(log_probs, torch.tensor([400]))
    state = scorer.start()
    for _ in range(60):
        gains, extension = scorer.extend(torch.tensor([[EOS, 4, 5, 1]]), state)
        state = extension.select(torch.tensor([1]))
        assert (gains <= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_precision_and_layout(dtype) -> None:
    log_probs = posteriors(2, 9, 20).to(dtype).transpose(0, 1).contiguous().transpose(0, 1)[:, :, ::2]
    candidates = torch.randperm(10)[:8].view(4, 2).t().repeat_interleave(2, 0)[::2]
    lengths = torch.tensor([9, 4])
    (wanted, _), (found, extension) = (
        (scorer := kind(log_probs, lengths)).extend(candidates, scorer.start())
        for kind in (CtcPrefixScorer, CompiledCtcPrefixScorer)
    )
    assert_equal(found, wanted)
    assert extension.select(torch.tensor([[6, 3], [1, 2]]).t()[0]).utterance.tolist() == [1, 0]


def test_a_state_is_a_value() -> None:
    scorer = CompiledCtcPrefixScorer(posteriors(2, 9, 20), torch.tensor([9, 8]))
    candidates, parents = torch.randint(4, 20, (4, 5)), torch.tensor([4, 0, 11, 10])
    before = scorer.start(2)
    kept = [part.clone() for part in before]
    gains, extension = scorer.extend(candidates, before)
    once, twice = extension.select(parents), extension.select(parents)
    assert all(torch.equal(one, other) for one, other in zip(before, kept, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(once, twice, strict=True))
    assert torch.equal(scorer.extend(candidates, before)[0], gains)


@njit
def each(function, x):
    found = np.empty_like(x)
    for place in range(len(x)):
        found[place] = function(x[place])
    return found


@njit
def each_pair(x, y):
    found = np.empty_like(x)
    for place in range(len(x)):
        found[place] = ctc_loops.add_logs(x[place], y[place])
    return found


def test_exponentials_and_logarithms_are_exact_to_rounding() -> None:
    steps = np.concatenate(
        [np.linspace(-708, 709, 20011), np.linspace(-1, 1, 5003), np.arange(-700, 700) * math.log(2) / 2]
    )
    np.testing.assert_allclose(each(ctc_loops.exp, steps), [math.exp(one) for one in steps], rtol=2e-15, atol=0)
    positive = np.concatenate([each(ctc_loops.exp, steps), np.linspace(0.4, 2.5, 5003), [2.0**-1022, 1.0]])
    np.testing.assert_allclose(each(ctc_loops.log, positive), [math.log(one) for one in positive], rtol=2e-15, atol=0)
    gaps = steps[:20011] / 10
    wanted = [max(gap, 0.0) + math.log1p(math.exp(-abs(gap))) - 5.0 for gap in gaps]
    np.testing.assert_allclose(each_pair(gaps - 5.0, np.full_like(gaps, -5.0)), wanted, rtol=1e-14, atol=1e-14)


def test_exponentials_and_logarithms_of_what_is_no_number() -> None:
    inf, nan = math.inf, math.nan
    np.testing.assert_equal(each(ctc_loops.exp, np.array([-inf, -709.0, 0.0, nan])), [0.0, 0.0, 1.0, nan])
    np.testing.assert_equal(each(ctc_loops.log, np.array([0.0, 1.0, nan, -1.0])), [-inf, 0.0, nan, nan])
    one, other = np.array([-inf, -inf, 0.5, nan, 0.0, nan, -inf]), np.array([-inf, 0.5, -inf, 0.0, nan, -inf, nan])
    np.testing.assert_equal(each_pair(one, other), [-inf, 0.5, 0.5, nan, nan, nan, nan])
