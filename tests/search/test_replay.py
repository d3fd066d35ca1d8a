"""A search whose steps work on tensors that stay where they are finds what every search finds.

On a CPU nothing is recorded, but all the copying is done: what a recording would miss is missing here too.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.compiled_stepping import CompiledStepping
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.fused_stepping import FusedStepping
from seq2seq_asr.nn.lm import LanguageModel, LanguageModelConfig
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.search.advance import Kept, unrolled
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.coverage import CoverageScorer
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.hotwords import HotWords, HotWordScorer
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.language_model import LanguageModelScorer
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.vocabulary import SPECIAL_PIECES

PIECES = [*SPECIAL_PIECES, "▁a", "b", "▁ab", "a", "c"]
PARTS = ("attention", "ctc", "lm", "coverage", "hotwords")


class World:
    """Models with random weights, and batches for them."""

    def __init__(self, stepping: str) -> None:
        torch.manual_seed(5)
        attention = AttentionConfig(size=8, width=5)
        decoder = Decoder(DecoderConfig(units=12, embedding=6), attention, 7, len(PIECES)).eval()
        torch.nn.init.normal_(decoder.get_parameter("output.weight"), std=2.0)
        kinds = {"decoder": lambda one: one, "stepping": Stepping, "compiled": CompiledStepping, "fused": FusedStepping}
        self.decoder = kinds[stepping](decoder)
        self.lm = LanguageModel(LanguageModelConfig(units=5, embedding=4), len(PIECES)).eval()
        self.hotwords = HotWords(["ab", "b"], PIECES, torch.device("cpu"))

    def scorers(self, seed: int, lengths: torch.Tensor, parts: tuple[str, ...]) -> list[Weighted]:
        """Scorers of one batch."""
        generator = torch.Generator().manual_seed(seed)
        encoded = torch.randn(len(lengths), int(lengths.max()), 7, generator=generator)
        posteriors = torch.randn(*encoded.shape[:2], len(PIECES), generator=generator).log_softmax(2)
        coverage = CoverageScorer(lengths, encoded.shape[1])
        every = [
            Weighted("attention", AttentionScorer(self.decoder, self.decoder.memory(encoded, lengths)), 0.7),
            Weighted("ctc", CtcPrefixScorer(posteriors, lengths), 0.3),
            Weighted("lm", LanguageModelScorer(self.lm, len(lengths)), 0.4),
            Weighted("coverage", coverage, 0.2, coverage.max_gain),
            Weighted("hotwords", HotWordScorer(self.hotwords, len(lengths)), 0.5, self.hotwords.max_gain),
        ]
        return [one for one in every if one.name in parts]


class OneAfterAnother(Places):
    """The same steps, and nothing copied."""

    def replayed(self, *given: Any) -> Iterator[Kept]:
        return unrolled(*given)


PLAIN = OneAfterAnother()
BATCHES = [(1, [6, 3]), (2, [5, 6]), (3, [9, 2]), (1, [6, 3]), (4, [4, 1, 6])]


SOME = [PARTS[:1], PARTS[:2], ("attention", "lm"), PARTS]
LIMITS = {"min_length_ratio": 0.4, "end_threshold": 1.5, "max_attention_shift": 3}


@pytest.mark.parametrize("stepping", ["decoder", "stepping"])
@pytest.mark.parametrize(
    ("limits", "parts"),
    [
        *(({}, parts) for parts in SOME),
        *((LIMITS, parts) for parts in (SOME[0], SOME[3])),  # all tokens, candidates: limits ask for no more
        *(pytest.param(LIMITS, parts, marks=pytest.mark.nightly) for parts in SOME[1:3]),
    ],
    ids=str,
)
def test_batch_after_batch_as_without_places(limits: dict, parts: tuple[str, ...], stepping: str) -> None:
    check(World(stepping), limits, parts)


@pytest.mark.nightly
def test_the_kernels_step_as_without_places() -> None:
    pytest.importorskip("triton")
    batches = [(1, [3, 2]), (2, [2, 3])]
    check(World("fused"), {"max_length_ratio": 0.7, "beam": 2, "nbest": 1}, PARTS[:2], batches)


def agree(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether they are one transcript, with scores as near as sums of another order are."""
    scores = [[found.score, found.log_prob, *found.scores.values()] for found in (one, other)]
    near = scores[0] == pytest.approx(scores[1], rel=1e-5, abs=1e-5)
    return near and (one.tokens, one.frames, one.ended) == (other.tokens, other.frames, other.ended)


def check(world: World, limits: dict, parts: tuple[str, ...], batches: list = BATCHES) -> None:
    places = Places()
    config = BeamConfig(**{"beam": 4, "nbest": 3, "candidates": 5, "max_length_ratio": 1.5, **limits})
    with torch.inference_mode():
        for seed, frames in batches:
            lengths = torch.tensor(frames)
            wanted = beam_search(world.scorers(seed, lengths, parts), lengths, config, places=PLAIN)
            found = beam_search(world.scorers(seed, lengths, parts), lengths, config, places=places)
            assert found == wanted
            looped = beam_search(world.scorers(seed, lengths, parts), lengths, config)  # as on a CPU
            for one, other in zip(looped, wanted, strict=True):
                assert len(one) == len(other) and all(map(agree, one, other))


def test_a_batch_leaves_the_tensors_of_others_alone() -> None:
    """What a place overwrites is its own."""
    world, places, config = World("stepping"), Places(), BeamConfig(beam=3, max_length_ratio=1.0)
    first, lengths = torch.tensor([6, 3]), torch.tensor([2, 6])
    with torch.inference_mode():
        scorers = world.scorers(1, first, PARTS)
        wanted = beam_search(scorers, first, config, places=PLAIN)
        beam_search(scorers, first, config, places=places)
        beam_search(world.scorers(2, lengths, PARTS), lengths, config, places=places)
        assert first.tolist() == [6, 3]
        assert beam_search(scorers, first, config, places=PLAIN) == wanted


def test_a_state_that_is_not_of_tensors_is_refused() -> None:
    lengths = torch.tensor([6, 3])
    scorers = World("compiled").scorers(1, lengths, PARTS[:1])
    with pytest.raises(TypeError, match="only tensors"), torch.inference_mode():
        beam_search(scorers, lengths, places=Places())


def test_another_beam_or_weight_has_another_place() -> None:
    world, places, lengths = World("stepping"), Places(), torch.tensor([6, 3])
    with torch.inference_mode():
        for beam in (2, 5):
            for parts in (PARTS[:2], PARTS):
                config = BeamConfig(beam=beam, max_length_ratio=1.0)
                scorers = world.scorers(1, lengths, parts)
                found = beam_search(scorers, lengths, config, places=places)
                assert found == beam_search(scorers, lengths, config, places=PLAIN)
