"""An n-gram model for a recogniser's words."""

from pathlib import Path

import torch

from seq2seq_asr.console import say
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import ManifestError
from seq2seq_asr.search.arpa import UNKNOWN_WORDS, read_arpa
from seq2seq_asr.search.ngram import NgramModel
from seq2seq_asr.vocabulary import UNK


def load_ngram(path: Path, tokenizer: Tokenizer, device: torch.device | str = "cpu") -> NgramModel:
    """Read an ARPA file, and say how many of its words the recogniser could never write.

    Raises:
        ManifestError: It is no ARPA file, or the recogniser can write none of its words.
    """
    arpa = read_arpa(path)
    words = [word for word in arpa.words if word not in ("<s>", "</s>", *UNKNOWN_WORDS)]
    foreign = [word for word in words if not _writable(word, tokenizer)]
    if len(foreign) == len(words):
        such = f", such as {foreign[0]!r:.40}" if foreign else ""
        raise ManifestError(f"{path}: none of its {len(words)} words can be written by this tokenizer{such}")
    if foreign:
        share = f"{len(foreign)} of its {len(words)} words, such as {foreign[0]!r:.40}"
        say(f"warning: {path}: {share}, cannot be written by this tokenizer; normalise the text as in training")
    return NgramModel(arpa, tokenizer.pieces(range(len(tokenizer))), device)


def _writable(word: str, tokenizer: Tokenizer) -> bool:
    return tokenizer.normalise(word) == word and UNK not in tokenizer.encode(word)
