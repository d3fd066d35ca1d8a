"""Steps of a beam search on a GPU, recorded once a shape as a CUDA graph and from then on started by one call each.

A recording works on the tensors that it was made with. So each shape has a place of its own, into which the tensors of
a new batch are copied; a `Recognizer` rounds sizes up, so that there are few.
"""

import copy
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from seq2seq_asr.kernels.graphs import Recent, Replayed
from seq2seq_asr.search.advance import BeamState, Kept, Rules, advance, start
from seq2seq_asr.search.scorer import Weighted

_MEMORY_SHARE = 1 / 8
"""Of a GPU's memory, for the places that are remembered."""


class Place:
    """Where searches of one shape run, one after the other.

    Args:
        scorers: Of the first of them.
        rules: Of all of them, but for the lengths.
        utterances: Utterances of the batch.
        device: Where it runs; only CUDA devices record.

    Raises:
        TypeError: A scorer's state is not of tensors, as that of ``CompiledStepping``.
    """

    def __init__(self, scorers: Sequence[Weighted], rules: Rules, utterances: int, device: torch.device) -> None:
        self._scorers = tuple(replace(weighted, scorer=_own(weighted.scorer)) for weighted in scorers)
        self._rules: Rules = tree_map(_cloned, rules)
        self._utterances, self._device = utterances, device
        self._state: BeamState = tree_map(_cloned, self._start())  # no two of its tensors share memory
        if any(isinstance(leaf, np.ndarray) for leaf in tree_leaves(self._state)):
            raise TypeError("only tensors can be copied into a place: search a CPU without one")
        self._kept: Kept | None = None
        self._replayed = Replayed(self._advance, device)

    def begin(self, scorers: Sequence[Weighted], rules: Rules) -> None:
        """Take in another batch."""
        for own, given in zip(self._scorers, scorers, strict=True):
            _copy(_parts(own.scorer), _parts(given.scorer))
        _copy(self._rules, rules)
        _copy(self._state, self._start())

    def step(self) -> Kept:
        """Let every hypothesis grow by one token or end; see `advance`."""
        self._replayed()
        assert self._kept is not None
        kept: Kept = tree_map(_room, self._kept)
        _copy(kept, self._kept)
        return kept

    def weigh(self) -> int:
        """Bytes of what it was given and of its state; what a step takes besides is about as much again."""
        tensors = [*tree_leaves([_parts(one.scorer) for one in self._scorers]), *tree_leaves(self._state)]
        return 2 * sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))

    def _start(self) -> BeamState:
        return start(self._scorers, self._utterances, self._rules.beam, self._device)

    def _advance(self) -> None:
        state, self._kept = advance(self._scorers, self._rules, self._state)
        _copy(self._state, state)


class Places:
    """The places used last. They hold for one set of models: what `Recognizer` searches with.

    Args:
        kernels: Whether steps may use GPU kernels.
    """

    def __init__(self, *, kernels: bool = False) -> None:
        self.kernels = kernels
        self._recent: Recent[Place] = Recent(Place.weigh)

    def replayed(
        self, scorers: Sequence[Weighted], rules: Rules, utterances: int, device: torch.device
    ) -> Iterator[Kept]:
        """What each step keeps, as of `unrolled`; the next search ends this one."""
        place = self.find(scorers, rules, utterances, device)
        place.begin(scorers, rules)
        while True:
            yield place.step()

    def find(self, scorers: Sequence[Weighted], rules: Rules, utterances: int, device: torch.device) -> Place:
        """The place of this shape."""
        key = (_shape([(w.name, w.weight, type(w.scorer), _parts(w.scorer)) for w in scorers]), _shape(rules))
        memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
        return self._recent.find(
            (*key, utterances, device), lambda: Place(scorers, rules, utterances, device), int(memory * _MEMORY_SHARE)
        )


def _parts(scorer: Any) -> list[Any]:
    """Everything that a scorer holds, in order."""
    return [vars(scorer)[name] for name in sorted(vars(scorer))]


def _own(scorer: Any) -> Any:
    """The same scorer with tensors of its own; models are shared."""
    twin = copy.copy(scorer)
    for name, value in vars(scorer).items():
        setattr(twin, name, tree_map(_cloned, value))
    return twin


def _cloned(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _room(leaf: Any) -> Any:
    return torch.empty_like(leaf) if isinstance(leaf, Tensor) else leaf


def _copy(own: Any, given: Any) -> None:
    """Copy all tensors into those in the same places, by one launch for all of a kind."""
    kinds = defaultdict[torch.dtype, list[tuple[Tensor, Tensor]]](list)
    for one, other in zip(tree_leaves(own), tree_leaves(given), strict=True):
        if isinstance(one, Tensor) and one is not other:
            kinds[one.dtype].append((one, other))
    for pairs in kinds.values():
        to, of = zip(*pairs, strict=True)
        torch._foreach_copy_(to, of)


def _shape(value: Any) -> Hashable:
    """What two values must share to be computed by one recording: shapes of tensors, the objects themselves."""
    return tuple(
        (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf if isinstance(leaf, Hashable) else id(leaf)
        for leaf in tree_leaves(value)
    )
