"""The words of an n-gram model as a trie over bytes, so that a transcript finds them whatever pieces it is cut into."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq_asr.search.spelling import BYTES

START, LOST = 0, 1
"""Nodes of a trie: between two words, and after a beginning that no word has."""


class Edges(NamedTuple):
    """A table from (node, label) to node, as sorted keys: a million edges take 16 MB and a look-up twenty steps."""

    keys: Int[Tensor, " edges"]
    nodes: Int[Tensor, " edges"]
    labels: int
    """Labels are below this number."""

    @classmethod
    def of(cls, node: np.ndarray, label: np.ndarray, child: np.ndarray, labels: int, device: torch.device) -> "Edges":
        """The table of these edges, at least one."""
        keys = node * labels + label
        order = np.argsort(keys)
        return cls(torch.from_numpy(keys[order]).to(device), torch.from_numpy(child[order]).to(device), labels)

    def follow(
        self, node: Int[Tensor, "*rows"], label: Int[Tensor, "*rows"]
    ) -> tuple[Int[Tensor, "*rows"], Bool[Tensor, "*rows"]]:
        """The child, where there is one, and whether there is."""
        key = node * self.labels + label
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        return self.nodes[place], self.keys[place] == key


class Lexicon:
    """A trie whose nodes know the word that ends there, and the best that may come of them.

    Args:
        words: The words; an empty one has no node.
        numbers: A number for each.
        values: A value for each, for ``best``.
        device: Where the search runs.
    """

    def __init__(
        self, words: Sequence[str], numbers: Sequence[int], values: Sequence[float], device: torch.device
    ) -> None:
        children: dict[tuple[int, int], int] = {(LOST, 0): LOST}  # an edge at least, and an idle one
        word, best = [-1, -1], [-np.inf, -np.inf]
        for text, number, value in zip(words, numbers, values, strict=True):
            node = START
            for byte in text.encode():
                node = children.setdefault((node, byte), len(word))
                if node == len(word):
                    word.append(-1)
                    best.append(-np.inf)
                best[node] = max(best[node], value)
            if node != START:
                word[node] = number
        node, label = np.array([*children], dtype=np.int64).T
        child = np.array([*children.values()], dtype=np.int64)
        self._edges = Edges.of(node, label, child, BYTES, device)
        self.word: Int[Tensor, " nodes"] = torch.tensor(word, device=device)
        """Number of the word that ends at each node; -1 where none does."""
        self.best: Float[Tensor, " nodes"] = torch.tensor(best, dtype=torch.float64, device=device)
        """Greatest value of the words that go through each node; -inf at ``START`` and ``LOST``."""

    def read(self, byte: Int[Tensor, "*rows"], node: Int[Tensor, "*rows"]) -> Int[Tensor, "*rows"]:
        """The node after a byte, which must not be a space."""
        child, found = self._edges.follow(node, byte)
        return torch.where(found, child, LOST)
