"""Loops over parts of a batch at once, a thread each: compiled loops let go of Python's lock."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def parts_of(count: int, least: int) -> list[slice]:
    """Places 0 to ``count`` in parts of about the same size: as many as torch may use threads.

    Args:
        count: Of things that are computed each for itself.
        least: That are worth a thread.
    """
    parts = max(1, min(torch.get_num_threads(), count // least))
    ends = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in zip(ends[:-1], ends[1:], strict=True)]


def at_once(function: Callable[[slice], None], parts: Sequence[slice]) -> None:
    """Call a function for every part; what one of them raises is raised when all are done."""
    first, *others = parts
    if not others:
        return function(first)
    waiting = [_threads(os.getpid()).submit(function, part) for part in others]
    try:
        function(first)
    finally:
        for one in waiting:
            one.exception()  # wait: what they work on may go
    for one in waiting:
        one.result()


@functools.lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """Of this process: threads do not survive a fork."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="in_parts")
