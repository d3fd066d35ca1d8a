"""Every combination of scorers: a wide beam finds what an exhaustive search finds, alone and in any batch."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.lm import LanguageModel, LanguageModelConfig
from seq2seq_asr.search.arpa import Arpa
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.coverage import CoverageScorer
from seq2seq_asr.search.ctc_fused import ctc_prefix_scorer
from seq2seq_asr.search.hotwords import HotWords, HotWordScorer
from seq2seq_asr.search.internal_lm import LOWEST, InternalLanguageModelScorer
from seq2seq_asr.search.language_model import LanguageModelScorer
from seq2seq_asr.search.ngram import NgramModel, NgramScorer
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import EOS, SOS, SPECIAL_PIECES

PIECES = [*SPECIAL_PIECES, "▁a", "b"]
REAL, WORDS, THRESHOLD = (1, 4, 5), ["ab", "a", "a ab"], 0.4
WEIGHTS = {"attention": 0.7, "ctc": 0.3, "lm": 0.4, "ngram": 0.3, "ilm": 0.25, "coverage": 0.2, "hotwords": 0.35}
EXTRAS = [names for n in range(7) for names in itertools.combinations(list(WEIGHTS)[1:], n)]
# Bigrams in log10 with back-off weights; all other words are unknown and cost 2 nats more.
NGRAMS = {"<s>": (-99, -0.3), "</s>": (-0.5, 0.0), "a": (-0.4, 0.1), "ab": (-1.1, -0.2), "bb": (-0.9, -0.5),
          "<unk>": (-1.5, 0.0), "<s> ab": (-0.2, 0.0), "ab ab": (-0.8, 0.0), "a </s>": (-0.05, 0.0)}  # fmt: skip
PENALTY = 2.0
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
        self.ngram = NgramModel(bigrams(), PIECES)
        # Its context is always zero here, so the decoder is told nothing of the toy's alignments.
        self.decoder = Decoder(DecoderConfig(units=5, embedding=3), AttentionConfig(kind="dot", size=3), 4, len(PIECES))
        self.decoder.double().eval().requires_grad_(False).get_parameter("output.weight").mul_(9)

    def scorers(self, names: tuple[str, ...], rows: list[int], lengths: torch.Tensor) -> list[Weighted]:
        frames = int(lengths.max())
        coverage = CoverageScorer(lengths, self.attention.frames, THRESHOLD)
        made = {
            "attention": (self.toy.of(self.attention.table[rows]), 0.0),
            "ctc": (ctc_prefix_scorer(self.posteriors[rows, :frames], lengths), 0.0),
            "lm": (LanguageModelScorer(self.lm, len(rows)), 0.0),
            "ngram": (NgramScorer(self.ngram, len(rows), PENALTY), 0.0),
            "ilm": (InternalLanguageModelScorer(self.decoder, self.decoder.no_memory(len(rows))), -LOWEST),
            "coverage": (coverage, coverage.max_gain),
            "hotwords": (HotWordScorer(self.hotwords, len(rows)), self.hotwords.max_gain),
        }
        return [Weighted(name, made[name][0], WEIGHTS[name], made[name][1]) for name in ("attention", *names)]

    def totals(self, utterance: int, tokens: tuple[int, ...], frames: int) -> dict[str, float]:
        log_probs = self.lm(torch.tensor([[SOS, *tokens]]))[0].log_softmax(1)
        words = "".join("? "[token == 0] if token < 4 else PIECES[token] for token in tokens).split("▁")
        pairs = list(itertools.pairwise(words))
        blind, _ = self.decoder(torch.tensor([[SOS, *tokens]]), self.decoder.no_memory(1))
        internal = blind[0].log_softmax(1).clamp(min=LOWEST)
        return {
            "attention": self.attention.rescore(utterance, tokens),
            "ctc": self.toy.ctc_total(self.posteriors[utterance, :frames], frames, tokens),
            "lm": sum(float(log_probs[place, token]) for place, token in enumerate((*tokens, EOS))),
            "ngram": ngram_total([word for word in words if word]),
            "ilm": -sum(float(internal[place, token]) for place, token in enumerate((*tokens, EOS))),
            "coverage": float((self.attention.alignments(tokens).sum(0) / THRESHOLD).clamp(max=1).sum()),
            "hotwords": 2 * words.count("ab") + words.count("a") + 3 * pairs.count(("a", "ab")),
        }


def bigrams() -> Arpa:
    """The table as a trie, its words in the order of the dictionary."""
    words = [gram for gram in NGRAMS if " " not in gram]
    parts = [gram.split() for gram in NGRAMS]
    history = [0 if len(part) == 1 else 1 + words.index(part[0]) for part in parts]
    figures = [np.array([0.0, *(entry[i] * math.log(10) for entry in NGRAMS.values())]) for i in (0, 1)]
    integers = ([0, *map(len, parts)], [-1, *history], [-1, *(words.index(part[-1]) for part in parts)])
    return Arpa(tuple(words), 2, *map(np.array, integers), *figures)


def ngram_total(words: list[str]) -> float:
    """What the table says of a sentence."""
    total, last = 0.0, "<s>"
    for word in (*words, "</s>"):
        known = word if word in NGRAMS else "<unk>"
        backed_off = NGRAMS[last][1] + NGRAMS[known][0]
        total += NGRAMS.get(f"{last} {known}", (backed_off, 0))[0] * math.log(10) - PENALTY * (known != word)
        last = known
    return total


def sequences(longest: int) -> Iterator[tuple[int, ...]]:
    return itertools.chain.from_iterable(itertools.product(REAL, repeat=n) for n in range(longest + 1))


@functools.cache
def all_totals(toy) -> tuple[World, dict[tuple[int, tuple[int, ...]], dict[str, float]]]:
    """What every scorer should say of every transcript of two utterances of four and two frames."""
    world = World(toy, 2, 4)
    return world, {(n, one): world.totals(n, one, size) for n, size in ((0, 4), (1, 2)) for one in sequences(size)}


@pytest.mark.parametrize(("extras", "ranking"), list(zip(EXTRAS, RANKINGS, strict=False)))
def test_a_wide_beam_finds_all_in_order(toy, extras, ranking) -> None:
    lengths, (kind, alpha, bonus) = torch.tensor([4, 2]), ranking
    world, totals_of = all_totals(toy)
    rows = [0, 1]
    config = BeamConfig(
        beam=130, nbest=9, length_normalisation=kind, alpha=alpha, length_bonus=bonus, max_length_ratio=1.0
    )
    found = beam_search(world.scorers(extras, rows, lengths), lengths, config)
    for utterance, frames in enumerate(lengths.tolist()):
        wanted = []
        for tokens in sequences(frames):
            totals = {name: totals_of[utterance, tokens][name] for name in ("attention", *extras)}
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


@pytest.mark.parametrize("extras", [("lm",), ("ngram",), ("coverage", "hotwords"), tuple(WEIGHTS)[1:]])
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
