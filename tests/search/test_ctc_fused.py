"""The kernels' CTC prefix scores are those of the reference, step after step."""

import pytest
import torch

pytest.importorskip("triton")
from seq2seq_asr.search.ctc_fused import FusedCtcPrefixScorer  # noqa: E402
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer  # noqa: E402
from seq2seq_asr.vocabulary import BLANK, EOS, SOS  # noqa: E402


def posteriors(batch: int, frames: int, vocabulary: int) -> torch.Tensor:
    log_probs = (3 * torch.randn(batch, frames, vocabulary)).log_softmax(2)
    log_probs[0, 0, 5] = -torch.inf  # a token that cannot be there
    return log_probs


def equal(found, wanted) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("frames", "lengths", "beam", "vocabulary"),
    [(6, (6, 3, 1), 2, 8), (1, (1,), 1, 7), (67, (67, 5), 1, 9), (4, (4, 0), 3, 6)],
    ids="several least long empty".split(),
)
def test_steps_equal_the_reference(frames, lengths, beam, vocabulary) -> None:
    given = posteriors(len(lengths), frames, vocabulary), torch.tensor(lengths)
    exact, ours = CtcPrefixScorer(*given), FusedCtcPrefixScorer(*given)
    wanted, found = exact.start(beam), ours.start(beam)
    rows = len(lengths) * beam
    for step in range(3):
        candidates = torch.stack([torch.randperm(vocabulary)[:5] for _ in range(rows)])
        candidates[:, 0] = EOS
        if step:
            candidates[:, 1] = wanted.last  # repeats
            candidates[0, 2:4] = torch.tensor([BLANK, SOS])
        gains, extension = exact.extend(candidates, wanted)
        ours_gains, ours_extension = ours.extend(candidates, found)
        equal(ours_gains, gains)
        first = torch.arange(rows) // beam * beam
        parents = (first + torch.randint(beam, (rows,))) * 5 + 1 + torch.randint(4, (rows,))
        wanted, found = extension.select(parents), ours_extension.select(parents)
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == other.dtype
            equal(one, other)


def test_padding_and_company_change_nothing() -> None:
    log_probs, lengths = posteriors(2, 5, 7), torch.tensor([5, 3])
    candidates = torch.tensor([[EOS, 4, 5], [EOS, 5, 6]])
    together, extension = (scorer := FusedCtcPrefixScorer(log_probs, lengths)).extend(candidates, scorer.start())
    alone, own = (scorer := FusedCtcPrefixScorer(log_probs[1:, :3], lengths[1:])).extend(candidates[1:], scorer.start())
    assert torch.equal(together[1:], alone)
    chosen = extension.select(torch.tensor([1, 4])), own.select(torch.tensor([1]))
    equal(chosen[0].nonblank[1:, :4], chosen[1].nonblank)
