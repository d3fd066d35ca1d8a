"""Attention Seq2Seq speech recognition: train, decode, compare.

``Recognizer.load("checkpoints/spoken").transcribe(["a.flac"])`` is the whole library interface.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq_asr.recognizer import Recognizer

__all__ = ["Recognizer"]


def __getattr__(name: str) -> Any:
    # Importing the package costs nothing until the recogniser, and with it torch, is wanted.
    if name == "Recognizer":
        from seq2seq_asr.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
