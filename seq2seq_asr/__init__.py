"""Attention Seq2Seq speech recognition: train, decode, compare.

``Recognizer.load("checkpoints/spoken").transcribe(["a.flac"])`` is the whole library interface;
``SpeechClassifier`` is the same for a run that classifies.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq_asr.recognizer import Recognizer, SpeechClassifier

# Before torch is imported: idle threads of its OpenMP spin some milliseconds, on cores that `nn/two_threads.py` and
# the loader's processes could use. Short spins cost nothing that was seen.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

__all__ = ["Recognizer", "SpeechClassifier"]


def __getattr__(name: str) -> Any:
    # Importing the package costs nothing until the recogniser, and with it torch, is wanted.
    if name in __all__:
        from seq2seq_asr import recognizer

        return getattr(recognizer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
