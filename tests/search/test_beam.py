"""Beam search against exhaustive search, against rescoring, and against itself in other company."""

import itertools
import math

import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.search import beam
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.search.hypothesis import NOTHING
from seq2seq_asr.search.scorer import Weighted, joint_scorers
from seq2seq_asr.vocabulary import EOS

VOCABULARY = 6
REAL = (1, 4, 5)
RANKINGS = [("none", 1.0, 0.0), ("none", 1.0, 1.5), ("length", 1.0, 0.0), ("length", 0.5, -0.4), ("gnmt", 0.7, 0.3)]


def ranked(total: float, length: int, config: BeamConfig) -> float:
    """The ranking score, written out once more."""
    divisor = {"none": 1.0, "length": length + 1.0, "gnmt": (6.0 + length) / 6.0}[config.length_normalisation]
    return (total + config.length_bonus * length) / divisor**config.alpha


def config_of(ranking, **others) -> BeamConfig:
    kind, alpha, bonus = ranking
    return BeamConfig(length_normalisation=kind, alpha=alpha, length_bonus=bonus, **others)


def frames_needed(tokens: tuple[int, ...]) -> int:
    """CTC needs a frame for each token, and one for a blank between two equal ones."""
    return len(tokens) + sum(one == other for one, other in itertools.pairwise(tokens))


def jumps(model, tokens: tuple[int, ...], most: int | None) -> list[bool]:
    """For each step but the first, that of the end too, whether the attention went too far."""
    looks = model.look((*tokens, EOS))
    return [most is not None and abs(one - other) > most for one, other in itertools.pairwise(looks)]


def exhaustive(toy, model, posteriors, utterance, frames, config) -> list[tuple[float, tuple[int, ...]]]:
    """Every transcript that may be returned as ended, best first."""
    found = []
    longest = max(1, round(frames * config.max_length_ratio))
    for tokens in itertools.chain.from_iterable(itertools.product(REAL, repeat=n) for n in range(longest + 1)):
        after = model.after(utterance, tokens)
        others = max(float(after[token]) for token in REAL)
        unsure = config.end_threshold is not None and float(after[EOS]) < config.end_threshold * others
        stuck = posteriors is not None and all(frames_needed((*tokens, token)) > frames for token in REAL)
        *before, at_the_end = jumps(model, tokens, config.max_attention_shift) or [False]
        if any(before) or (unsure and not stuck and not at_the_end):
            continue
        if len(tokens) < round(frames * config.min_length_ratio) and not at_the_end:
            continue
        total = model.rescore(utterance, tokens)
        if posteriors is not None:
            total *= 1 - config.ctc_weight
            total += config.ctc_weight * toy.ctc_total(posteriors[utterance, :frames], frames, tokens)
        if total > -math.inf:
            found.append((ranked(total, len(tokens), config), tokens))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("with_ctc", [False, True])
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"end_threshold": 1.5},
        {"min_length_ratio": 0.4},
        {"max_attention_shift": 2},
        {"max_attention_shift": 1, "end_threshold": 1.5, "min_length_ratio": 0.4},
    ],
)
@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_wide_beam_finds_all_in_order(toy, ranking, limits, with_ctc) -> None:
    lengths = torch.tensor([5, 3])
    model, posteriors = toy.scorer(2, VOCABULARY, seed=4), toy.posteriors(2, 5, VOCABULARY, seed=9)
    config = config_of(ranking, beam=330, nbest=15, max_length_ratio=0.8, ctc_weight=0.4 * with_ctc, **limits)
    scorers = joint_scorers(model, CtcPrefixScorer(posteriors, lengths), config.ctc_weight)
    found = beam_search(scorers, lengths, config)
    for utterance, hypotheses in enumerate(found):
        ctc, frames = posteriors if with_ctc else None, int(lengths[utterance])
        wanted = exhaustive(toy, model, ctc, utterance, frames, config)[:15]
        ended = [hypothesis for hypothesis in hypotheses if hypothesis.ended]
        assert [hypothesis.tokens for hypothesis in ended] == [tokens for _, tokens in wanted]
        assert [hypothesis.score for hypothesis in ended] == pytest.approx([score for score, _ in wanted], abs=1e-9)


