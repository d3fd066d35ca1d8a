"""Kneser-Ney models: probabilities that sum to one, counts made by hand, and files that are read back as written."""

import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from seq2seq_asr.commands.fit_ngram.kneser_ney import (
    END,
    FALLBACK,
    START,
    UNKNOWN,
    adjusted_counts,
    arpa_lines,
    discounts,
    estimate,
    interpolate,
)
from seq2seq_asr.commands.fit_ngram.run import measure
from seq2seq_asr.search.arpa import Arpa, read_arpa
from seq2seq_asr.search.ngram import BackOff

TEXT = ["a b a", "a b", "b", "c a b", "a", "c c b a", "b b", "a b c"] + ["d e"] * 3 + ["e d c", "d a"]


def sentences(count: int = 200, seed: int = 0) -> list[list[str]]:
    draw = random.Random(seed)
    return [draw.choices("abcdefghij", weights=range(1, 11), k=draw.randrange(6)) for _ in range(count)]


def written(path: Path, text: list[list[str]], order: int) -> Arpa:
    path.write_text("\n".join(arpa_lines(estimate(text, order), order)))
    return read_arpa(path)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("text", [sentences(), [line.split() for line in TEXT], [["a"]]], ids=["long", "short", "one"])
def test_after_any_words_the_probabilities_sum_to_one(tmp_path: Path, text: list[list[str]], order: int) -> None:
    arpa = written(tmp_path / "a.arpa", text, order)
    model, start = BackOff(arpa, torch.device("cpu")), arpa.words.index(START)
    assert (start, arpa.words.count(UNKNOWN), arpa.words.count(END)) == (0, 1, 1)
    predicted = torch.arange(1, len(arpa.words))
    for context in range(len(arpa.word)):
        if arpa.length[context] < order and arpa.words[arpa.word[context]] != END:
            log_probs, _ = model.score(predicted, torch.full_like(predicted, context))
            assert float(log_probs.exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("order", [2, 3])
def test_a_model_is_the_interpolation_written_out(tmp_path: Path, order: int) -> None:
    """Equations 25 and 26 of Chen and Goodman for every word after every history, from the text itself."""
    draw, names = random.Random(3), [f"w{rank}" for rank in range(150)]
    rare = [1 / (rank + 1) for rank in range(150)]
    text = [draw.choices(names, weights=rare, k=draw.randrange(8)) for _ in range(200)]
    arpa = written(tmp_path / "a.arpa", text, order)
    model = BackOff(arpa, torch.device("cpu"))
    padded = [(START, *sentence, END) for sentence in text]
    vocabulary = {word for sentence in text for word in sentence} | {END, UNKNOWN}

    def grams(length: int) -> Counter[tuple[str, ...]]:
        return Counter(words[i : i + length] for words in padded for i in range(len(words) - length + 1))

    def counts(length: int) -> dict[tuple[str, ...], int]:
        before = Counter(gram[1:] for gram in grams(length + 1))
        whole = {gram: n for gram, n in grams(length).items() if gram != (START,)}
        return {gram: n if length == order or gram[0] == START else before[gram] for gram, n in whole.items()}

    tables = {length: counts(length) for length in range(1, order + 1)}

    def probability(history: tuple[str, ...], word: str) -> float:
        table = tables[len(history) + 1]
        n = Counter(table.values())
        y = n[1] / (n[1] + 2 * n[2])
        taken = [0.0, *(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))]
        after = {gram: count for gram, count in table.items() if gram[:-1] == history}
        shorter = probability(history[1:], word) if history else 1 / len(vocabulary)
        if not after:
            return shorter
        count = after.get((*history, word), 0)
        free = sum(taken[min(count, 3)] for count in after.values())
        return (count - taken[min(count, 3)] + free * shorter) / sum(after.values())

    said, words = sorted(vocabulary), torch.tensor([arpa.words.index(word) for word in sorted(vocabulary)])
    histories = [gram for length in range(1, order) for gram in sorted(grams(length)) if END not in gram]
    for history in ((), *draw.sample(histories, 30)):
        context = model.start if history[:1] == (START,) else 0
        for word in history[history[:1] == (START,) :]:
            context = int(model.score(torch.tensor(arpa.words.index(word)), torch.tensor(context))[1])
        found, _ = model.score(words, torch.full_like(words, context))
        assert found.exp().tolist() == pytest.approx([probability(history, word) for word in said], rel=1e-5)


def test_counts_by_hand() -> None:
    counts = adjusted_counts([["a", "b"], ["a", "b"], ["b"]], 2)
    assert counts[1] == {(START, "a"): 2, ("a", "b"): 2, ("b", END): 3, (START, "b"): 1}
    assert counts[0] == {("a",): 1, ("b",): 2, (END,): 1}  # "b" stands after "a" and at the start
    assert adjusted_counts([["a", "a"]], 1)[0] == {("a",): 2, (END,): 1}


def test_discounts_by_hand() -> None:
    # n1 = 4, n2 = 2, n3 = 1, n4 = 1: y = 4 / 8.
    assert discounts([1, 1, 1, 1, 2, 2, 3, 4]) == pytest.approx((1 - 0.5, 2 - 3 * 0.5 * 0.5, 3 - 4 * 0.5))
    assert discounts([1, 1, 2]) == discounts([2, 3]) == discounts([]) == FALLBACK
    assert discounts([1, 2, *[3] * 9]) == FALLBACK  # the second would be negative
    found, shares = interpolate(Counter({("a",): 3, ("b",): 1}), {(): 0.25})
    assert shares[()] == pytest.approx(2 / 4) and found[("a",)] == pytest.approx(1.5 / 4 + 0.125)


def test_the_perplexity_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a.arpa").write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-99\t<s>\t-0.5\n-1\t</s>\n-2\ta\t-0.25\n-3\tb\n\n"
        "\\2-grams:\n-0.125\ta b\n\n\\end\\\n"
    )
    arpa = read_arpa(tmp_path / "a.arpa")
    found = measure(arpa, [["a", "b"], ["zz", "a"], []])
    # <s> a b </s>: 2.5, 0.125, 1; <s> zz a </s>: zz left out, a 2, 1.25; <s> </s>: 1.5.
    assert found.perplexity == pytest.approx(10 ** ((2.5 + 0.125 + 1 + 2 + 1.25 + 1.5) / 6))
    assert (found.known, found.unknown) == (6, 1)


def test_kenlm_reads_what_is_written(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="KenLM is not installed")
    arpa = written(tmp_path / "a.arpa", sentences(), 3)
    dev = [one for one in sentences(30, seed=7) if one]
    total = sum(kenlm.Model(str(tmp_path / "a.arpa")).score(" ".join(one)) for one in dev)
    found = measure(arpa, dev)
    assert found.unknown == 0 and found.perplexity == pytest.approx(10 ** (-total / found.known), rel=1e-4)
