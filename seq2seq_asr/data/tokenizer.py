"""SentencePiece tokenizers that carry their normaliser in one file."""

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, cast, get_args

import sentencepiece

from seq2seq_asr.data.normaliser import NORMALISERS, NormaliserName
from seq2seq_asr.errors import TokenizerError, UsageError
from seq2seq_asr.vocabulary import BLANK, EOS, SOS, SPECIAL_PIECES, UNK
from seq2seq_asr.whole_file import write_whole, writing

MAX_MODEL_BYTES: Final = 32 * 2**20
_BYTE_PIECES: Final = 256
# Above the number of characters that Unicode has assigned.
_ALL_CHARACTERS: Final = 2**18
_LONGEST_TEXT_BYTES: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How transcripts are cut into pieces."""

    model: Path | None = None
    """Model to use in place of learning one: a run's tokenizer.model, or SentencePiece's own with our special ids."""
    kind: Literal["unigram", "bpe", "char"] = "bpe"
    """Algorithm that finds the pieces: unigram language model, byte-pair encoding, or single characters."""
    vocabulary_size: int = 200
    """Most pieces to learn, the 4 special ones (and 256 bytes) included; a small corpus yields fewer."""
    byte_fallback: bool = False
    """Spell unseen characters as UTF-8 bytes instead of <unk>."""
    normaliser: NormaliserName = "none"
    """Text normaliser: none (white space only) or basic (NFKC, lower case, words only); a run's model has its own."""
    character_coverage: float = 1.0
    """Share of the running characters that get a piece; the rarest rest becomes <unk> (or bytes)."""

    def __post_init__(self) -> None:
        if self.vocabulary_size <= self.reserved:
            raise UsageError(f"vocabulary_size must be above {self.reserved}, got {self.vocabulary_size}")
        if not 0.98 <= self.character_coverage <= 1.0:
            raise UsageError(f"character_coverage must be from 0.98 to 1, got {self.character_coverage}")

    @property
    def reserved(self) -> int:
        """Pieces that are not learnt: the special ones and, with byte fallback, the bytes."""
        return len(SPECIAL_PIECES) + (_BYTE_PIECES if self.byte_fallback else 0)


