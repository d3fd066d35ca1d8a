"""The CTC prefix score against a sum over all alignments."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from seq2seq_asr.search.ctc_fused import CompiledCtcPrefixScorer
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer, CtcPrefixState
from seq2seq_asr.vocabulary import BLANK, EOS, SOS

Kind = type[CtcPrefixScorer]
VOCABULARY = 6
REAL = (1, 4, 5)


def collapse(alignment: tuple[int, ...]) -> tuple[int, ...]:
    """Merge repeats, then drop blanks."""
    return tuple(token for token, _ in itertools.groupby(alignment) if token != BLANK)


def outcomes(posteriors: Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every transcript of ``(S, V)`` posteriors, alignment by alignment."""
    rows = posteriors.exp().tolist()
    found: dict[tuple[int, ...], float] = {}
    for alignment in itertools.product(range(posteriors.shape[1]), repeat=len(rows)):
        weight = math.prod(row[token] for row, token in zip(rows, alignment, strict=True))
        found[collapse(alignment)] = found.get(collapse(alignment), 0.0) + weight
    return found


def prefix_log_prob(found: dict[tuple[int, ...], float], prefix: tuple[int, ...]) -> float:
    total = math.fsum(weight for tokens, weight in found.items() if tokens[: len(prefix)] == prefix)
    return math.log(total) if total else -math.inf


def walk(scorer: CtcPrefixScorer, tokens: tuple[int, ...]) -> CtcPrefixState:
    """The state after ``tokens``, the same in every utterance."""
    state = scorer.start()
    for token in tokens:
        rows = len(state.last)
        _, extension = scorer.extend(torch.full((rows, 1), token), state)
        state = extension.select(torch.arange(rows))
    return state


