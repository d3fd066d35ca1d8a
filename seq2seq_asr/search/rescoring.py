"""What scorers say of given tokens: teacher forcing with the very scorers of a search."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.ranking import Ranking
from seq2seq_asr.search.scorer import Follower, PartialScorer, Scorer, Weighted
from seq2seq_asr.vocabulary import EOS, SOS


@torch.inference_mode()
def rescore(
    scorers: Sequence[Weighted], tokens: Sequence[Sequence[int]], device: torch.device | str = "cpu"
) -> list[Float[Tensor, "_ N"]]:
    """What every scorer adds for each token of one given transcript an utterance, and for its end.

    Args:
        scorers: As for `beam_search`; the first is a full one.
        tokens: Of each utterance, without start and end.
        device: Where the scorers compute.

    Returns:
        For each utterance a row a token and one for the end: unweighted gains in nats, in double precision on the CPU.
    """
    rows = len(tokens)
    if rows == 0:
        return []
    longest = max(map(len, tokens))
    padded = torch.tensor([[*one, *[EOS] * (longest + 1 - len(one))] for one in tokens], device=device)
    states = [weighted.scorer.start(1) for weighted in scorers]
    last, gains = torch.full_like(padded[:, 0], SOS), []
    for said in padded.unbind(1):
        gained, states = _advance(scorers, states, last, said)
        gains.append(gained)
        last = said
    steps = torch.stack(gains, 1).cpu()
    return [step[: len(one) + 1] for step, one in zip(steps, tokens, strict=True)]


def ranked(gains: Float[Tensor, "U1 N"], scorers: Sequence[Weighted], ranking: Ranking) -> float:
    """The figure that a search would rank a rescored transcript by."""
    weights = torch.tensor([weighted.weight for weighted in scorers], dtype=torch.float64)
    length = torch.tensor(len(gains) - 1)
    return float(ranking.score(gains.sum(0) @ weights, length))


def _advance(
    scorers: Sequence[Weighted], states: Sequence[Any], last: Int[Tensor, " B"], said: Int[Tensor, " B"]
) -> tuple[Float[Tensor, "B N"], list[Any]]:
    """One step of every scorer: what ``said`` adds after ``last``, and the states after it."""
    gains: list[Tensor] = []
    after: list[Any] = []
    for weighted, state in zip(scorers, states, strict=True):
        scorer = weighted.scorer
        if isinstance(scorer, Scorer):
            log_probs, state = scorer.step(last, state)
            gain = log_probs.gather(1, said[:, None])[:, 0]
        elif isinstance(scorer, PartialScorer):
            gain, state = scorer.extend(said[:, None], state)
            gain, state = gain[:, 0], state.select(torch.arange(len(said), device=said.device))
        else:
            assert isinstance(scorer, Follower)
            gain, state = scorer.follow(after[0].alignment, state)
        gains.append(gain.double())
        after.append(state)
    return torch.stack(gains, 1), after
