"""The text of pieces in UTF-8, whatever pieces it is cut into: what hot words and n-gram models read."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from seq2seq_asr.vocabulary import EOS, SPECIAL_PIECES

SPACE, NOTHING, BYTES = 0x20, 0xFF, 256
"""The space, a byte that no text has, and how many bytes there are."""


def spelling(piece: str, id: int) -> bytes:
    """The text of a piece in UTF-8; the end of the sentence is a space, other special pieces match nothing."""
    if id < len(SPECIAL_PIECES):
        return bytes([SPACE if id == EOS else NOTHING])
    if len(piece) == len("<0x00>") and piece.startswith("<0x") and piece.endswith(">"):  # byte fallback
        return bytes.fromhex(piece[3:5])
    return piece.replace("\u2581", " ").encode()


def spellings(pieces: Sequence[str]) -> Int[np.ndarray, "V L"]:
    """The bytes of all pieces in order of their ids, padded with -1."""
    spelled = [spelling(piece, id) for id, piece in enumerate(pieces)]
    longest = max(map(len, spelled))
    return np.array([[*one, *[-1] * (longest - len(one))] for one in spelled], dtype=np.int64)
