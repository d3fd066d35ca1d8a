"""A back-off n-gram model of words as a scorer of pieces.

A word is scored where it is complete: at the piece that begins the next one, or at the end, which has a probability of
its own. What a hypothesis owns is a node in the trie of words (how far the present word is spelled) and a context: the
longest end of its words that is an n-gram (Allauzen et al. 2003, "Generalized algorithms for constructing statistical
language models": back-off as failure transitions).

Look-ahead (Ortmanns et al. 1996, "Language-model look-ahead for large vocabulary speech recognition"): as soon as a
word begins, a hypothesis bears the best score that any word so begun could get, and the difference when it is known.
So the beam sees early what will cost, no step adds more than 0, and the total of a whole transcript is the model's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.arpa import UNKNOWN_WORDS, Arpa
from seq2seq_asr.search.lexicon import START, Edges, Lexicon
from seq2seq_asr.search.spelling import SPACE, spellings
from seq2seq_asr.vocabulary import EOS


class NgramState(NamedTuple):
    """Where each hypothesis is in its present word, and after which words."""

    node: Int[Tensor, "*rows"]
    context: Int[Tensor, "*rows"]

    def select(self, parents: Int[Tensor, " BK"]) -> "NgramState":
        """The state whose row ``i`` is row ``parents[i]`` of this one; candidates count as rows of their own."""
        return NgramState(self.node.flatten()[parents], self.context.flatten()[parents])


class BackOff:
    """Probabilities of words after contexts, many at a time.

    Args:
        arpa: The model. One without a word for unknown ones gets it, with the probability of the back-off alone.
        device: Where the search runs.
    """

    def __init__(self, arpa: Arpa, device: torch.device) -> None:
        own = arpa.unknown()
        arpa = arpa if own is not None else _with_unknown(arpa)
        self.order, self.unknown = arpa.order, len(arpa.words) - 1 if own is None else own
        nodes = np.arange(1, len(arpa.word))
        self._edges = Edges.of(arpa.history[1:], arpa.word[1:], nodes, len(arpa.words), device)
        self._word = torch.from_numpy(arpa.word).to(device)
        self._log_prob = torch.from_numpy(arpa.log_prob).to(device)
        self._backoff = torch.from_numpy(arpa.backoff).to(device)
        history, length = (torch.from_numpy(part).to(device) for part in (arpa.history, arpa.length))
        self._shorter = self._failures(history, length)
        # The longest n-grams are no contexts: after them stands the longest of their ends.
        self._context = torch.where(length < arpa.order, torch.arange(len(length), device=device), self._shorter)
        start = arpa.words.index("<s>") if "<s>" in arpa.words else None
        self.start = 0 if start is None else int(self._context[1 + start])
        self.end = arpa.words.index("</s>")

    def score(
        self, word: Int[Tensor, "*rows"], context: Int[Tensor, "*rows"]
    ) -> tuple[Float[Tensor, "*rows"], Int[Tensor, "*rows"]]:
        """Natural-log probability of a word after a context, at most 0, and the context after it."""
        log_prob = torch.zeros_like(context, dtype=torch.float64)
        after, done = context, torch.zeros_like(context, dtype=torch.bool)
        for _ in range(self.order):
            node, found = self._edges.follow(context, word)
            step = torch.where(found, self._log_prob[node], self._backoff[context])
            log_prob = torch.where(done, log_prob, log_prob + step)
            after = torch.where(found & ~done, self._context[node], after)
            done = done | found
            context = self._shorter[context]
        return log_prob.clamp(max=0.0), after

    def _failures(self, history: Tensor, length: Tensor) -> Int[Tensor, " nodes"]:
        """For each n-gram the longest of its ends, itself not counted, that is one too; 0 is the empty one."""
        shorter = torch.zeros_like(history)
        for size in range(2, self.order + 1):
            nodes = (length == size).nonzero()[:, 0]
            end, done = shorter[history[nodes]], torch.zeros_like(nodes, dtype=torch.bool)
            for _ in range(size - 1):
                node, found = self._edges.follow(end, self._word[nodes])
                shorter[nodes] = torch.where(found & ~done, node, shorter[nodes])
                done = done | found
                end = shorter[end]
        return shorter


class NgramModel:
    """An n-gram model of words, ready for any utterance.

    Args:
        arpa: The model, its words in the form that the recogniser writes.
        pieces: All pieces of the tokenizer as SentencePiece spells them, in order of their ids.
        device: Where the search runs.
    """

    def __init__(self, arpa: Arpa, pieces: Sequence[str], device: torch.device | str = "cpu") -> None:
        device = torch.device(device)
        self.backoff = BackOff(arpa, device)
        caps = _greatest(arpa)
        spelled = [number for number, word in enumerate(arpa.words) if word not in ("<s>", "</s>", *UNKNOWN_WORDS)]
        self._lexicon = Lexicon([arpa.words[n] for n in spelled], spelled, caps[spelled].tolist(), device)
        own = arpa.unknown()
        self._unknown_cap = 0.0 if own is None else float(caps[own])
        bytes_ = spellings(pieces)
        self._spellings = torch.from_numpy(bytes_).to(device)
        self._spaced = (bytes_ == SPACE).any(0).tolist()
        """Whether any piece has a space in this place: usually the first place alone."""

    def begin(self, rows: int) -> NgramState:
        """Before the first token."""
        device = self._spellings.device
        context = torch.full((rows,), self.backoff.start, device=device)
        return NgramState(torch.full_like(context, START), context)

    def read(
        self, tokens: Int[Tensor, "BK M"], state: NgramState, penalty: float
    ) -> tuple[Float[Tensor, "BK M"], NgramState]:
        """What each token adds, and the state after it.

        Args:
            tokens: Tokens to read.
            state: Before them, ``(BK,)``.
            penalty: Taken from the log probability of an unknown word.
        """
        first = NgramState(state.node[:, None], state.context[:, None])
        gain, state = -self._promise(first.node, penalty), first
        ended = self._close(first, penalty)  # in the first place all candidates end the same word
        for place, byte in enumerate(self._spellings[tokens].unbind(2)):
            if self._spaced[place]:
                cost, closed = ended if place == 0 else self._close(state, penalty)
                space = byte == SPACE
                gain = gain + torch.where(space, cost, 0.0)
                state = NgramState(*(torch.where(space, new, old) for new, old in zip(closed, state, strict=True)))
            letter = (byte >= 0) & (byte != SPACE)
            after = self._lexicon.read(byte.clamp(min=0), state.node.expand(byte.shape))
            state = state._replace(node=torch.where(letter, after, state.node))
        context = ended[1].context
        end, _ = self.backoff.score(torch.full_like(context, self.backoff.end), context)
        gain = gain + torch.where(tokens == EOS, end, self._promise(state.node, penalty))
        return gain, NgramState(state.node.expand(tokens.shape), state.context.expand(tokens.shape))

    def _close(self, state: NgramState, penalty: float) -> tuple[Tensor, NgramState]:
        """Complete the present word, if there is one: its log probability, and the state after it."""
        word = self._lexicon.word[state.node]
        unknown, between = word < 0, state.node == START
        log_prob, context = self.backoff.score(torch.where(unknown, self.backoff.unknown, word), state.context)
        log_prob = torch.where(unknown, log_prob - penalty, log_prob).masked_fill(between, 0.0)
        return log_prob, NgramState(torch.full_like(state.node, START), torch.where(between, state.context, context))

    def _promise(self, node: Tensor, penalty: float) -> Tensor:
        """The best log probability that a word so begun could get after any words; 0 between words."""
        best = self._lexicon.best[node].clamp(min=self._unknown_cap - penalty)
        return torch.where(node == START, 0.0, best)


class NgramScorer:
    """A ``PartialScorer`` over an n-gram model.

    Args:
        model: The model.
        utterances: Utterances of the batch.
        penalty: Taken from the log probability of a word that the model does not know, in nats.
    """

    def __init__(self, model: NgramModel, utterances: int, penalty: float) -> None:
        self._model, self._utterances, self._penalty = model, utterances, penalty

    def start(self, beam: int = 1) -> NgramState:
        """The state before the first token, ``beam`` equal rows per utterance."""
        return self._model.begin(self._utterances * beam)

    def extend(self, candidates: Int[Tensor, "BK M"], state: NgramState) -> tuple[Float[Tensor, "BK M"], NgramState]:
        """What each candidate adds: 0 at most. See ``PartialScorer``."""
        return self._model.read(candidates, state, self._penalty)


def _with_unknown(arpa: Arpa) -> Arpa:
    """The same with a 1-gram for unknown words, whose probability is 1: the penalty alone speaks."""
    ends = {"length": 1, "history": 0, "word": len(arpa.words), "log_prob": 0.0, "backoff": 0.0}
    parts = {name: np.append(getattr(arpa, name), end) for name, end in ends.items()}
    return Arpa((*arpa.words, UNKNOWN_WORDS[0]), arpa.order, **parts)


def _greatest(arpa: Arpa) -> Float[np.ndarray, " words"]:
    """The greatest log probability of each word after any history; back-off weights above 1 count as they may."""
    rise = np.zeros(arpa.order + 1)  # of all back-offs on the way down to n-grams of a length
    for size in range(arpa.order - 1, 0, -1):
        weights = arpa.backoff[arpa.length == size]
        rise[size] = rise[size + 1] + max(0.0, float(weights.max(initial=0.0)))
    caps = np.full(len(arpa.words), -np.inf)
    np.maximum.at(caps, arpa.word[1:], (arpa.log_prob + rise[arpa.length])[1:])
    return np.minimum(caps, 0.0)