@pytest.mark.parametrize("ranking", [("none", 1.0, 0.0), ("length", 1.0, 0.0), ("gnmt", 0.7, 0.0)])
@pytest.mark.parametrize("seed", range(8))
def test_one_beam_is_greedy(toy, seed, ranking) -> None:
    model, lengths = toy.scorer(6, 9, seed, end=1.0), torch.tensor([9, 1, 4, 12, 2, 7])
    greedy = greedy_search(model, lengths, max_length_ratio=1.3)
    beam = beam_search(joint_scorers(model), lengths, config_of(ranking, beam=1, max_length_ratio=1.3))
    for (one,), other in zip(beam, greedy, strict=True):
        assert (one.tokens, one.frames, one.ended) == (other.tokens, other.frames, other.ended)
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-12)


def test_one_beam_with_a_bonus_is_greedy_on_raised_tokens(toy) -> None:
    """The bonus decides during the search already, not only between finished transcripts."""
    model, lengths = toy.scorer(20, 9, seed=1, end=2.0), torch.full((20,), 9)
    raised = model.table + 1.5
    raised[:, :, EOS] = model.table[:, :, EOS]
    config = config_of(("none", 1.0, 1.5), beam=1, max_length_ratio=1.0)
    beam = beam_search(joint_scorers(model), lengths, config)
    greedy = greedy_search(toy.of(raised), lengths, max_length_ratio=1.0)
    assert [one.tokens for (one,) in beam] == [one.tokens for one in greedy]
    assert [one.score for (one,) in beam] == pytest.approx([one.log_prob for one in greedy])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ranking", RANKINGS)
def test_scores_are_those_of_the_returned_tokens(toy, seed, ranking) -> None:
    """So every state follows its hypothesis through all reorderings: what the toy says depends on all said before."""
    lengths = torch.tensor([12, 6, 9])
    model, posteriors = toy.scorer(3, 9, seed, end=-1.0), toy.posteriors(3, 12, 9, seed)
    config = config_of(ranking, beam=4, nbest=4, candidates=3, max_length_ratio=0.7)
    found = beam_search(joint_scorers(model, CtcPrefixScorer(posteriors, lengths), 0.3), lengths, config)
    for utterance, hypothesis in ((row, one) for row, nbest in enumerate(found) for one in nbest):
        length = int(lengths[utterance])
        assert hypothesis.log_prob == pytest.approx(model.rescore(utterance, hypothesis.tokens, hypothesis.ended))
        assert hypothesis.scores["attention"] == hypothesis.log_prob
        assert hypothesis.frames == model.look(hypothesis.tokens)
        if hypothesis.ended:
            whole = toy.ctc_total(posteriors[utterance, :length], length, hypothesis.tokens)
            assert hypothesis.scores["ctc"] == pytest.approx(whole)
        total = 0.7 * hypothesis.scores["attention"] + 0.3 * hypothesis.scores["ctc"]
        assert hypothesis.score == pytest.approx(ranked(total, len(hypothesis.tokens), config))


@pytest.mark.parametrize("with_ctc", [False, True])
def test_batch_mates_change_nothing(toy, with_ctc) -> None:
    lengths = torch.tensor([11, 3, 7, 1, 20])
    table, posteriors = toy.scorer(5, 9, seed=2).table, toy.posteriors(5, 20, 9, seed=2)
    config = BeamConfig(beam=4, nbest=3, candidates=4, ctc_weight=0.3 * with_ctc)

    def search(rows: list[int]) -> list:
        ctc = CtcPrefixScorer(posteriors[rows][:, : int(lengths[rows].max())], lengths[rows])
        return beam_search(joint_scorers(toy.of(table[rows]), ctc, config.ctc_weight), lengths[rows], config)

    together = search([0, 1, 2, 3, 4])
    assert [search([row])[0] for row in range(5)] == together
    assert search([3, 0, 4, 2, 1]) == [together[row] for row in (3, 0, 4, 2, 1)]


class Reward:
    """A scorer that can reward: up to 3 where the toy model is sure."""

    def __init__(self, model) -> None:
        self.model = model

    def start(self, beam: int = 1):
        return self.model.start(beam)

    def step(self, tokens, state):
        log_probs, state = self.model.step(tokens, state)
        return 3.0 * log_probs.exp(), state


@pytest.mark.parametrize("nbest", [1, 3])
@pytest.mark.parametrize("extra", ["", "ctc", "reward"])
@pytest.mark.parametrize("ranking", RANKINGS)
def test_stopping_early_changes_nothing(toy, ranking, extra, nbest) -> None:
    lengths = torch.full((40,), 10)
    model = toy.scorer(40, 8, seed=nbest, end=1.5)
    posteriors = toy.posteriors(40, 10, 8, seed=1)
    config = config_of(ranking, beam=3, nbest=nbest, max_length_ratio=1.2)
    scorers = joint_scorers(model, CtcPrefixScorer(posteriors, lengths) if extra == "ctc" else None, 0.3)
    if extra == "reward":
        reward = Reward(toy.scorer(40, 8, seed=7))
        scorers = (*scorers, Weighted(name="reward", scorer=reward, weight=0.9, max_gain=3.0))
    assert beam_search(scorers, lengths, config) == beam_search(scorers, lengths, config, early_stop=False)


