"""Two functions of one input at once on a CPU, forward and backward: half of the threads each.

A recurrent layer's products are too small to share among threads, but its two directions need nothing of each other.
Autograd walks back through a CPU graph in one thread, so each side has a graph of its own, which a thread of its own
walks. Results are those of one after the other, bit for bit.

What waits must not spin: OpenMP's idle threads would keep the second side from its core. ``seq2seq_asr/__init__.py``
asks for little of that.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seq2seq_asr.nn.quiet_threads import take_no_signals

Side = Callable[[Tensor], Tensor]
Given = TypeVar("Given")
Found = TypeVar("Found")


def worthwhile(frames: Tensor, *layers: nn.Module) -> bool:
    """Whether these layers can run at once: the library's own, which draw no random numbers, on two threads or more."""
    plain = all(isinstance(layer, nn.RNNBase) for layer in layers)
    return plain and frames.device.type == "cpu" and torch.get_num_threads() > 1 and not torch.compiler.is_compiling()


def in_two_threads(sides: tuple[Side, Side], x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What both functions make of ``x``.

    Args:
        sides: Deterministic; each is called once.
        x: What both read.
        weights: Everything else that they may be differentiated by.
    """
    return _TwoThreads.apply(sides, x, *weights)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for what the calling thread does within a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _TwoThreads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sides: tuple[Side, Side], x: Tensor, *weights: Tensor) -> Any:
        """Each side of an input of its own, with a graph of its own if anything is to be differentiated."""
        recorded, by_input = any(ctx.needs_input_grad), ctx.needs_input_grad[1]
        autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def run(side: Side) -> tuple[Tensor, Tensor]:  # grad mode and autocast belong to a thread
            own = x.detach().requires_grad_(by_input)
            with torch.set_grad_enabled(recorded), torch.autocast("cpu", dtype, enabled=autocast):
                return own, side(own)

        results = _at_once(run, sides)
        if recorded:
            ctx.results, ctx.weights = results, weights
        return tuple(output.detach() for _, output in results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Back through both graphs; what both sides read gets the sum."""
        wanted = ctx.needs_input_grad[1:]

        def back(given: tuple[tuple[Tensor, Tensor], Tensor]) -> Iterator[Tensor | None]:
            (x, output), gradient = given
            inputs = [one for one, want in zip((x, *ctx.weights), wanted, strict=True) if want]
            # The graph may be walked again, if whoever calls this retains theirs.
            return iter(torch.autograd.grad(output, inputs, gradient, retain_graph=True, allow_unused=True))

        one, other = _at_once(back, tuple(zip(ctx.results, gradients, strict=True)))
        return None, *(_sum(next(one), next(other)) if want else None for want in wanted)


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _at_once(function: Callable[[Given], Found], given: Sequence[Given]) -> list[Found]:
    """The function of two values, one of them in another thread."""
    share = max(1, torch.get_num_threads() // 2)

    def other() -> Found:
        torch.set_num_threads(share)
        return function(given[1])

    with threads(share):
        found = _second_thread(os.getpid()).submit(other)
        try:
            return [function(given[0]), found.result()]
        finally:
            found.exception()  # wait: what it works on may go


@functools.lru_cache(maxsize=1)
def _second_thread(process: int) -> ThreadPoolExecutor:
    """Of this process: threads do not survive a fork."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="in_two_threads", initializer=_begin_thread)


def _begin_thread() -> None:
    """Take no signals, and keep autocast's cache on leaving autocast: weights that the other has cast lie in it too.

    Were it emptied while the other side runs, its next steps would cast them again, and gradients be summed in another
    order.
    """
    take_no_signals()
    torch.get_num_threads()
    torch.autocast_increment_nesting()
