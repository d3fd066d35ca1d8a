import math

import numpy as np
import pytest

from seq2seq_asr.evaluation.intervals import bootstrap_interval

CORPORA = 200


def corpus(generator, utterances=100, rate=0.1):
    """Errors and lengths of utterances whose expected error rates scatter around ``rate`` whatever their length."""
    lengths = generator.integers(3, 30, size=utterances)
    return generator.binomial(lengths, generator.beta(10 * rate, 10 * (1 - rate), size=utterances)), lengths


def speaker_corpus(generator, speakers=30, each=10):
    """A corpus in which some speakers are hard and others are easy: rates spread evenly over 0 to 0.2."""
    rates = np.repeat(generator.uniform(0, 0.2, size=speakers), each)
    lengths = generator.integers(5, 25, size=speakers * each)
    return generator.binomial(lengths, rates), lengths, [f"s{i // each}" for i in range(speakers * each)]


def test_the_interval_covers_the_true_rate_about_95_times_in_100():
    generator = np.random.default_rng(1)
    intervals = [bootstrap_interval(*corpus(generator), samples=1000) for _ in range(CORPORA)]
    assert 0.88 <= np.mean([interval.low <= 0.1 <= interval.high for interval in intervals]) <= 0.99


def test_only_the_speaker_bootstrap_covers_where_speakers_differ():
    generator = np.random.default_rng(2)
    corpora = [speaker_corpus(generator) for _ in range(CORPORA)]
    by_speaker = [bootstrap_interval(*corpus, samples=500) for corpus in corpora]
    by_utterance = [bootstrap_interval(*corpus[:2], samples=500) for corpus in corpora]
    covered = [np.mean([i.low <= 0.1 <= i.high for i in intervals]) for intervals in (by_speaker, by_utterance)]
    assert 0.88 <= covered[0] <= 0.99
    assert covered[1] < 0.85
    width = [np.mean([i.high - i.low for i in intervals]) for intervals in (by_speaker, by_utterance)]
    assert width[0] > 1.3 * width[1]


def test_the_interval_agrees_with_the_normal_approximation_on_a_large_corpus():
    errors, lengths = corpus(np.random.default_rng(3), utterances=5000)
    rate = errors.sum() / lengths.sum()
    # Linearised ratio estimator (Cochran 1977, section 6.4).
    error = np.sqrt(np.sum((errors - rate * lengths) ** 2)) / lengths.sum()
    interval = bootstrap_interval(errors, lengths, samples=4000)
    assert (interval.low, interval.high) == pytest.approx((rate - 1.96 * error, rate + 1.96 * error), abs=0.15 * error)


def test_the_seed_alone_decides_and_the_order_of_utterances_does_not():
    errors, lengths = corpus(np.random.default_rng(4))
    shuffled = np.random.default_rng(5).permutation(len(errors))
    interval = bootstrap_interval(errors, lengths, seed=6)
    assert interval == bootstrap_interval(errors[shuffled], lengths[shuffled], seed=6)
    assert interval != bootstrap_interval(errors, lengths, seed=7)


@pytest.mark.parametrize("speakers", [None, ["s"] * 100, [None, *["s", "t"] * 49, "s"], ["", *["s", "t"] * 49, "s"]])
def test_utterances_are_resampled_unless_two_speakers_are_known_everywhere(speakers):
    errors, lengths = corpus(np.random.default_rng(8))
    interval = bootstrap_interval(errors, lengths, speakers)
    assert interval == bootstrap_interval(errors, lengths)
    assert (interval.unit, interval.units) == ("utterance", 100)


def test_the_interval_says_how_many_speakers_were_resampled():
    interval = bootstrap_interval(*speaker_corpus(np.random.default_rng(9), speakers=7))
    assert (interval.unit, interval.units) == ("speaker", 7)


def test_a_speaker_of_one_utterance_each_is_the_utterance_bootstrap():
    errors, lengths = corpus(np.random.default_rng(10))
    interval = bootstrap_interval(errors, lengths, [str(i) for i in range(len(errors))])
    plain = bootstrap_interval(errors, lengths)
    assert (interval.low, interval.high) == (plain.low, plain.high)


def test_what_cannot_be_known_is_said_to_be_unknown():
    for errors, lengths in (([3], [10]), ([1, 2], [0, 0])):
        interval = bootstrap_interval(np.array(errors), np.array(lengths))
        assert not interval.known
        assert (interval.low, interval.high) == (0.0, math.inf)


def test_empty_references_within_a_corpus_give_a_finite_interval():
    interval = bootstrap_interval(np.array([1, 0, 2]), np.array([0, 4, 0]))
    assert 0 <= interval.low <= 3 / 4 <= interval.high < math.inf


@pytest.mark.parametrize("speakers", [None, [f"s{i % 5}" for i in range(50)]])
def test_a_corpus_without_errors_may_still_have_some_by_the_rule_of_three(speakers):
    """Were that share of all units wrong, one of twenty corpora of this size would show none."""
    interval = bootstrap_interval(np.zeros(50, dtype=int), np.full(50, 7), speakers)
    units = 50 if speakers is None else 5
    assert (interval.low, interval.units) == (0.0, units)
    assert (1 - interval.high) ** units == pytest.approx(0.05)
    assert bootstrap_interval(np.zeros(3000, dtype=int), np.full(3000, 7)).high == pytest.approx(3 / 3000, rel=0.01)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="no utterances"):
        bootstrap_interval(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="2 speakers for 3"):
        bootstrap_interval(np.arange(3), np.full(3, 9), ["a", "b"])