@pytest.mark.parametrize("nbest", [1, 3])
def test_an_answer_that_comes_a_look_late_changes_nothing(toy, nbest, monkeypatch) -> None:
    """As on a GPU, which goes on until it is known that nothing is open any more."""
    lengths = torch.full((4,), 200)
    config = BeamConfig(beam=3, nbest=nbest, length_normalisation="none")
    steps, found = [], []
    for late in (0, 1):
        counted = Counted(toy.scorer(4, 8, seed=3, end=3.0))
        monkeypatch.setattr(beam, "_late", lambda device, late=late: late)
        found.append(beam_search(joint_scorers(counted), lengths, config))
        steps.append(counted.steps)
    assert found[0] == found[1] and steps[1] == steps[0] + 4


def test_stopping_saves_steps(toy) -> None:
    model, calls = toy.scorer(4, 8, seed=3, end=3.0), []

    class Counting(Reward):
        def step(self, tokens, state):
            calls.append(len(tokens))
            return self.model.step(tokens, state)

    scorers = joint_scorers(Counting(model))
    beam_search(scorers, torch.full((4,), 200), BeamConfig(beam=3, length_normalisation="none"))
    assert 0 < len(calls) < 40


class Counted:
    """A toy model that counts its steps."""

    def __init__(self, model) -> None:
        self.model, self.steps = model, 0

    def start(self, beam: int = 1):
        return self.model.start(beam)

    def step(self, tokens, state):
        self.steps += 1
        return self.model.step(tokens, state)


def steady(toy, first_end: float) -> Counted:
    """Says token 4 for ever; ends with this probability at once, with 1 % later."""
    table = torch.full((1, 61, VOCABULARY), -math.inf, dtype=torch.float64)
    table[..., 4], table[..., EOS] = math.log(0.99), math.log(0.01)
    start = toy.of(table).after(0, ())
    start[4], start[EOS] = math.log(1 - first_end), math.log(first_end)
    return Counted(toy.of(table))


def test_patience_ends_a_search_that_only_might_pay(toy) -> None:
    """The empty transcript scores log 0.9; what goes on scores (log 0.1 + n log 0.99) / n, after 26 tokens more."""
    lengths, found = torch.tensor([30]), {}
    for patience in (None, 40, 6):
        model = steady(toy, 0.9)
        config = BeamConfig(beam=2, patience=patience)
        ((found[patience],),) = beam_search(joint_scorers(model), lengths, config)
        assert (model.steps < 12) == (patience == 6)
    assert found[6].tokens == () and len(found[None].tokens) > 26 and found[40] == found[None]


def test_patience_waits_while_something_better_grows(toy) -> None:
    found = [
        beam_search(joint_scorers(steady(toy, 0.01)), torch.tensor([30]), BeamConfig(beam=2, patience=patience))
        for patience in (None, 1)
    ]
    assert found[0] == found[1] and len(found[0][0][0].tokens) > 26


def test_equal_scores_go_to_the_lowest_parent_then_token(toy) -> None:
    table = toy.scorer(1, VOCABULARY, seed=0).table
    table[:, :, [*REAL, EOS]] = -math.log(4)
    config = BeamConfig(beam=4, nbest=3, length_normalisation="none", max_length_ratio=1.0)
    (found,) = beam_search(joint_scorers(toy.of(table)), torch.tensor([6]), config)
    # Each step the first prefix takes the whole beam: 1, end, 4, 5.
    assert [hypothesis.tokens for hypothesis in found] == [(), (1,), (1, 1)]


@pytest.mark.parametrize("beam", [1, 3])
def test_a_transcript_without_end_is_cut_and_kept(toy, beam) -> None:
    table = toy.scorer(3, 8, seed=5).table
    table[:2, :, EOS] = float("-inf")
    model, lengths = toy.of(table), torch.tensor([4, 9, 9])
    found = beam_search(joint_scorers(model), lengths, BeamConfig(beam=beam, nbest=beam, max_length_ratio=0.5))
    for utterance, length in enumerate([2, 4]):
        assert len(found[utterance]) == beam
        for hypothesis in found[utterance]:
            assert not hypothesis.ended and len(hypothesis.tokens) == length
            assert hypothesis.log_prob == pytest.approx(model.rescore(utterance, hypothesis.tokens, ended=False))
    assert all(hypothesis.ended for hypothesis in found[2]) or beam == 1


