"""The matrix products of our search and nothing else: what the rest of it can at best come down to."""

from collections.abc import Callable

import numpy as np
import torch
from bench_common import Sizes
from torch import Tensor

from seq2seq_asr.cpu import products
from seq2seq_asr.cpu.parts import at_once, parts_of
from seq2seq_asr.nn.compiled_stepping import WORTH_A_THREAD, CompiledStepping
from seq2seq_asr.nn.model import Seq2Seq


def products_alone(model: Seq2Seq, encoded: Tensor, sizes: Sizes, *, with_ctc: bool) -> Callable[[], object]:
    """The products of `our_search`, one for one; CTC prefix scores need that of the CTC head.

    Energies of the attention are no product there: a loop filters, compares and scores.

    Args:
        model: The recogniser.
        encoded: The utterances (B, S, E).
        sizes: Beams and steps.
        with_ctc: Whether the search has CTC prefix scores.
    """
    decoder, (batch, frames, _), beam = CompiledStepping(model.eval().decoder), encoded.shape, sizes.beam
    rows, lengths = batch * beam, torch.full((batch,), frames)
    hidden = np.random.standard_normal((rows, model.decoder.config.units)).astype(np.float32)
    alignments, context = (
        np.full((rows, frames), 1 / frames, np.float32),
        np.empty((rows, encoded.shape[2]), np.float32),
    )
    own = np.empty((rows, len(decoder.from_hidden.bias)), np.float32)
    given = np.empty((rows, len(decoder.from_context.bias)), np.float32)

    @torch.inference_mode()
    def run() -> None:
        if with_ctc and model.ctc is not None:
            model.ctc(encoded)
        memory = decoder.memory(encoded, lengths)
        mixed = given if memory.weighed else context

        def fill(some: slice) -> None:
            part = slice(some.start * beam, some.stop * beam)
            products.multiply(own[part], hidden[part], *decoder.from_hidden)
            products.mix(mixed[part], alignments[part], memory.values[some], memory.counts[some])
            if not memory.weighed:
                products.multiply(given[part], mixed[part], *decoder.from_context)

        for _ in range(sizes.steps):
            at_once(fill, parts_of(batch, -(-WORTH_A_THREAD // beam)))

    return run
