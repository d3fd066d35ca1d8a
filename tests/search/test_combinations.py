"""Every combination of scorers: a wide beam finds what an exhaustive search finds, alone and in any batch."""

import dataclasses
import itertools
import math

import pytest
import torch

from seq2seq_asr.nn.lm import LanguageModel, LanguageModelConfig
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.coverage import CoverageScorer
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.hotwords import HotWords, HotWordScorer
from seq2seq_asr.search.language_model import LanguageModelScorer
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import EOS, SOS, SPECIAL_PIECES

PIECES = [*SPECIAL_PIECES, "▁a", "b"]
REAL, WORDS, THRESHOLD = (1, 4, 5), ["ab", "a", "a ab"], 0.4
WEIGHTS = {"attention": 0.7, "ctc": 0.3, "lm": 0.4, "coverage": 0.2, "hotwords": 0.35}
EXTRAS = [names for n in range(5) for names in itertools.combinations(list(WEIGHTS)[1:], n)]
RANKINGS = itertools.cycle([("none", 1.0, 0.0), ("length", 1.0, 0.2), ("gnmt", 0.7, -0.3)])


class World:
    """Scorers of some utterances, and the totals they should give."""

    def __init__(self, toy, utterances: int, frames: int) -> None:
        self.toy, self.attention = toy, toy.scorer(utterances, len(PIECES), seed=4)
        self.posteriors = toy.posteriors(utterances, frames, len(PIECES), seed=9)
        torch.manual_seed(0)
        self.lm = LanguageModel(LanguageModelConfig(embedding=4, units=6), len(PIECES)).double().eval()
        self.lm.requires_grad_(False).output.weight.mul_(8)
        self.hotwords = HotWords(WORDS, PIECES)

    def scorers(self, names: tuple[str, ...], rows: list[int], lengths: torch.Tensor) -> list[Weighted]:
        frames = int(lengths.max())
        coverage = CoverageScorer(lengths, self.attention.frames, THRESHOLD)
        made = {
            "attention": (self.toy.of(self.attention.table[rows]), 0.0),
            "ctc": (CtcPrefixScorer(self.posteriors[rows, :frames], lengths), 0.0),
            "lm": (LanguageModelScorer(self.lm, len(rows)), 0.0),
            "coverage": (coverage, coverage.max_gain),
            "hotwords": (HotWordScorer(self.hotwords, len(rows)), self.hotwords.max_gain),
        }
        return [Weighted(name, made[name][0], WEIGHTS[name], made[name][1]) for name in ("attention", *names)]

    def totals(self, utterance: int, tokens: tuple[int, ...], frames: int) -> dict[str, float]:
        log_probs = self.lm(torch.tensor([[SOS, *tokens]]))[0].log_softmax(1)
        words = "".join("? "[token == 0] if token < 4 else PIECES[token] for token in tokens).split("▁")
        pairs = list(itertools.pairwise(words))
        return {
            "attention": self.attention.rescore(utterance, tokens),
            "ctc": self.toy.ctc_total(self.posteriors[utterance, :frames], frames, tokens),
            "lm": sum(float(log_probs[place, token]) for place, token in enumerate((*tokens, EOS))),
            "coverage": float((self.attention.alignments(tokens).sum(0) / THRESHOLD).clamp(max=1).sum()),
            "hotwords": 2 * words.count("ab") + words.count("a") + 3 * pairs.count(("a", "ab")),
        }


@pytest.mark.parametrize(("extras", "ranking"), list(zip(EXTRAS, RANKINGS, strict=False)))
def test_a_wide_beam_finds_all_in_order(toy, extras, ranking) -> None:
    lengths, (kind, alpha, bonus) = torch.tensor([4, 2]), ranking
    world, rows = World(toy, 2, 4), [0, 1]
    config = BeamConfig(
        beam=130, nbest=9, length_normalisation=kind, alpha=alpha, length_bonus=bonus, max_length_ratio=1.0
    )
    found = beam_search(world.scorers(extras, rows, lengths), lengths, config)
    for utterance, frames in enumerate(lengths.tolist()):
        wanted = []
        for tokens in itertools.chain.from_iterable(itertools.product(REAL, repeat=n) for n in range(frames + 1)):
            totals = {name: world.totals(utterance, tokens, frames)[name] for name in ("attention", *extras)}
            total = sum(WEIGHTS[name] * value for name, value in totals.items()) + bonus * len(tokens)
            scored = len(tokens) + 1.0
            divisor = {"none": 1.0, "length": scored, "gnmt": (5 + scored) / 6}[kind] ** alpha
            wanted += [(total / divisor, tokens, totals)] if total > -math.inf else []
        wanted = sorted(wanted, key=lambda entry: -entry[0])[:9]
        ended = [one for one in found[utterance] if one.ended]
        assert [one.tokens for one in ended] == [tokens for _, tokens, _ in wanted]
        assert [one.score for one in ended] == pytest.approx([score for score, _, _ in wanted], abs=1e-9)
        for one, (_, _, totals) in zip(ended, wanted, strict=True):
            assert one.scores == pytest.approx(totals, abs=1e-9)


@pytest.mark.parametrize("extras", [("lm",), ("coverage", "hotwords"), ("ctc", "lm", "coverage", "hotwords")])
def test_the_result_is_the_same_alone_and_in_any_batch(toy, extras) -> None:
    lengths, world = torch.randint(1, 13, (16,)), World(toy, 16, 12)
    config = BeamConfig(beam=3, nbest=2, max_length_ratio=0.8, max_attention_shift=3, end_threshold=2.5)

    def search(rows: list[int]) -> list:
        return beam_search(world.scorers(extras, rows, lengths[rows]), lengths[rows], config)

    together = search([*range(16)])
    for rows in ([2], [7], [14], [5, 0, 11], [15, 3, 8], torch.randperm(16).tolist()):
        for row, nbest in zip(rows, search(rows), strict=True):
            same = [(one.tokens, one.frames) for one in together[row]]
            assert [(one.tokens, one.frames) for one in nbest] == same
            for one, other in zip(nbest, together[row], strict=True):
                assert one.scores == pytest.approx(other.scores, abs=1e-9)


def test_stopping_early_changes_nothing_where_scorers_reward(toy) -> None:
    lengths, world = torch.full((16,), 8), World(toy, 16, 8)
    scorers = [
        dataclasses.replace(one, weight=1.0 if one.name == "attention" else 4 * one.weight)
        for one in world.scorers(("coverage", "hotwords"), [*range(16)], lengths)
    ]
    config = BeamConfig(beam=3, max_length_ratio=1.0, patience=None, length_normalisation="none")
    whole = beam_search(scorers, lengths, config, early_stop=False)
    assert beam_search(scorers, lengths, config) == whole
    # A bound that ignored the rewards would stop too early here: so the test can fail.
    unsound = [dataclasses.replace(one, max_gain=0.0) for one in scorers]
    assert beam_search(unsound, lengths, config) != whole
