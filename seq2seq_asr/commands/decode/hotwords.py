"""Reads the words that ``decode --hotwords`` expects."""

from pathlib import Path

from seq2seq_asr.data.lines import fault, read_lines
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.vocabulary import UNK


def read_hotwords(path: Path, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Words and phrases, one a line, in the form that the recogniser writes.

    Args:
        path: UTF-8 text; blank lines are skipped.
        tokenizer: Normalises, and knows what can be written.

    Raises:
        ManifestError: The file cannot be read or is empty, or a line has characters that the recogniser cannot write.
    """
    words = []
    for number, line in read_lines(path):
        word = tokenizer.normalise(line)
        if not word:
            raise fault(path, number, f"nothing is left of {line.strip()!r:.60} after normalisation")
        unknown = [character for character in dict.fromkeys(word) if UNK in tokenizer.encode(character)]
        if unknown:
            raise fault(path, number, f"{word!r:.60} has characters the tokenizer does not know: {' '.join(unknown)}")
        words.append(word)
    if not words:
        raise fault(path, 1, "no hot words")
    return tuple(words)