@pytest.fixture(params=[CtcPrefixScorer, CompiledCtcPrefixScorer], ids=["tensors", "compiled"])
def kind(request) -> Kind:
    return request.param


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_prefix_scores_are_sums_over_alignments(toy, kind: Kind, frames) -> None:
    posteriors = toy.posteriors(2, frames, VOCABULARY, seed=frames)
    scorer = kind(posteriors, torch.tensor([frames, frames]))
    found = [outcomes(row) for row in posteriors]
    candidates = torch.tensor([REAL, REAL])
    for tokens in itertools.chain.from_iterable(itertools.product(REAL, repeat=n) for n in range(4)):
        before = [prefix_log_prob(row, tokens) for row in found]
        if -math.inf in before:
            continue
        scores, _ = scorer.extend(candidates, walk(scorer, tokens))
        wanted = [[prefix_log_prob(row, (*tokens, c)) - old for c in REAL]
                  for row, old in zip(found, before, strict=True)]  # fmt: skip
        torch.testing.assert_close(scores, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_the_end_completes_the_transcript(toy, kind: Kind) -> None:
    posteriors = toy.posteriors(1, 4, VOCABULARY, seed=3)
    scorer, found = kind(posteriors, torch.tensor([4])), outcomes(posteriors[0])
    for tokens in [(), (1,), (4, 4), (5, 1, 5)]:
        state = walk(scorer, tokens)
        scores, _ = scorer.extend(torch.tensor([[EOS]]), state)
        assert float(state.prefix + scores[:, 0]) == pytest.approx(math.log(found[tokens]), abs=1e-9)
        assert float(state.prefix + scores[:, 0]) == pytest.approx(toy.ctc_total(posteriors[0], 4, tokens), abs=1e-9)


def test_long_transcripts_agree_with_the_loss(toy, kind: Kind) -> None:
    posteriors = toy.posteriors(3, 60, 12, seed=8)
    tokens = (5, 5, 7, 1, 11, 4, 4, 4, 9, 6)
    state = walk(kind(posteriors, torch.full((3,), 60)), tokens)
    scores, _ = kind(posteriors, torch.full((3,), 60)).extend(torch.full((3, 1), EOS), state)
    wanted = [toy.ctc_total(row, 60, tokens) for row in posteriors]
    assert (state.prefix + scores[:, 0]).tolist() == pytest.approx(wanted, abs=1e-8)


def test_a_confident_model_keeps_its_precision(kind: Kind) -> None:
    """Posteriors as peaked as a trained model's: 200 frames whose improbable tokens have log probability -60."""
    best = torch.tensor([token for token in (4, 0, 5, 5, 0, 1, 0, 0) for _ in range(25)])
    logits = torch.zeros(1, 200, VOCABULARY).scatter_(2, best[None, :, None], 60.0)
    posteriors = logits.log_softmax(2)
    scorer = kind(posteriors, torch.tensor([200]))
    for tokens in [(4, 5, 1), (4, 5), (1, 1, 1), ()]:
        state = walk(scorer, tokens)
        scores, _ = scorer.extend(torch.tensor([[EOS]]), state)
        loss = torch.nn.functional.ctc_loss(
            posteriors.double().transpose(0, 1), torch.tensor([tokens], dtype=torch.long).view(1, -1),
            torch.tensor([200]), torch.tensor([len(tokens)]), blank=BLANK, reduction="sum",
        )  # fmt: skip
        assert float(state.prefix + scores[0]) == pytest.approx(-float(loss), rel=1e-9, abs=1e-9)


def test_padding_is_ignored(toy, kind: Kind) -> None:
    posteriors = toy.posteriors(3, 7, VOCABULARY, seed=5)
    lengths = torch.tensor([7, 4, 0])
    padded = posteriors.clone()
    for row, length in enumerate(lengths.tolist()):
        padded[row, length:] = float("nan")
    candidates = torch.tensor([[1, 3, 4, 5]])
    together, _ = kind(padded, lengths).extend(candidates.expand(3, -1), walk(kind(padded, lengths), (4,)))
    for row, length in enumerate(lengths.tolist()):
        alone = kind(posteriors[row : row + 1, :length], torch.tensor([length]))
        scores, _ = alone.extend(candidates, walk(alone, (4,)))
        torch.testing.assert_close(together[row : row + 1], scores, rtol=1e-12, atol=1e-12)


def test_no_frames_say_nothing(kind: Kind) -> None:
    scorer = kind(torch.zeros(1, 0, VOCABULARY), torch.tensor([0]))
    scores, _ = scorer.extend(torch.tensor([[1, EOS, 5]]), scorer.start())
    assert scores.tolist() == [[-math.inf, 0.0, -math.inf]]


def test_blank_and_start_never_extend(toy, kind: Kind) -> None:
    scorer = kind(toy.posteriors(1, 3, VOCABULARY, seed=1), torch.tensor([3]))
    scores, _ = scorer.extend(torch.tensor([[BLANK, SOS]]), scorer.start())
    assert scores.tolist() == [[-math.inf, -math.inf]]


def test_impossible_tokens_stay_finite_for_the_others(toy, kind: Kind) -> None:
    posteriors = toy.posteriors(1, 4, VOCABULARY, seed=2)
    posteriors[:, 1:3, 5] = float("-inf")
    posteriors = posteriors.log_softmax(2)
    scorer, found = kind(posteriors, torch.tensor([4])), outcomes(posteriors[0])
    for tokens in [(5,), (4, 5), (4, 1)]:
        assert float(walk(scorer, tokens).prefix) == pytest.approx(prefix_log_prob(found, tokens), abs=1e-9)


def test_selection_reorders_prefixes_and_their_utterances(toy, kind: Kind) -> None:
    """Rows chosen crosswise score what a walk straight to the same prefix scores."""
    scorer = kind(toy.posteriors(2, 6, VOCABULARY, seed=6), torch.tensor([6, 5]))
    first = torch.tensor([REAL]).expand(4, -1)
    _, extension = scorer.extend(first, scorer.start(beam=2))
    state = extension.select(torch.tensor([3 + 2, 0, 9 + 1, 6 + 2]))  # utterance 0: 5, 1; utterance 1: 4, 5
    scores, _ = scorer.extend(first, state.select(torch.tensor([1, 0, 2, 3])))
    for row, (utterance, token) in enumerate([(0, 1), (0, 5), (1, 4), (1, 5)]):
        wanted, _ = scorer.extend(first[:2], walk(scorer, (token,)))
        torch.testing.assert_close(scores[row], wanted[utterance])
