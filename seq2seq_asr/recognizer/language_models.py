"""Language models that join a recogniser's search."""

from pathlib import Path
from typing import NamedTuple

import torch

from seq2seq_asr.console import say
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import AsrError, ManifestError
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.recognizer.tuned import Tuned
from seq2seq_asr.search.arpa import UNKNOWN_WORDS, read_arpa
from seq2seq_asr.search.language_model import restore_language_model
from seq2seq_asr.search.ngram import NgramModel
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.vocabulary import UNK


class LanguageModels(NamedTuple):
    """What knows the language: either may be missing."""

    pieces: LanguageModel | None
    words: NgramModel | None


def load_language_models(
    lm: Path | None, ngram: Path | None, tokenizer: Tokenizer, device: torch.device | str
) -> LanguageModels:
    """Read those that are named.

    Raises:
        CheckpointError: The language model is missing, damaged, or of another tokenizer.
        ManifestError: The n-gram model is no ARPA file, or not of this tokenizer's words.
    """
    pieces = None
    if lm is not None:
        pieces = restore_language_model(read_checkpoint(lm), lm, tokenizer.hash, len(tokenizer), device)
    return LanguageModels(pieces, None if ngram is None else load_ngram(ngram, tokenizer, device))


def load_tuned_models(tuned: Tuned, tokenizer: Tokenizer, device: torch.device | str) -> LanguageModels | None:
    """Those that settings were tuned with; None, with a warning, where one cannot be had: the settings need it."""
    try:
        return load_language_models(tuned.lm, tuned.ngram, tokenizer, device)
    except AsrError as error:
        say(f"warning: searching by default, not as was tuned with a language model: {error}")
        return None


def load_ngram(path: Path, tokenizer: Tokenizer, device: torch.device | str) -> NgramModel:
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
