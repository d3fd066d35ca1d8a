"""Decoding what the memory holds: together, or in halves."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from seq2seq_asr.errors import AsrError, AudioError
from seq2seq_asr.nn.device import is_out_of_memory
from seq2seq_asr.recognizer.transcript import Transcript

Inputs = Sequence[tuple[str, np.ndarray]]
"""Ids with samples or feature frames."""


def within_memory(
    inputs: Inputs, decode: Callable[[Inputs], list[Transcript]], device: torch.device
) -> list[Transcript | AsrError]:
    """Decode together, or in halves where the memory does not hold all; one that it cannot hold is an error.

    Args:
        inputs: What to decode.
        decode: Decodes together.
        device: Whose memory it is.
    """
    if not inputs:
        return []
    try:
        return [*decode(inputs)]
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler: its traceback would keep the tensors.
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if len(inputs) == 1:
        return [AudioError(f"{inputs[0][0]}: too long for the memory of the {device.type}")]
    half = len(inputs) // 2
    return [part for some in (inputs[:half], inputs[half:]) for part in within_memory(some, decode, device)]
