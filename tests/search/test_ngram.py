"""n-gram scores of pieces against a back-off written out over words, and against KenLM where it is installed."""

import itertools
import math
import random
from pathlib import Path

import pytest
import torch

from seq2seq_asr.search.arpa import read_arpa
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.ngram import NgramModel, NgramScorer, NgramState
from seq2seq_asr.search.scorer import Weighted, joint_scorers
from seq2seq_asr.vocabulary import BLANK, EOS, SOS, SPECIAL_PIECES, UNK

PIECES = [*SPECIAL_PIECES, *"▁|a|b|▁a|ab|ba▁|b▁a|▁abb|好|<0xC3>|<0xA9>|é".split("|")]
WORDS = ["a", "b", "ab", "ba", "abb", "好", "é", "aé"]
PENALTY = 4.0
Table = dict[tuple[str, ...], tuple[float, float]]


def random_table(order: int, seed: int, unknown: bool = True, kenlm: bool = False) -> Table:
    """n-grams with log10 probabilities and back-off weights, some of these above 0; or only what KenLM can read."""
    draw = random.Random(seed)
    words = [*WORDS, "</s>", *["<unk>"] * unknown]
    table: Table = {("<s>",): (-99.0, draw.uniform(-2, 0))}
    table |= {(word,): (draw.uniform(-3, -0.1), draw.uniform(-2, 0 if kenlm else 0.3)) for word in words}
    for length in range(2, order + 1):
        histories = [gram for gram in table if len(gram) == length - 1 and gram[-1] != "</s>"]
        for history in draw.sample(histories, len(histories) * 2 // 3):
            for word in draw.sample(words, 4):
                if not kenlm or (*history[1:], word) in table:
                    table[*history, word] = draw.uniform(-2, 0), draw.uniform(-2, 0 if kenlm else 0.3)
    return table


def arpa_text(table: Table) -> str:
    order = max(map(len, table))
    counts = [f"ngram {n}={sum(len(gram) == n for gram in table)}" for n in range(1, order + 1)]
    sections = []
    for n in range(1, order + 1):
        sections += ["", f"\\{n}-grams:"]
        for gram, (log_prob, backoff) in table.items():
            if len(gram) == n:
                sections.append(f"{log_prob!r}\t{' '.join(gram)}" + (f"\t{backoff!r}" if n < order else ""))
    return "\n".join(["\\data\\", *counts, *sections, "", "\\end\\", ""])


def conditional(table: Table, history: tuple[str, ...], word: str) -> float:
    """log10 p(word | history), by the definition of the back-off; the highest order has no weights."""
    if (*history, word) in table:
        return table[*history, word][0]
    if not history:
        return 0.0  # no <unk>
    return (table[history][1] if history in table else 0.0) + conditional(table, history[1:], word)


def expected(table: Table, text: str, ended: bool = True) -> float:
    """Natural-log probability of a sentence with a penalty for each unknown word."""
    order, total = max(map(len, table)), 0.0
    history: tuple[str, ...] = ("<s>",)
    words = [word for word in text.split(" ") if word]
    for word in [*words, *["</s>"] * ended]:
        known = word if (word,) in table else "<unk>"
        history = history[len(history) - min(len(history), order - 1) :]
        total += min(0.0, conditional(table, history, known) * math.log(10)) - PENALTY * (known == "<unk>")
        history = (*history, known)
    return total


def spoken(tokens: list[int] | tuple[int, ...]) -> str:
    """Text of pieces, read independently of the trie."""
    parts = [b"?" if token == UNK else bytes.fromhex(PIECES[token][3:5]) if PIECES[token].startswith("<0x")
             else PIECES[token].replace("▁", " ").encode() for token in tokens]  # fmt: skip
    return b"".join(parts).decode(errors="replace")


def write(path: Path, table: Table) -> Path:
    path.write_text(arpa_text(table))
    return path


def gains(model: NgramModel, transcripts: list[list[int]]) -> list[list[float]]:
    """What each token adds, token by token, all transcripts at once."""
    state, found = model.begin(len(transcripts)), []
    for column in itertools.zip_longest(*transcripts, fillvalue=BLANK):
        gain, after = model.read(torch.tensor(column)[:, None], state, PENALTY)
        state = after.select(torch.arange(len(transcripts)))
        found.append(gain[:, 0].tolist())
    return [[*row][: len(tokens)] for row, tokens in zip(zip(*found, strict=True), transcripts, strict=True)]


@pytest.mark.parametrize("unknown", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_transcript_scores_as_the_back_off_written_out(tmp_path: Path, order: int, unknown: bool) -> None:
    draw, table = random.Random(order), random_table(order, seed=order, unknown=unknown)
    model = NgramModel(read_arpa(write(tmp_path / "a.arpa", table)), PIECES)
    transcripts = [draw.choices([UNK, *range(4, len(PIECES))], k=draw.randrange(10)) for _ in range(200)]
    for tokens, found in zip(transcripts, gains(model, [[*one, EOS] for one in transcripts]), strict=True):
        assert sum(found) == pytest.approx(expected(table, spoken(tokens)), abs=1e-9), spoken(tokens)
        assert max(found) <= 1e-12, "a reward that the search does not know of"


def test_a_history_that_raises_its_words_is_no_reward(tmp_path: Path) -> None:
    """A back-off weight above 1 makes "b" more probable after "a" than any n-gram says."""
    table: Table = {("<s>",): (-99.0, 0.0), ("</s>",): (-1.0, 0.0), ("a",): (-1.0, 0.25), ("b",): (-0.5, 0.0)}
    table["<s>", "a"] = (-0.5, 0.0)
    model = NgramModel(read_arpa(write(tmp_path / "a.arpa", table)), PIECES)
    said = [PIECES.index(piece) for piece in ("▁a", "▁", "b", "▁")]
    (found,) = gains(model, [[*said, EOS]])
    assert sum(found) == pytest.approx(expected(table, "a b"), abs=1e-9)
    assert max(found) <= 0


def test_whole_words_are_scored_as_they_end_and_promised_as_they_begin(tmp_path: Path) -> None:
    table = {("<s>",): (-99.0, -0.5), ("</s>",): (-1.0, 0.0), ("ab",): (-0.25, 0.0), ("abb",): (-2.0, 0.0)}
    model = NgramModel(read_arpa(write(tmp_path / "a.arpa", table | {("<s>", "abb"): (-0.75, 0.0)})), PIECES)
    nats, token = math.log(10), PIECES.index
    wanted = [
        # What begins with "a" may become "ab"; what begins with "abb" is at best what it is after <s>.
        ([token("▁a"), token("b"), token("b"), EOS], [-0.25 * nats, 0.0, -0.5 * nats, -nats]),
        # "b" begins no word: the penalty is due at once, the back-off weight when the word is complete.
        ([token("b"), token("b"), EOS], [-PENALTY, 0.0, -1.5 * nats]),
        ([token("▁"), token("▁"), EOS], [0.0, 0.0, -1.5 * nats]),
    ]
    for (_, steps), found in zip(wanted, gains(model, [tokens for tokens, _ in wanted]), strict=True):
        assert found == pytest.approx(steps)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_kenlm_agrees(tmp_path: Path, order: int) -> None:
    kenlm = pytest.importorskip("kenlm", reason="KenLM is not installed")
    table, draw = random_table(order, seed=order, kenlm=True), random.Random(0)
    path = write(tmp_path / "a.arpa", table)
    model, oracle = NgramModel(read_arpa(path), PIECES), kenlm.Model(str(path))
    texts = [draw.choices([*WORDS, "zz"], k=draw.randrange(7)) for _ in range(50)]
    spelled = [[PIECES.index(one) if one in PIECES else UNK for one in "▁".join(["", *words])] for words in texts]
    for words, found in zip(texts, gains(model, [[*tokens, EOS] for tokens in spelled]), strict=True):
        total = sum(found) + PENALTY * words.count("zz")
        assert total == pytest.approx(oracle.score(" ".join(words)) * math.log(10), abs=1e-4)


def test_many_rows_and_candidates_at_once_score_as_each_alone(tmp_path: Path) -> None:
    model = NgramModel(read_arpa(write(tmp_path / "a.arpa", random_table(3, seed=5))), PIECES)
    draw, rows = random.Random(1), 7
    pasts: list[list[int]] = [[] for _ in range(rows)]
    scorer = NgramScorer(model, 1, PENALTY)
    state = scorer.start(rows)
    for _ in range(6):
        candidates = torch.tensor([[EOS, UNK, *draw.sample(range(4, len(PIECES)), 6)] for _ in range(rows)])
        gain, extension = scorer.extend(candidates, state)
        grown = [[*past, token] for past, row in zip(pasts, candidates.tolist(), strict=True) for token in row]
        alone = gains(model, grown)
        assert gain.flatten().tolist() == pytest.approx([one[-1] for one in alone], abs=1e-9)
        parents = [draw.randrange(rows) for _ in range(rows)]
        columns = [draw.randrange(1, candidates.shape[1]) for _ in range(rows)]
        state = extension.select(torch.tensor(parents) * candidates.shape[1] + torch.tensor(columns))
        pasts = [[*pasts[p], int(candidates[p, c])] for p, c in zip(parents, columns, strict=True)]
    assert isinstance(state, NgramState) and state.node.shape == state.context.shape == (rows,)


def test_a_wide_beam_finds_the_best_of_all(toy, tmp_path: Path) -> None:
    lengths, real, table = torch.tensor([4, 3]), [UNK, *range(4, 9)], random_table(3, seed=8)
    attention = toy.scorer(2, 9, seed=3)
    model = NgramModel(read_arpa(write(tmp_path / "a.arpa", table)), PIECES[:9])
    config = BeamConfig(beam=2000, candidates=9, max_length_ratio=1.0, length_normalisation="none", patience=None)
    found = beam_search([*joint_scorers(attention), Weighted("ngram", NgramScorer(model, 2, PENALTY), 0.7)],
                        lengths, config)  # fmt: skip
    for utterance, (best,) in enumerate(found):
        texts = [t for n in range(int(lengths[utterance]) + 1) for t in itertools.product(real, repeat=n)]
        totals = {t: attention.rescore(utterance, t) + 0.7 * expected(table, spoken(t)) for t in texts}
        assert best.tokens == max(totals, key=lambda tokens: totals[tokens])
        assert best.score == pytest.approx(totals[best.tokens])
        assert best.scores["ngram"] == pytest.approx(expected(table, spoken(best.tokens)))
    plain = beam_search(joint_scorers(attention), lengths, config)
    assert [one.tokens for (one,) in found] != [one.tokens for (one,) in plain]


def test_what_is_never_said_breaks_a_word(tmp_path: Path) -> None:
    model = NgramModel(read_arpa(write(tmp_path / "a.arpa", random_table(2, seed=1, unknown=False))), PIECES)
    assert gains(model, [[BLANK], [SOS], [UNK]]) == [[-PENALTY]] * 3
