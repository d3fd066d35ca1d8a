"""Special token ids, fixed for every tokenizer and model of the package."""

from typing import Final

BLANK: Final = 0
"""CTC blank; pads token tensors too, and is never emitted by the decoder."""
UNK: Final = 1
"""Unknown piece."""
SOS: Final = 2
"""Start of sentence: the decoder's first input, never emitted."""
EOS: Final = 3
"""End of sentence: the decoder's last output."""

SPECIAL_PIECES: Final = ("<blank>", "<unk>", "<s>", "</s>")
