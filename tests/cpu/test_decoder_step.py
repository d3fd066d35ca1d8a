"""The loops of a decoder's step beside float64 written out, over whole ranges and with what must be noticed."""

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from seq2seq_asr.cpu import decoder_step
from seq2seq_asr.cpu.decoder_step import CHANNELS, TAPS, advance, attend, emitted_log_probs

RNG = np.random.default_rng(7)
NAN, INF = np.float32("nan"), np.float32("inf")


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def over(name: str, x: np.ndarray) -> np.ndarray:
    """One of the exponentials, for every value of an array."""
    function = getattr(decoder_step, name)

    @njit(error_model="numpy")
    def run(x, result):
        for place in range(len(x)):
            result[place] = function(x[place])

    result = np.empty_like(x)
    run(x, result)
    return result


EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", EXACT)
def test_exponentials_keep_to_their_values(name) -> None:
    x = np.concatenate([np.linspace(-87, 87, 400_001), np.linspace(-1, 1, 100_001), [0.0, 1e-30, -1e-30]])
    x = x.astype(np.float32)
    exact = EXACT[name](x.astype(np.float64))
    np.testing.assert_allclose(over(name, x), exact, rtol=5e-7, atol=0)


@pytest.mark.parametrize(("name", "least", "most"), [("exp", 0, 1.6e38), ("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_infinities_go_to_the_ends_and_nan_stays(name, least, most) -> None:
    found = over(name, np.array([-INF, -200.0, 200.0, INF, NAN], np.float32))
    np.testing.assert_allclose(found[:2], least, atol=3e-7)
    assert (found[2:4] >= most * (1 - 3e-7)).all() and (np.abs(found[:2]) <= 1).all()
    assert np.isnan(found[4])


def gru_step(last, own, mix, given):
    """``nn.GRUCell`` after its sums: reset, update, new; the reset gate scales the state's own part of the last."""
    logistic = EXACT["sigmoid"]
    units = len(last)
    reset = logistic((own + mix + given)[:units])
    update = logistic((own + mix + given)[units : 2 * units])
    new = np.tanh((mix + given)[2 * units :] + reset * own[2 * units :])
    return (1 - update) * new + update * last


@pytest.mark.parametrize("units", [1, 6, 33])
def test_the_state_goes_on_from_its_parent(units) -> None:
    asked, vocabulary = 4, 5
    gates = slice(asked, asked + 3 * units)
    before = normal(3, units), normal(3, asked + 3 * units + vocabulary), normal(3, 3 * units + vocabulary)
    table, parents, tokens = normal(vocabulary, 3 * units), np.array([2, 0, 2, 1]), np.array([4, 1, 0, 4])
    hidden = np.empty((4, units), np.float32)
    advance(hidden, before, parents, tokens, table)
    for row, (parent, token) in enumerate(zip(parents, tokens, strict=True)):
        last, own, mix = (part[parent].astype(np.float64) for part in before)
        exact = gru_step(last, own[gates], mix[: 3 * units], table[token].astype(np.float64))
        np.testing.assert_allclose(hidden[row], exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("token", [-1, 5])
def test_a_token_that_there_is_not_is_refused(token) -> None:
    before = normal(1, 2), normal(1, 6), normal(1, 6)
    with pytest.raises(IndexError, match="token"):
        advance(np.empty((1, 2), np.float32), before, np.zeros(1, np.int64), np.array([token]), normal(5, 6))


def attention(query, keys, previous, filters, location, score):
    """Alignment of one row (Chorowski et al. 2015, equations 5 to 9), in float64."""
    frames, half = len(keys), filters.shape[1] // 2
    energies = np.empty(frames)
    for frame in range(frames):
        near = [
            previous[place] if 0 <= place < len(previous) else 0.0 for place in range(frame - half, frame + half + 1)
        ]
        responses = [sum(weight * share for weight, share in zip(one, near, strict=False)) for one in filters]
        energies[frame] = score @ np.tanh(query + keys[frame] + np.array(responses) @ location)
    weights = np.exp(energies - energies.max())
    return weights / weights.sum()


class Asked:
    """What `attend` takes, of random values; every beam of an utterance asks it."""

    def __init__(self, frames: int, lengths: list[int], beams: int = 2, size: int = 7, groups: int = 1, taps: int = 1):
        rows, channels = len(lengths) * beams, groups * CHANNELS
        self.from_hidden, self.before, self.parents = (
            normal(rows, size + 3),
            normal(rows, frames),
            RNG.permutation(rows),
        )
        self.keys, self.lengths = normal(len(lengths), frames, size), np.array(lengths)
        self.filters, self.location, self.score = normal(channels, taps * TAPS), normal(channels, size), normal(size)
        self.location /= 10

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        alignment, peaks = np.full_like(self.before, 5.0), np.full(len(self.before), -1)
        attend(alignment, peaks, *vars(self).values())
        return alignment, peaks

    def row(self, row: int) -> np.ndarray:
        """The alignment of a row, written out."""
        exactly = {name: value.astype(np.float64) for name, value in vars(self).items() if value.dtype == np.float32}
        utterance = row * len(self.lengths) // len(self.before)
        keys = exactly["keys"][utterance, : self.lengths[utterance]]
        query, previous = exactly["from_hidden"][row, : len(self.score)], exactly["before"][self.parents[row]]
        return attention(query, keys, previous, exactly["filters"], exactly["location"], exactly["score"])


@pytest.mark.parametrize(
    ("frames", "lengths", "sizes"),
    [
        (1, [1], {}),
        (5, [5, 3], {"beams": 1}),
        (16, [1, 16, 9], {"beams": 3, "size": 1}),
        (37, [36, 37], {"size": 33, "groups": 3, "taps": 4}),
        (300, [300], {"taps": 5, "groups": 2}),
    ],
)
def test_alignments_are_those_of_the_equations(frames, lengths, sizes) -> None:
    asked = Asked(frames, lengths, **sizes)
    alignment, peaks = asked()
    for row in range(len(alignment)):
        exact = asked.row(row)
        np.testing.assert_allclose(alignment[row, : len(exact)], exact, rtol=1e-4, atol=1e-6)
        assert (alignment[row, len(exact) :] == 0).all()
        assert peaks[row] == exact.argmax()


def test_a_row_is_the_same_to_the_bit_alone_and_whatever_is_padding() -> None:
    asked = Asked(37, [37, 21], beams=3, size=35, taps=4)
    together, _ = asked()
    for length in (21, 22, 32):
        alone = Asked(length, [21], beams=1, size=35, taps=4)
        alone.filters, alone.location, alone.score = asked.filters, asked.location, asked.score
        previous = asked.before.copy()
        previous[:, 21:] = 0  # as alignments are
        asked.before = previous
        together, _ = asked()
        alone.from_hidden, alone.parents = asked.from_hidden[4:5], np.zeros(1, np.int64)
        alone.keys, alone.before = asked.keys[1:, :length].copy(), previous[asked.parents[4:5], :length].copy()
        assert (alone()[0][0, :21] == together[4, :21]).all()


def test_padding_is_not_read() -> None:
    asked = Asked(9, [9, 4])
    wanted, _ = asked()
    asked.keys[1, 4:] = NAN
    assert (asked()[0] == wanted).all()


def test_nan_is_not_hidden_and_stays_in_its_utterance() -> None:
    asked = Asked(9, [9, 4])
    wanted, _ = asked()
    asked.keys[0, 3, 2] = NAN
    found, _ = asked()
    assert np.isnan(found[:2]).all() and (found[2:] == wanted[2:]).all()


@pytest.mark.parametrize("part", ["from_hidden", "location", "score", "filters"])
def test_nan_in_weights_is_not_hidden(part) -> None:
    asked = Asked(9, [9, 4])
    getattr(asked, part)[...] = NAN
    assert np.isnan(asked()[0][0]).all()


def test_log_probs_are_those_of_the_sums() -> None:
    own, mix = normal(3, 20) * 9, normal(3, 15) * 9
    found = np.empty((3, 11), np.float32)
    emitted_log_probs(found, own, mix, 0, 1)
    sums = own[:, -11:].astype(np.float64) + mix[:, -11:]
    exact = sums - np.log(np.exp(sums - sums.max(1, keepdims=True)).sum(1, keepdims=True)) - sums.max(1, keepdims=True)
    np.testing.assert_allclose(found[:, 2:], exact[:, 2:], rtol=1e-5, atol=1e-5)
    assert (found[:, :2] == -INF).all()


def test_nan_among_scores_leaves_no_probability() -> None:
    own, mix, found = normal(2, 6), normal(2, 6), np.empty((2, 6), np.float32)
    own[0, 3] = NAN
    emitted_log_probs(found, own, mix, 0, 1)
    assert np.isnan(found[0, 2:]).all() and np.isfinite(found[1, 2:]).all()


def test_nan_goes_through_the_gates() -> None:
    for place in range(3):
        before = normal(1, 2), normal(1, 6), normal(1, 6)
        before[place][0, 0] = NAN
        hidden = np.empty((1, 2), np.float32)
        advance(hidden, before, np.zeros(1, np.int64), np.zeros(1, np.int64), normal(1, 6))
        assert np.isnan(hidden[0, 0]) and np.isfinite(hidden[0, 1])
