"""Where to compute, how exactly, and what running out of memory looks like."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from seq2seq_asr.errors import UsageError


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU when there is one.

    Raises:
        UsageError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device: {name!r} is none that torch knows") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device: {name} was asked for, but torch sees no GPU")
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep cuDNN from the 10-bit fractions of TF32, which would let a score depend on the batch."""
    cudnn: Any = torch.backends.cudnn
    layers = (cudnn.rnn, cudnn.conv)
    before = [layer.fp32_precision for layer in layers]
    try:
        for layer in layers:
            layer.fp32_precision = "ieee"
        yield
    finally:
        for layer, precision in zip(layers, before, strict=True):
            layer.fp32_precision = precision


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU torch says so in the text only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
