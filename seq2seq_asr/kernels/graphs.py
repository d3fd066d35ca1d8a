"""CUDA graphs: a loop of launches is recorded once and from then on started by one call."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")


class Replayed:
    """Work on tensors that stay where they are; on a GPU recorded at its second call and replayed from then on.

    The first call runs it as it is, which compiles what is not compiled yet: that cannot be done while recording.

    Args:
        work: Launches kernels; allocates nothing, decides nothing by what tensors hold.
        device: Where it runs.
        record: Whether to record at all.
    """

    def __init__(self, work: Callable[[], None], device: torch.device, *, record: bool = True) -> None:
        self._work, self._records = work, record and device.type == "cuda"
        self._device = device
        self._ran = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Do the work, on the current stream."""
        with torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext():
            self._run()

    def _run(self) -> None:
        if not self._records or torch.cuda.is_current_stream_capturing():
            self._work()
        elif self._graph is not None:
            self._graph.replay()
        elif self._ran:
            self._graph = self._record()
            self._graph.replay()
        else:
            self._work()
            self._ran = True

    def _record(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Other threads, which copy the next batch, may go on meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._work()
        return graph


class Recent(Generic[Item]):
    """The items used last, by key.

    Args:
        weigh: What an item costs.
    """

    def __init__(self, weigh: Callable[[Item], int]) -> None:
        self._weigh = weigh
        self._items: OrderedDict[Hashable, tuple[Item, int]] = OrderedDict()

    def find(self, key: Hashable, make: Callable[[], Item], limit: int) -> Item:
        """The item of this key, made where there is none.

        Args:
            key: Which.
            make: Makes it.
            limit: What all items may cost: those not used for longest give way, but never this one.
        """
        if key not in self._items:
            item = make()
            self._items[key] = item, self._weigh(item)
        self._items.move_to_end(key)
        while len(self._items) > 1 and sum(cost for _, cost in self._items.values()) > limit:
            self._items.popitem(last=False)
        return self._items[key][0]

    def clear(self) -> None:
        """Keep none."""
        self._items.clear()

    def items(self) -> list[Item]:
        """All that are kept, the least recent first."""
        return [item for item, _ in self._items.values()]
