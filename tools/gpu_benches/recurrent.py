"""Recurrent layers over units, utterances and frames, and the pyramid of the base job, beside cuDNN and SpeechBrain.

The base job is 32 utterances of 15 s: 1,500 frames of 80 bins, three levels that each join two frames, 512 units a
direction. All utterances have full length; SpeechBrain's LSTM, which is told so, packs them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from gpu_common import Where
from torch import Tensor, nn

from seq2seq_asr.nn.cells import CellKind
from seq2seq_asr.nn.recurrent import BidirectionalLayer

Sides = Mapping[str, Callable[[], object]]


class Size(NamedTuple):
    """One bidirectional layer."""

    cell: CellKind
    inputs: int
    units: int
    batch: int
    frames: int


GRID = [
    *(Size("lstm", 512, units, 32, 500) for units in (64, 128, 256, 320, 512, 1024)),
    *(Size("lstm", 512, 512, batch, 500) for batch in (1, 8, 16, 64, 128)),
    *(Size("lstm", 512, 512, 32, frames) for frames in (50, 200, 1000, 2000)),
    *(Size("gru", 512, units, 32, 500) for units in (128, 256, 512, 1024)),
    *(Size("elman", 512, units, 32, 500) for units in (256, 1024)),
    Size("lstm", 160, 512, 32, 750),
]
LEVELS = [Size("lstm", 160, 512, 32, 750), Size("lstm", 2048, 512, 32, 375), Size("lstm", 2048, 512, 32, 187)]
TINY = [Size("lstm", 3, 5, 2, 4)]
TINY_LEVELS = [Size("lstm", 4, 5, 2, 4), Size("lstm", 20, 5, 2, 2)]


class Ours(nn.Module):
    """A pyramid of our layers, each of which reads two frames of the one below as one."""

    def __init__(self, sizes: list[Size]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BidirectionalLayer(size.cell, size.inputs, size.units) for size in sizes)
        for layer in self.layers:
            layer.kernels = "require"  # type: ignore[assignment]

    def forward(self, frames: Tensor) -> Tensor:
        """States of the top."""
        for place, layer in enumerate(self.layers):
            if place:
                frames = joined(frames)
            frames = layer(frames, torch.full((len(frames),), frames.shape[1], device=frames.device))
        return frames


class Cudnn(nn.Module):
    """The same of torch's layers, which call cuDNN on a GPU."""

    def __init__(self, sizes: list[Size]) -> None:
        super().__init__()
        kinds: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}
        self.layers = nn.ModuleList(
            kinds[size.cell](size.inputs, size.units, batch_first=True, bidirectional=True) for size in sizes
        )

    def forward(self, frames: Tensor) -> Tensor:
        """States of the top."""
        for place, layer in enumerate(self.layers):
            frames, _ = layer(joined(frames) if place else frames)
        return frames


def speechbrain(sizes: list[Size]) -> nn.Module | None:
    """The same of SpeechBrain's LSTM, told all lengths; None where it is not installed."""
    try:
        from speechbrain.nnet.RNN import LSTM
    except ModuleNotFoundError:
        return None

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            made = (LSTM(size.units, input_size=size.inputs, bidirectional=True) for size in sizes)
            self.layers = nn.ModuleList(made)

        def forward(self, frames: Tensor) -> Tensor:
            lengths = torch.ones(len(frames), device=frames.device)
            for place, layer in enumerate(self.layers):
                frames, _ = layer(joined(frames) if place else frames, lengths=lengths)
            return frames

    return Theirs()


def joined(frames: Tensor) -> Tensor:
    """Two frames as one; an odd one at the end is left out."""
    return frames[:, : frames.shape[1] // 2 * 2].reshape(len(frames), frames.shape[1] // 2, -1)


def sides(sizes: list[Size], where: Where, dtype: torch.dtype, *, backward: bool, theirs: bool) -> Sides:
    """What runs: ours, cuDNN and, if wanted and there, SpeechBrain."""
    nets = {"ours": Ours(sizes), "cudnn": Cudnn(sizes), "speechbrain": speechbrain(sizes) if theirs else None}
    frames = torch.randn(sizes[0].batch, sizes[0].frames, sizes[0].inputs, device=where.device)
    return {
        name: job(net.to(where.device), frames.clone(), dtype, backward=backward)
        for name, net in nets.items()
        if net is not None
    }


def job(net: nn.Module, frames: Tensor, dtype: torch.dtype, *, backward: bool) -> Callable[[], object]:
    """Outputs of a network, and its gradients too."""
    frames.requires_grad_(backward)

    def run() -> object:
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            if not backward:
                with torch.no_grad():
                    return net(frames)
            states = net(frames)
        return torch.autograd.grad(states.float().sum(), [frames, *net.parameters()])

    return run


def benches(where: Where) -> Iterator[tuple[str, Callable[[], Sides], Mapping[str, object]]]:
    """All of them."""
    for dtype in (torch.float32, torch.bfloat16):
        for backward in (False, True):
            kind = f"{str(dtype).removeprefix('torch.')} {'forward and backward' if backward else 'forward'}"
            details = {"dtype": str(dtype), "backward": backward}
            levels = TINY_LEVELS if where.tiny else LEVELS
            yield (
                f"pyramid of the base job, {kind}",
                lambda levels=levels, dtype=dtype, backward=backward: sides(  # type: ignore[misc]
                    levels, where, dtype, backward=backward, theirs=True
                ),
                details | {"levels": [size._asdict() for size in levels]},
            )
            for size in TINY if where.tiny else GRID:
                yield (
                    f"layer {size.cell} H={size.units} B={size.batch} T={size.frames}, {kind}",
                    lambda size=size, dtype=dtype, backward=backward: sides(  # type: ignore[misc]
                        [size], where, dtype, backward=backward, theirs=False
                    ),
                    details | size._asdict(),
                )
