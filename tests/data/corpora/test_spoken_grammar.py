import random
import re
from collections import Counter

import pytest

from seq2seq_asr.data.corpora.spoken_grammar import RULES, Grammar, draw_sentences, shuffled
from seq2seq_asr.errors import UsageError

DEFAULT = {"train": 3000, "dev": 200, "test": 300}


def words(sentences: list[str]) -> list[str]:
    return " ".join(sentences).split()


@pytest.fixture(scope="module", params=sorted(RULES))
def splits(request) -> dict[str, list[str]]:
    return draw_sentences(request.param, DEFAULT, seed=0)


def test_grammar_says_exactly_what_its_rules_allow() -> None:
    grammar = Grammar("sentence = <who> runs | <tens>und\ntens = no\nwho = - | the  cat\n", 0)
    assert {grammar.draw() for _ in range(50)} == {"runs", "the cat runs", "nound"}


def test_indented_lines_go_on_and_comments_are_skipped() -> None:
    grammar = Grammar("# a | b\nsentence = one\n | two\n# c\n | three\n", 0)
    assert grammar.rules == {"sentence": ["one", "two", "three"]}


def test_alternatives_are_heard_equally_often() -> None:
    grammar = Grammar("sentence = <name>\nname = " + " | ".join("abcdefg"), 3)
    assert set(Counter(grammar.draw() for _ in range(70)).values()) == {10}


@pytest.mark.parametrize(("rules", "why"), [("sentence = <x>", "no rule x"), ("sentence = a\nsentence = b", "twice")])
def test_broken_rules_are_refused(rules: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Grammar(rules, 0)


@pytest.mark.parametrize("language", sorted(RULES))
def test_every_rule_is_used(language: str) -> None:
    referred = set(re.findall(r"<(\w+)>", RULES[language])) | {"sentence"}
    assert referred == Grammar(RULES[language], 0).rules.keys()


def test_no_sentence_twice(splits) -> None:
    everything = [sentence for sentences in splits.values() for sentence in sentences]
    assert {split: len(sentences) for split, sentences in splits.items()} == DEFAULT
    assert len(set(everything)) == len(everything)


def test_text_is_lower_case_words(splits) -> None:
    for sentence in splits["train"]:
        assert sentence.split(" ") == sentence.split() != []
        assert all(word.isalpha() and word == word.lower() for word in sentence.split())


def test_held_out_words_are_known(splits) -> None:
    known = set(words(splits["train"]))
    held_out = words(splits["dev"] + splits["test"])
    assert sum(word not in known for word in held_out) <= 0.01 * len(held_out)


def test_splits_are_alike_in_length(splits) -> None:
    mean = {split: len(words(sentences)) / len(sentences) for split, sentences in splits.items()}
    assert max(mean.values()) - min(mean.values()) < 0.7
    assert 5.5 < mean["train"] < 8.5


def test_english_has_many_names_and_combines_them_anew() -> None:
    splits = draw_sentences("en", DEFAULT, seed=0)
    grammar = Grammar(RULES["en"], 0)
    first, last = set(grammar.rules["first"]), set(grammar.rules["last"])
    assert len(first) >= 100 and len(set(words(splits["train"]))) > 500

    def pairs(sentences: list[str]) -> set[tuple[str, str]]:
        tokens = words(sentences)
        return {pair for pair in zip(tokens, tokens[1:], strict=False) if pair[0] in first and pair[1] in last}

    assert len(pairs(splits["test"]) - pairs(splits["train"])) > 20


def test_drawing_follows_the_seed() -> None:
    counts = {"train": 30, "test": 5}
    assert draw_sentences("en", counts, seed=4) == draw_sentences("en", counts, seed=4)
    assert draw_sentences("en", counts, seed=4) != draw_sentences("en", counts, seed=5)
    assert sorted(shuffled("hello", random.Random(0))) == sorted("hello")


def test_more_sentences_than_the_grammar_has(monkeypatch) -> None:
    monkeypatch.setattr("seq2seq_asr.data.corpora.spoken_grammar.RULES", {"en": "sentence = a | b | c"})
    assert sorted(draw_sentences("en", {"train": 2, "test": 1}, seed=0)["train"])[0] in "abc"
    with pytest.raises(UsageError, match="too few sentences for 4"):
        draw_sentences("en", {"train": 2, "test": 2}, seed=0)