def test_no_transcript_comes_twice(toy) -> None:
    """What ends at the maximum length is not returned as cut besides."""
    model, lengths = toy.scorer(30, 7, seed=6, end=-0.5), torch.full((30,), 3)
    for nbest in beam_search(joint_scorers(model), lengths, BeamConfig(beam=6, nbest=6, max_length_ratio=1.0)):
        tokens = [hypothesis.tokens for hypothesis in nbest]
        assert len(set(tokens)) == len(tokens)
        ended = [hypothesis.ended for hypothesis in nbest]
        assert ended == sorted(ended, reverse=True)


def test_lengths_stay_within_their_ratios(toy) -> None:
    model, lengths = toy.scorer(12, 8, seed=6, end=2.0), torch.arange(1, 13)
    config = BeamConfig(beam=4, nbest=4, min_length_ratio=0.4, max_length_ratio=0.8)
    for frames, nbest in zip(lengths.tolist(), beam_search(joint_scorers(model), lengths, config), strict=True):
        for hypothesis in nbest:
            assert round(0.4 * frames) <= len(hypothesis.tokens) <= max(1, round(0.8 * frames))


def test_a_prefix_that_cannot_go_on_ends_whatever_the_threshold(toy) -> None:
    """One frame holds one token for CTC: after it only the end is possible."""
    model, lengths = toy.scorer(8, 8, seed=1, end=-9.0), torch.ones(8, dtype=torch.long)
    ctc = CtcPrefixScorer(toy.posteriors(8, 1, 8, seed=1), lengths)
    config = BeamConfig(beam=4, end_threshold=1.5, max_length_ratio=6.0)
    for (hypothesis,) in beam_search(joint_scorers(model, ctc, 0.3), lengths, config):
        assert hypothesis.ended and len(hypothesis.tokens) == 1


def test_nan_stays_in_its_utterance(toy) -> None:
    table, lengths = toy.scorer(3, 8, seed=1).table, torch.tensor([5, 5, 5])
    wanted = beam_search(joint_scorers(toy.of(table)), lengths)
    broken = table.clone()
    broken[1] = float("nan")
    found = beam_search(joint_scorers(toy.of(broken)), lengths)
    assert found == [wanted[0], [NOTHING], wanted[2]]


def test_nan_after_one_prefix_leaves_the_others(toy) -> None:
    model, lengths = toy.scorer(1, 8, seed=1), torch.tensor([5])
    ((best,),) = beam_search(joint_scorers(model), lengths)
    broken, impossible = toy.of(model.table.clone()), toy.of(model.table.clone())
    broken.after(0, best.tokens[:1])[:] = float("nan")
    impossible.after(0, best.tokens[:1])[:] = float("-inf")
    found = beam_search(joint_scorers(broken), lengths)
    assert found == beam_search(joint_scorers(impossible), lengths)
    assert found[0][0].tokens[:1] != best.tokens[:1]


def test_no_frames_and_no_utterances(toy) -> None:
    model = toy.scorer(1, 8, seed=1)
    ctc = CtcPrefixScorer(torch.zeros(1, 0, 8), torch.tensor([0]))
    ((hypothesis,),) = beam_search(joint_scorers(model, ctc, 0.3), torch.tensor([0]))
    assert hypothesis.tokens == () and hypothesis.ended
    assert beam_search(joint_scorers(toy.scorer(0, 8, seed=1)), torch.zeros(0, dtype=torch.long)) == []


@pytest.mark.parametrize(
    "field",
    [
        {"beam": 0}, {"nbest": 9}, {"nbest": 0}, {"ctc_weight": 1.0}, {"ctc_weight": -0.1}, {"candidates": 0},
        {"length_normalisation": "mean"}, {"alpha": -1.0}, {"alpha": math.nan}, {"length_bonus": math.inf},
        {"end_threshold": 0.0}, {"min_length_ratio": -1.0}, {"max_length_ratio": math.inf},
        {"max_attention_shift": 0}, {"patience": 0},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_told_by_name(field) -> None:
    with pytest.raises((UsageError, TypeError), match=next(iter(field))):
        BeamConfig(**field)


@pytest.mark.parametrize("numbers", [{"weight": 0.0}, {"weight": math.nan}, {"max_gain": -1.0}])
def test_weights_out_of_range_are_told(toy, numbers) -> None:
    with pytest.raises(UsageError, match="attention"):
        Weighted(name="attention", scorer=toy.scorer(1, 8, seed=1), **numbers)
