"""A table-driven model for the search tests, and a plain Python reading of it to compare with."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from seq2seq_asr.vocabulary import BLANK, EOS, SOS

CELLS = 61


class ToyState(NamedTuple):
    """Everything said so far, row by row, so that a wrong reordering changes what is said next."""

    history: Tensor
    rows: Tensor
    peaks: Tensor
    alignment: Tensor

    def select(self, parents: Tensor) -> "ToyState":
        return ToyState(*(part[parents] for part in self))


def cell(history: list[int]) -> int:
    """The table row that a history leads to."""
    value = 7
    for token in history:
        value = (value * 31 + token + 1) % CELLS
    return value


def attend(cells: Tensor, frames: int) -> Tensor:
    """An alignment for each table row."""
    waves = torch.sin((cells + 1)[..., None].double() * torch.arange(1, frames + 1))
    return (4 * waves).softmax(-1)


class ToyScorer:
    """Log probabilities looked up by utterance and whole history."""

    def __init__(self, table: Tensor, frames: int = 5) -> None:
        self.table, self.frames = table, frames

    def start(self, beam: int = 1) -> ToyState:
        rows = torch.arange(len(self.table)).repeat_interleave(beam)
        return ToyState(
            torch.zeros(len(rows), 0, dtype=torch.long), rows, torch.zeros_like(rows), attend(rows, self.frames)
        )

    def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
        history = torch.cat([state.history, tokens[:, None]], 1)
        cells = torch.full_like(state.rows, 7)
        for column in history.T:
            cells = (cells * 31 + column + 1) % CELLS
        return self.table[state.rows, cells], ToyState(
            history, state.rows, cells % self.frames, attend(cells, self.frames)
        )

    def after(self, utterance: int, tokens: tuple[int, ...]) -> Tensor:
        """Log probabilities of what follows ``tokens``."""
        return self.table[utterance, cell([SOS, *tokens])]

    def rescore(self, utterance: int, tokens: tuple[int, ...], ended: bool = True) -> float:
        """Teacher-forced total, one token after the other."""
        said = (*tokens, EOS) if ended else tokens
        return sum(float(self.after(utterance, tokens[:i])[token]) for i, token in enumerate(said))

    def look(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """The frames it looks at while saying ``tokens``."""
        return tuple(cell([SOS, *tokens[:i]]) % self.frames for i in range(len(tokens)))

    def alignments(self, tokens: tuple[int, ...]) -> Tensor:
        """Its attention while saying ``tokens`` and the end."""
        return attend(torch.tensor([cell([SOS, *tokens[:i]]) for i in range(len(tokens) + 1)]), self.frames)


class Toy:
    """Makes toy models out of seeds."""

    @staticmethod
    def of(table: Tensor) -> ToyScorer:
        return ToyScorer(table)

    @staticmethod
    def scorer(utterances: int, vocabulary: int, seed: int, end: float = 0.0) -> ToyScorer:
        """A random model that never says blank or start; ``end`` raises the logit of the end."""
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(utterances, CELLS, vocabulary, generator=generator, dtype=torch.float64)
        logits[:, :, EOS] += end
        table = logits.log_softmax(2)
        table[:, :, [BLANK, SOS]] = float("-inf")
        return ToyScorer(table)

    @staticmethod
    def posteriors(utterances: int, frames: int, vocabulary: int, seed: int) -> Tensor:
        """Random CTC log posteriors."""
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(utterances, frames, vocabulary, generator=generator, dtype=torch.float64)
        return logits.log_softmax(2)

    @staticmethod
    def ctc_total(posteriors: Tensor, length: int, tokens: tuple[int, ...]) -> float:
        """CTC log probability of a whole transcript of one utterance ``(S, V)``, by PyTorch's own loss."""
        loss = torch.nn.functional.ctc_loss(
            posteriors[:, None], torch.tensor([tokens], dtype=torch.long).view(1, -1),
            torch.tensor([length]), torch.tensor([len(tokens)]), blank=BLANK, reduction="sum",
        )  # fmt: skip
        return -float(loss)


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    return Toy
