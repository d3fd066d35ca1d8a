import io
import pickle
import random
from dataclasses import replace
from typing import Literal

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq_asr.data.tokenizer import MAX_MODEL_BYTES, Tokenizer, TokenizerConfig
from seq2seq_asr.errors import TokenizerError, UsageError
from seq2seq_asr.vocabulary import BLANK, EOS, SOS, SPECIAL_PIECES, UNK

TEXTS = [
    "turn the light on",
    "turn the light off",
    "play some music",
    "what's the weather in athens",
    "stop",
    "ζεστό νερό",
    "打开 灯",
]
LETTERS = "".join(sorted(set("".join(TEXTS))))
KINDS: tuple[Literal["unigram", "bpe", "char"], ...] = ("unigram", "bpe", "char")
TOKENIZERS = {
    (kind, fallback): Tokenizer.train(TEXTS, TokenizerConfig(kind=kind, byte_fallback=fallback, vocabulary_size=500))
    for kind in KINDS
    for fallback in (False, True)
}
every_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=lambda _: "")
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_tokenizer
@given(text=st.text(alphabet=LETTERS, max_size=40))
def test_text_of_known_letters_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.normalise(text)
    assert not {BLANK, UNK, SOS, EOS} & set(ids)
    assert all(0 <= id < len(tokenizer) for id in ids)
    assert "".join(tokenizer.pieces(ids)).replace("\u2581", " ").strip() == tokenizer.normalise(text)
    assert tokenizer.unknown_rate([text]) == 0


@every_kind
@given(text=st.text(max_size=40))
def test_byte_fallback_spells_any_text(kind, text):
    tokenizer = TOKENIZERS[kind, True]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.normalise(text)
    assert not {BLANK, UNK, SOS, EOS} & set(ids)


@every_kind
@given(text=st.text(max_size=40))
def test_any_text_encodes_without_fallback(kind, text):
    ids = TOKENIZERS[kind, False].encode(text)
    assert not {BLANK, SOS, EOS} & set(ids)
    assert (UNK in ids) == (TOKENIZERS[kind, False].unknown_rate([text]) > 0)


@every_tokenizer
def test_special_ids(tokenizer):
    assert tuple(tokenizer.pieces(range(4))) == SPECIAL_PIECES
    assert tokenizer.decode([BLANK, SOS, EOS]) == ""
    assert tokenizer.decode([UNK]) == "\u2047"
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    ids = tokenizer.encode("play music")
    assert tokenizer.decode([SOS, *ids, EOS]) == "play music"


@pytest.mark.parametrize("text", ["<s>", "</s>", "<unk>", "<blank>", "<0x41>"])
def test_special_pieces_in_a_transcript_are_plain_text(text):
    tokenizer = TOKENIZERS["unigram", True]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_unknown_rate():
    tokenizer = TOKENIZERS["char", False]
    assert tokenizer.unknown_rate([]) == 0
    # A char tokenizer spells "stop x" as _ s t o p _ x: one of seven is unknown.
    assert tokenizer.unknown_rate(["stop x"]) == pytest.approx(1 / 7)


@every_kind
def test_training_twice_gives_the_same_bytes(kind):
    again = Tokenizer.train(iter(TEXTS), TokenizerConfig(kind=kind))
    assert again.model == TOKENIZERS[kind, False].model
    assert again.hash == TOKENIZERS[kind, False].hash


def test_training_is_silent(capfd):
    Tokenizer.train(TEXTS, TokenizerConfig())
    assert capfd.readouterr() == ("", "")


@every_kind
@given(size=st.integers(min_value=5, max_value=80))
@settings(max_examples=20)
def test_vocabulary_size_is_an_upper_limit(kind, size):
    needed = len(set("".join(TEXTS))) + len(SPECIAL_PIECES)
    config = TokenizerConfig(kind=kind, vocabulary_size=size)
    if size < needed:
        with pytest.raises(TokenizerError, match=f"vocabulary_size {size} cannot hold"):
            Tokenizer.train(TEXTS, config)
    else:
        assert needed <= len(Tokenizer.train(TEXTS, config)) <= size


@every_kind
@given(texts=st.lists(st.text(alphabet="ab 我'", max_size=8), max_size=4))
@settings(max_examples=30)
def test_tiny_corpora(kind, texts):
    config = TokenizerConfig(kind=kind)
    if not any(text.strip() for text in texts):
        with pytest.raises(TokenizerError, match="no text"):
            Tokenizer.train(texts, config)
        return
    tokenizer = Tokenizer.train(texts, config)
    assert len(tokenizer) > len(SPECIAL_PIECES)
    assert all(tokenizer.decode(tokenizer.encode(text)) == tokenizer.normalise(text) for text in texts)


