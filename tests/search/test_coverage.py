"""Coverage: each frame counts once, however often it is looked at."""

import pytest
import torch

from seq2seq_asr.search.beam import beam_search
from seq2seq_asr.search.coverage import CoverageScorer
from seq2seq_asr.search.scorer import Weighted, joint_scorers

LENGTHS = torch.tensor([4, 2])


def follow(scorer: CoverageScorer, alignments: torch.Tensor) -> list[list[float]]:
    """What each step adds for each utterance; alignments are steps × utterances × frames."""
    state, found = scorer.start(), []
    for alignment in alignments:
        gain, state = scorer.follow(alignment, state)
        found.append(gain.tolist())
    return found


def test_a_covered_frame_gains_nothing_more() -> None:
    steps = torch.tensor([[[1.0, 0, 0, 0], [0.3, 0.7, 0, 0]]] * 2 + [[[0, 0.25, 0.25, 0.5], [0.3, 0.7, 0, 0]]])
    assert follow(CoverageScorer(LENGTHS, 4, 0.5), steps) == [
        pytest.approx([1.0, 1.6]), pytest.approx([0.0, 0.4]), pytest.approx([2.0, 0.0]),
    ]  # fmt: skip


@pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0, 2.0])
def test_no_step_adds_more_than_max_gain_and_all_together_no_more_than_the_frames(threshold) -> None:
    scorer = CoverageScorer(LENGTHS, 4, threshold)
    gains = torch.tensor(follow(scorer, (9 * torch.randn(50, 2, 4)).softmax(2)))
    assert 0 <= gains.min() and gains.max() <= scorer.max_gain and gains.sum(0).max() <= 4 + 1e-5


def test_states_follow_their_hypotheses() -> None:
    scorer = CoverageScorer(LENGTHS, 4)
    state = scorer.start(2)
    _, state = scorer.follow(torch.eye(4), state)
    gain, _ = scorer.follow(torch.eye(4), state.select(torch.tensor([1, 0, 2, 2])))
    assert gain.tolist() == [1.0, 1.0, 0.0, 1.0]


def test_there_must_be_an_attention_to_follow(toy) -> None:
    class Blind:
        def start(self, beam: int = 1):
            return Position(torch.zeros(2 * beam))

        def step(self, tokens, state):
            return torch.zeros(len(tokens), 6), state

    class Position(tuple):
        def select(self, parents):
            return self

    coverage = Weighted("coverage", CoverageScorer(LENGTHS, 4), 0.1)
    with pytest.raises(TypeError, match="coverage: the first scorer has no alignment"):
        beam_search([*joint_scorers(Blind()), coverage], LENGTHS)
