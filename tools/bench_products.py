"""The matrix products of our search and nothing else: what the rest of it can at best come down to."""

from collections.abc import Callable

import torch
from bench_common import Sizes
from torch import Tensor

from seq2seq_asr.nn.model import Seq2Seq


def products_alone(model: Seq2Seq, encoded: Tensor, sizes: Sizes) -> Callable[[], object]:
    """The products of `our_search` without CTC, of the same shapes, into tensors that are there already.

    Energies of the attention are no product there: a loop filters, compares and scores.

    Args:
        model: Whose sizes they have; its weights do not matter.
        encoded: The utterances (B, S, E).
        sizes: Beams and steps.
    """
    (utterances, frames, size), units = encoded.shape, model.decoder.config.units
    rows, given = utterances * sizes.beam, 3 * units + sizes.vocabulary
    flat, hidden = encoded.reshape(-1, size), torch.randn(rows, units)
    alignment, values = torch.rand(utterances, sizes.beam, frames), torch.randn(utterances, frames, given)
    once = [torch.randn(size, given), torch.randn(size, sizes.attention)]
    of_a_step = torch.randn(units, sizes.attention + given)
    room = [torch.empty(len(flat), weights.shape[1]) for weights in once]
    own = torch.empty(rows, of_a_step.shape[1])
    found = torch.empty(utterances, sizes.beam, given)

    @torch.inference_mode()
    def run() -> None:
        for weights, result in zip(once, room, strict=True):
            torch.mm(flat, weights, out=result)
        for _ in range(sizes.steps):
            torch.mm(hidden, of_a_step, out=own)
            torch.bmm(alignment, values, out=found)

    return run
