"""Hot words: a reward for every character of words that the user expects, such as names.

An automaton reads the transcript as UTF-8, whatever pieces it is cut into. It is that of Aho and Corasick 1975
("Efficient string matching"): its node is the longest end of the text that begins a hot word. A hypothesis has the
reward of what it has matched at once, so that the beam keeps it, and loses it again where the word is not completed:
each step adds the difference of the nodes' ``pending`` rewards, and ``reward`` where a word ends. The differences
cancel, and a whole transcript gains exactly the characters of the hot words in it, each occurrence counted.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.search.spelling import BYTES, SPACE, spelling, spellings
from seq2seq_asr.unspaced import CJK_PUNCTUATION, UNSPACED
from seq2seq_asr.vocabulary import EOS

_UNSPACED = re.compile(f"[{UNSPACED}{CJK_PUNCTUATION}]")


class Automaton(NamedTuple):
    """An Aho-Corasick automaton over bytes; node 0 is the empty match."""

    following: Int[np.ndarray, "nodes 256"]
    """Node after a byte."""
    reward: Float[np.ndarray, " nodes"]
    """Characters of all hot words that end at a node."""
    pending: Float[np.ndarray, " nodes"]
    """Characters matched of a hot word that may still be completed."""


class HotWordState(NamedTuple):
    """How far each hypothesis is in which hot word."""

    node: Int[Tensor, "*rows"]

    def select(self, parents: Int[Tensor, " BK"]) -> "HotWordState":
        """The state whose row ``i`` is row ``parents[i]`` of this one; candidates count as rows of their own."""
        return HotWordState(self.node.flatten()[parents])


class HotWords:
    """Hot words, ready for any utterance.

    Args:
        words: Words, or phrases with single spaces; empty ones are left out.
        pieces: All pieces of the tokenizer as SentencePiece spells them, in order of their ids.
        device: Where the search runs.

    Raises:
        UsageError: No words.
    """

    def __init__(self, words: Iterable[str], pieces: Sequence[str], device: torch.device | str = "cpu") -> None:
        patterns = sorted({_pattern(word) for word in words if word.strip()})
        if not patterns:
            raise UsageError("no hot words")
        automaton = build_automaton(patterns)
        self.max_gain = _greatest_gain(automaton, [spelling(piece, id) for id, piece in enumerate(pieces)])
        self._spellings = torch.from_numpy(spellings(pieces)).to(device)
        self._following = torch.from_numpy(automaton.following).to(device)
        self._reward = torch.from_numpy(automaton.reward).to(device)
        self._pending = torch.from_numpy(automaton.pending).to(device)

    def begin(self, rows: int) -> HotWordState:
        """Before the first token, as after a space."""
        return HotWordState(self._following[0, SPACE].repeat(rows))

    def read(
        self, tokens: Int[Tensor, "BK M"], state: HotWordState
    ) -> tuple[Float[Tensor, "BK M"], Int[Tensor, "BK M"]]:
        """Characters gained (or lost) by each token, and the node after it."""
        first = state.node[:, None].expand(tokens.shape)
        node, gain = first, -self._pending[first]
        for byte in self._spellings[tokens].unbind(2):
            after = torch.where(byte >= 0, self._following[node, byte], node)
            gain = gain + torch.where(byte >= 0, self._reward[after], 0.0)
            node = after
        return torch.where(tokens == EOS, gain, gain + self._pending[node]), node


class HotWordScorer:
    """A ``PartialScorer`` over hot words.

    Args:
        words: The hot words.
        utterances: Utterances of the batch.
    """

    def __init__(self, words: HotWords, utterances: int) -> None:
        self._words, self._utterances = words, utterances

    def start(self, beam: int = 1) -> HotWordState:
        """The state before the first token, ``beam`` equal rows per utterance."""
        return self._words.begin(self._utterances * beam)

    def extend(
        self, candidates: Int[Tensor, "BK M"], state: HotWordState
    ) -> tuple[Float[Tensor, "BK M"], HotWordState]:
        """Characters that each candidate gains; what is half matched is lost at the end. See ``PartialScorer``."""
        gain, node = self._words.read(candidates, state)
        return gain, HotWordState(node)


def build_automaton(patterns: Sequence[bytes]) -> Automaton:
    """The automaton of different patterns."""
    children: list[dict[int, int]] = [{}]
    characters, reward = [0], [0]
    for pattern in patterns:
        node = 0
        for byte in pattern:
            if byte not in children[node]:
                children[node][byte] = len(children)
                children.append({})
                characters.append(characters[node] + _begins_character(byte))
                reward.append(0)
            node = children[node][byte]
        reward[node] = characters[node]
    following = np.zeros((len(children), BYTES), dtype=np.int64)
    pending, failure, queue = np.zeros(len(children)), [0] * len(children), deque([0])
    while queue:
        node = queue.popleft()
        reward[node] += reward[failure[node]] if node else 0
        pending[node] = characters[node] if children[node] else pending[failure[node]]
        # What does not go on in the trie goes on from the longest end that also begins a pattern: a shorter one.
        following[node] = following[failure[node]] if node else 0
        for byte, child in children[node].items():
            failure[child] = int(following[node, byte])
            following[node, byte] = child
            queue.append(child)
    return Automaton(following, np.array(reward, dtype=np.float64), pending)


def _begins_character(byte: int) -> bool:
    """Whether a byte counts: a space does not, nor do the later bytes of a character."""
    return byte != SPACE and byte & 0xC0 != 0x80


def _pattern(word: str) -> bytes:
    """A word between spaces, except on the side of a script that has none."""
    word = " ".join(word.split())
    before, after = ("" if _UNSPACED.match(end) else " " for end in (word[0], word[-1]))
    return f"{before}{word}{after}".encode()


def _greatest_gain(automaton: Automaton, texts: Sequence[bytes]) -> float:
    """The most that any token adds after any text."""
    greatest = 0.0
    for spelled in texts:
        node, gain = np.arange(len(automaton.following)), -automaton.pending
        for byte in spelled:
            node = automaton.following[node, byte]
            gain = gain + automaton.reward[node]
        greatest = max(greatest, float((gain + automaton.pending[node]).max()))
    return greatest
