"""Teacher forcing with a search's scorers gives the search's own figures."""

import itertools

import pytest
import torch

from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.coverage import CoverageScorer
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.rescoring import ranked, rescore
from seq2seq_asr.search.scorer import Weighted, joint_scorers

LENGTHS = torch.tensor([5, 3])


def scorers_of(toy, seed: int, coverage: bool = True) -> list[Weighted]:
    ctc = CtcPrefixScorer(toy.posteriors(2, 5, 6, seed), LENGTHS)
    scorers = [*joint_scorers(toy.scorer(2, 6, seed), ctc, 0.3)]
    if coverage:
        cover = CoverageScorer(LENGTHS, 5, 0.5)
        scorers.append(Weighted("coverage", cover, 0.2, cover.max_gain))
    return scorers


@pytest.mark.parametrize("seed", range(4))
def test_what_was_found_is_rescored_to_its_own_scores(toy, seed: int) -> None:
    scorers = scorers_of(toy, seed)
    config = BeamConfig(beam=6, nbest=4, max_length_ratio=1.0, length_bonus=0.3)
    found = beam_search(scorers, LENGTHS, config)
    for place in range(4):
        chosen = [nbest[place] if nbest[place].ended else nbest[0] for nbest in found]
        for gains, one in zip(rescore(scorers, [one.tokens for one in chosen]), chosen, strict=True):
            assert gains.shape == (len(one.tokens) + 1, 3)
            assert gains.sum(0).tolist() == pytest.approx([one.scores[w.name] for w in scorers], abs=1e-9)
            assert ranked(gains, scorers, config.ranking) == pytest.approx(one.score, abs=1e-9)


def test_every_transcript_gets_its_written_out_probability(toy) -> None:
    model, scorers = toy.scorer(2, 6, 3), scorers_of(toy, 3, coverage=False)
    posteriors = toy.posteriors(2, 5, 6, 3)
    for tokens in itertools.chain.from_iterable(itertools.product((1, 4, 5), repeat=size) for size in range(3)):
        for utterance, gains in enumerate(rescore(scorers, [tokens, tokens])):
            attention, ctc = gains.sum(0).tolist()
            assert attention == pytest.approx(model.rescore(utterance, tokens))
            frames = int(LENGTHS[utterance])
            assert ctc == pytest.approx(toy.ctc_total(posteriors[utterance, :frames], frames, tokens), abs=1e-9)


def test_company_of_other_lengths_changes_nothing(toy) -> None:
    scorers = scorers_of(toy, 1)
    together = rescore(scorers, [(4,), (5, 4, 1)])
    other = rescore(scorers, [(4, 5, 5, 1), (5, 4, 1)])
    torch.testing.assert_close(together[1], other[1])
    assert len(together[0]) == 2 and rescore(scorers, []) == []


def test_an_exhaustive_beam_misses_no_transcript(toy) -> None:
    """So the share of search errors is 0, and with a beam of one it is not."""
    scorers, missed = scorers_of(toy, 0, coverage=False), {1: 0, 400: 0}
    everything = [t for size in range(5) for t in itertools.product((1, 4, 5), repeat=size)]
    configs = {
        beam: BeamConfig(beam=beam, max_length_ratio=0.8, candidates=6, ctc_weight=0.3, patience=None)
        for beam in missed
    }
    found = {beam: beam_search(scorers, LENGTHS, config) for beam, config in configs.items()}
    for tokens in everything:
        for utterance, gains in enumerate(rescore(scorers, [tokens, tokens[:2]])):
            for beam, config in configs.items():
                best = found[beam][utterance][0].score
                missed[beam] += ranked(gains, scorers, config.ranking) > best + 1e-9
    assert missed[400] == 0 < missed[1]
