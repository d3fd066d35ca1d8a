"""Hot words: every occurrence counts once, whatever the pieces; what is half matched counts nothing."""

import itertools
import random
import re

import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.hotwords import HotWords, HotWordScorer, HotWordState
from seq2seq_asr.search.scorer import Weighted, joint_scorers
from seq2seq_asr.vocabulary import EOS, SPECIAL_PIECES

PIECES = [*SPECIAL_PIECES, *"▁|a|b|▁a|ab|ba▁|b▁a|▁abb|好|早|々|〇|<0xC3>|<0xA9>|é|」".split("|")]


def spoken(tokens: list[int]) -> str:
    """Text of pieces, read independently of the automaton."""
    parts = [bytes.fromhex(p[3:5]) if p.startswith("<0x") else p.replace("▁", " ").encode() for p in
             (PIECES[token] for token in tokens)]  # fmt: skip
    return " ".join(b"".join(parts).decode(errors="replace").split(" "))


def counted(text: str, words: list[str]) -> int:
    """Characters of all hot words in a text, overlapping ones too."""
    total = 0
    for word in set(words):
        before, after = ("" if end in "好早々〇」" else " " for end in (word[0], word[-1]))
        total += len(re.findall(f"(?={before}{word}{after})", f" {text} ")) * len(word.replace(" ", ""))
    return total


def gains(words: HotWords, tokens: list[int]) -> list[float]:
    """What each token adds, one after the other."""
    state, found = words.begin(1), []
    for token in tokens:
        gain, node = words.read(torch.tensor([[token]]), state)
        state = HotWordState(node[:, 0])
        found.append(float(gain))
    return found


SETS = [["a"], ["ab", "ba"], ["a", "a b", "b"], ["abb", "ab b a"], ["好", "早好", "好a"], ["々", "〇」"], ["é", "aé b"]]


@pytest.mark.parametrize("words", SETS)
def test_a_transcript_gains_the_characters_of_its_hot_words(words) -> None:
    draw, automaton = random.Random(1), HotWords(words, PIECES)
    found = 0
    for _ in range(200):
        tokens = draw.choices(range(len(SPECIAL_PIECES), len(PIECES)), k=draw.randrange(9))
        total = gains(automaton, [*tokens, EOS])
        assert sum(total) == counted(spoken(tokens), words), spoken(tokens)
        assert max(total) <= automaton.max_gain
        found += sum(total) > 0
    assert found > 5


def test_a_match_is_rewarded_at_once_and_lost_where_it_breaks() -> None:
    words, token = HotWords(["abba"], PIECES), PIECES.index
    assert gains(words, [token("▁a"), token("b"), token("b"), token("a"), EOS]) == [1, 1, 1, 1, 0]
    assert gains(words, [token("▁a"), token("b"), token("▁"), token("b"), EOS]) == [1, 1, -2, 0, 0]
    assert gains(words, [token("▁abb"), EOS]) == [3, -3]
    assert gains(words, [token("a"), token("ab"), EOS]) == [1, -1, 0]  # a first piece without a space begins a word too


def test_no_hot_words_are_told() -> None:
    with pytest.raises(UsageError, match="no hot words"):
        HotWords(["", "  "], PIECES)


def test_a_wide_beam_finds_the_best_of_all(toy) -> None:
    """And words that no transcript holds change nothing, although they are half matched on the way."""
    lengths, real = torch.tensor([4, 3]), [1, *range(4, 9)]
    model, words = toy.scorer(2, 9, seed=3), ["ab", "b a"]
    config = BeamConfig(beam=2000, candidates=9, max_length_ratio=1.0, length_normalisation="none", patience=None)
    for chosen in (words, ["abbaé"]):
        automaton = HotWords(chosen, PIECES[:9])
        hot = Weighted("hotwords", HotWordScorer(automaton, 2), 0.7, automaton.max_gain)
        found = beam_search([*joint_scorers(model), hot], lengths, config)
        for utterance, (best,) in enumerate(found):
            texts = [t for n in range(int(lengths[utterance]) + 1) for t in itertools.product(real, repeat=n)]
            totals = {t: model.rescore(utterance, t) + 0.7 * counted(hold(t), chosen) for t in texts}
            assert best.tokens == max(totals, key=lambda tokens: totals[tokens])
            assert best.score == pytest.approx(totals[best.tokens])
            assert best.scores["hotwords"] == counted(hold(best.tokens), chosen)
    plain = beam_search(joint_scorers(model), lengths, config)
    assert [one.tokens for (one,) in found] == [one.tokens for (one,) in plain]


def hold(tokens: tuple[int, ...]) -> str:
    """Text of tokens in which the unknown piece matches nothing."""
    return "".join("?" if token == 1 else spoken([token]) for token in tokens)