class Tokenizer:
    """Turns text into piece ids and back; the same model bytes and normaliser give the same tokenizer anywhere.

    Attributes:
        model: Serialised SentencePiece model.
        normaliser: Name of the normaliser applied before encoding.
        hash: SHA-256 (hex) of the model bytes and the normaliser's name.
    """

    file: ClassVar[str] = "tokenizer.model"

    def __init__(self, model: bytes, normaliser: str) -> None:
        """Wrap a serialised SentencePiece model.

        Raises:
            TokenizerError: The bytes are no SentencePiece model, its special ids are not ours, or no such normaliser.
        """
        if normaliser not in get_args(NormaliserName):
            raise TokenizerError(f"unknown normaliser {normaliser!r:.40}")
        self.model = model
        self.normaliser: NormaliserName = cast(NormaliserName, normaliser)
        self.hash = hashlib.sha256(model + normaliser.encode()).hexdigest()
        self._processor = _load_processor(model)

    @classmethod
    def train(cls, texts: Iterable[str], config: TokenizerConfig) -> "Tokenizer":
        """Learn pieces from transcripts; deterministic, in memory, single-threaded.

        Args:
            texts: Transcripts, one utterance each; empty ones are skipped.
            config: Kind and size of the vocabulary.

        Raises:
            TokenizerError: No text, or more characters than ``vocabulary_size`` can hold.
        """
        normalised = [text for text in map(NORMALISERS[config.normaliser], texts) if text]
        if not normalised:
            raise TokenizerError("no text to train a tokenizer on")
        tokenizer = cls(_train_model(normalised, config), config.normaliser)
        if len(tokenizer) > config.vocabulary_size:
            raise TokenizerError(
                f"cannot train a char tokenizer: vocabulary_size {config.vocabulary_size} cannot hold the"
                f" {len(tokenizer)} pieces that every character needs: raise it or lower character_coverage"
            )
        return tokenizer

    @classmethod
    def load(cls, path: Path, normaliser: NormaliserName | None = None) -> "Tokenizer":
        """Read a file that `save` wrote.

        Args:
            path: The file.
            normaliser: To go with a model that SentencePiece itself wrote; None refuses such a file.

        Raises:
            TokenizerError: The file is missing, too large, damaged or not a tokenizer of this package.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_MODEL_BYTES + 1)
        except (OSError, ValueError) as error:
            raise TokenizerError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
        if len(content) > MAX_MODEL_BYTES:
            raise TokenizerError(f"{path}: larger than {MAX_MODEL_BYTES // 2**20} MiB, not a tokenizer")
        for name in get_args(NormaliserName):
            if content.endswith(_trailer(name)):
                with _named(path):
                    return cls(content.removesuffix(_trailer(name)), name)
        if normaliser is None:
            raise TokenizerError(f"{path}: truncated, or not a tokenizer of seq2seq_asr")
        with _named(path):
            return cls(content, normaliser)

    def save(self, path: Path) -> None:
        """Write one file, atomically; any SentencePiece program can read it too.

        Raises:
            TokenizerError: The file cannot be written.
        """
        with writing(path, TokenizerError):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self.model + _trailer(self.normaliser), TokenizerError)

    def normalise(self, text: str) -> str:
        """The form of ``text`` that the recogniser is trained to write."""
        return NORMALISERS[self.normaliser](text)

    def encode(self, text: str) -> list[int]:
        """Piece ids of the normalised text, without start and end."""
        return list(self._processor.encode(self.normalise(text)))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of piece ids; blank, start and end write nothing, the unknown piece writes U+2047."""
        return str(self._processor.decode(list(ids)))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces as SentencePiece spells them (U+2581 is a space), for reading and plots."""
        return [self._processor.id_to_piece(id) for id in ids]

    def unknown_rate(self, texts: Iterable[str]) -> float:
        """Share of the pieces of ``texts`` that are unknown, from 0 to 1; 0 without any piece."""
        ids = [id for text in texts for id in self.encode(text)]
        return ids.count(UNK) / max(1, len(ids))

    def __len__(self) -> int:
        """Number of ids V, special ones included."""
        return len(self._processor)

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[bytes, str]]:
        """Travel to worker processes as bytes."""
        return type(self), (self.model, self.normaliser)


def _train_model(texts: Sequence[str], config: TokenizerConfig) -> bytes:
    # A char model silently drops the rarest characters to fit; ask for all of them and let the caller count.
    size = _ALL_CHARACTERS if config.kind == "char" else config.vocabulary_size
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=config.kind,
            vocab_size=size,
            hard_vocab_limit=False,
            byte_fallback=config.byte_fallback,
            character_coverage=config.character_coverage,
            max_sentence_length=_LONGEST_TEXT_BYTES,
            normalization_rule_name="identity",
            pad_id=BLANK,
            unk_id=UNK,
            bos_id=SOS,
            eos_id=EOS,
            pad_piece=SPECIAL_PIECES[BLANK],
            unk_surface="\u2047",
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        if "smaller than required_chars" in reason:
            reason = f"vocabulary_size {size} cannot hold every character: raise it or lower character_coverage"
        raise TokenizerError(f"cannot train a {config.kind} tokenizer: {reason}") from error
    return model.getvalue()


def _load_processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        # Empty bytes would leave the processor without a model, and any later call would fail.
        loaded = bool(model) and len(model) <= MAX_MODEL_BYTES and processor.load_from_serialized_proto(model)
        # Damaged models load with pieces that are no UTF-8: read every one now (and how the unknown one is written),
        # not in the middle of a decoding.
        pieces = tuple(processor.id_to_piece(id) for id in range(len(processor))) if loaded else ()
        processor.decode([id for id in (UNK,) if pieces])
    except (RuntimeError, ValueError, OSError, TypeError, LookupError) as error:
        raise TokenizerError("damaged, or not a SentencePiece model") from error
    if len(pieces) <= len(SPECIAL_PIECES):
        raise TokenizerError("damaged, or not a SentencePiece model")
    ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
    if ids != (BLANK, UNK, SOS, EOS) or pieces[: len(SPECIAL_PIECES)] != SPECIAL_PIECES:
        raise TokenizerError(f"its special pieces are not {SPECIAL_PIECES} as ids 0 to 3")
    return processor


def _trailer(normaliser: str) -> bytes:
    """The normaliser's name as a protobuf field.

    SentencePiece's message reserves field numbers from 200 for others, so its own reader skips the field; standing
    last, it also tells a whole file from a truncated one.
    """
    value = f"seq2seq_asr normaliser={normaliser}".encode()
    field, length_delimited = 777, 2
    key = field << 3 | length_delimited
    return bytes([key & 0x7F | 0x80, key >> 7, len(value)]) + value


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from error