@every_tokenizer
def test_file_pickle_and_bytes_give_the_same_tokenizer(tokenizer, tmp_path):
    path = tmp_path / "new" / "tokenizer.model"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    stored = Tokenizer(tokenizer.model, tokenizer.normaliser)
    for other in (loaded, stored, pickle.loads(pickle.dumps(tokenizer))):
        assert other.hash == tokenizer.hash
        assert other.encode(TEXTS[3]) == tokenizer.encode(TEXTS[3])
    assert [file.name for file in path.parent.iterdir()] == ["tokenizer.model"]
    # Other SentencePiece programs skip the normaliser's name.
    assert len(sentencepiece.SentencePieceProcessor(model_file=str(path))) == len(tokenizer)


def test_the_normaliser_travels_in_the_file_and_in_the_hash(tmp_path):
    tokenizer = Tokenizer.train(TEXTS, TokenizerConfig(normaliser="basic"))
    tokenizer.save(tmp_path / "t.model")
    loaded = Tokenizer.load(tmp_path / "t.model")
    assert loaded.normaliser == "basic"
    assert loaded.decode(loaded.encode("Turn the LIGHT on!")) == "turn the light on"
    assert Tokenizer(tokenizer.model, "none").hash != tokenizer.hash


@given(content=st.binary(max_size=200))
def test_garbage_is_refused(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "garbage.model"
    TOKENIZERS["char", False].save(path)
    trailer = path.read_bytes().removeprefix(TOKENIZERS["char", False].model)
    for garbage in (content, content + trailer):
        path.write_bytes(garbage)
        with pytest.raises(TokenizerError, match=r"garbage\.model"):
            Tokenizer.load(path)
    with pytest.raises(TokenizerError):
        Tokenizer(content, "none")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200)
def test_a_damaged_model_is_refused_or_works(seed):
    draw = random.Random(seed)
    damaged = bytearray(TOKENIZERS[draw.choice(KINDS), draw.random() < 0.5].model)
    for _ in range(draw.choice([1, 4, 32])):
        place = draw.randrange(len(damaged))
        damaged[place : place + draw.choice([1, 1, 9])] = draw.randbytes(draw.choice([0, 1, 1, 9]))
    try:
        tokenizer = Tokenizer(bytes(damaged), "none")
    except TokenizerError:
        return
    assert isinstance(tokenizer.decode(tokenizer.encode("turn the light ζ")), str)
    assert tuple(tokenizer.pieces(range(4))) == SPECIAL_PIECES


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, tmp_path):
    path = tmp_path / "t.model"
    TOKENIZERS["unigram", False].save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TokenizerError, match=str(path)):
        Tokenizer.load(path)


def test_other_special_ids_are_refused():
    with pytest.raises(TokenizerError, match="special"):
        Tokenizer(_foreign_model(), "none")


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(TokenizerError, match="missing.model"):
        Tokenizer.load(tmp_path / "missing.model")
    with pytest.raises(TokenizerError, match=str(tmp_path)):
        Tokenizer.load(tmp_path)
    large = tmp_path / "large.model"
    with large.open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    with pytest.raises(TokenizerError, match="larger"):
        Tokenizer.load(large)
    with pytest.raises(TokenizerError, match="cannot be written"):
        TOKENIZERS["char", False].save(large / "t.model")


def test_unknown_normaliser_is_refused():
    with pytest.raises(TokenizerError, match="normaliser"):
        Tokenizer(TOKENIZERS["char", False].model, "fancy")


def test_character_coverage_leaves_the_rarest_out():
    texts = ["aaaa bbbb"] * 100 + ["z"]
    config = TokenizerConfig(kind="char", character_coverage=0.99)
    assert Tokenizer.train(texts, config).unknown_rate(["z"]) > 0
    assert Tokenizer.train(texts, replace(config, character_coverage=1.0)).unknown_rate(["z"]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocabulary_size": 4},
        {"vocabulary_size": 260, "byte_fallback": True},
        {"character_coverage": 0.5},
        {"character_coverage": float("nan")},
    ],
)
def test_config_checks(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TokenizerConfig(**wrong)


def _foreign_model() -> bytes:
    """A tokenizer with SentencePiece's own default ids."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, model_type="char", minloglevel=2, hard_vocab_limit=False
    )
    return model.getvalue()
