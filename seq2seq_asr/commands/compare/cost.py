"""What a model costs: floating-point operations a second of audio."""

import warnings
from math import prod
from typing import Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from seq2seq_asr.nn.classifier import Classifier, Model
from seq2seq_asr.nn.model import Encoded, Seq2Seq
from seq2seq_asr.nn.two_threads import threads
from seq2seq_asr.vocabulary import SOS

SECONDS: Final = 10
"""Length of the utterance that is counted."""
_UNKNOWN: Final = {torch.ops.aten.mv: lambda matrix, *_, **__: 2 * prod(matrix)}
"""Products that PyTorch's counter does not know, by their shapes: of a matrix and a vector, such as MoChA's stops."""


@torch.no_grad()
def flops_a_second(model: Model, tokens_a_second: float) -> float:
    """Operations of encoder, CTC head and teacher-forced decoder for a second of audio; a multiply-add counts two.

    Counted are matrix products and convolutions, as PyTorch's counter sees them; sums, gates, normalisation and the
    Fourier transform of the features are not. Library recurrences are opaque to the counter unless oneDNN, which has
    kernels of its own for them, is out of the way, and it sees one thread only.

    Args:
        model: The recogniser, or a classifier, of which encoder and output are counted.
        tokens_a_second: Target tokens a second of audio.
    """
    config = model.config.features
    training = model.training
    frames = round(SECONDS / model.features.frame_shift)
    audio = (
        torch.randn(1, frames, config.bins) if config.kind == "precomputed" else torch.randn(1, SECONDS * config.rate)
    )
    tokens = [SOS] * (max(1, round(SECONDS * tokens_a_second)) + 1)
    with warnings.catch_warnings(), FlopCounterMode(display=False, custom_mapping=_UNKNOWN) as counter:
        warnings.simplefilter("ignore")  # leaving the next line, torch speaks of GPUs that are not there
        with torch.backends.mkldnn.flags(enabled=False), threads(1):
            lengths = torch.tensor([audio.shape[1]])
            model.eval()
            if isinstance(model, Classifier):
                model.log_probs(audio, lengths)
            else:
                encoded = model.encode(audio, lengths)
                if model.ctc is not None:
                    model.ctc(encoded.states)
                _decode(model, encoded, tokens)
    model.train(training)
    return counter.get_total_flops() / SECONDS


def _decode(model: Seq2Seq, encoded: Encoded, tokens: list[int]) -> None:
    """Step by step, as the formulas have it: teacher forcing has shortcuts that take more operations and less time."""
    memory = model.memory(encoded)
    state = model.decoder.start(memory)
    for token in tokens:
        _, state = model.decoder.step(torch.tensor([token]), state, memory)
