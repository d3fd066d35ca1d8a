"""The matrix products of our search and nothing else: what the rest of it can at best come down to."""

from collections.abc import Callable

import torch
from bench_common import Sizes
from torch import Tensor

from seq2seq_asr.nn.model import Seq2Seq


def products_alone(model: Seq2Seq, encoded: Tensor, sizes: Sizes) -> Callable[[], object]:
    """The products of `our_search` without CTC, of the same shapes, into tensors that are there already.

    Args:
        model: Whose sizes they have; its weights do not matter.
        encoded: The utterances (B, S, E).
        sizes: Beams and steps.
    """
    (utterances, frames, size), units = encoded.shape, model.decoder.config.units
    rows, given = utterances * sizes.beam, 3 * units + sizes.vocabulary
    flat = encoded.reshape(-1, size)
    hidden, alignment = torch.randn(rows, units), torch.rand(rows, frames)
    located = torch.randn(rows * frames, sizes.filters)
    values = torch.randn(utterances, frames, given)
    once = [(flat, torch.randn(size, given)), (flat, torch.randn(size, sizes.attention))]
    of_a_step = [
        *((hidden, torch.randn(units, width)) for width in (3 * units, sizes.attention, sizes.vocabulary)),
        (alignment, torch.randn(frames, frames * sizes.filters)),
        (located, torch.randn(sizes.filters, sizes.attention)),
        (torch.randn(rows * frames, sizes.attention), torch.randn(sizes.attention, 1)),
    ]
    room = {id(b): torch.empty(len(a), b.shape[1]) for a, b in (*once, *of_a_step)}
    found = torch.empty(utterances, sizes.beam, given)

    @torch.inference_mode()
    def run() -> None:
        for a, b in once:
            torch.mm(a, b, out=room[id(b)])
        for _ in range(sizes.steps):
            for a, b in of_a_step:
                torch.mm(a, b, out=room[id(b)])
            torch.bmm(alignment.view(utterances, sizes.beam, frames), values, out=found)

    return run
