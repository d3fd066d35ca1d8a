"""What benchmarks share: sizes of the jobs on the CPU, fair timing, and how a measurement is printed."""

import contextlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

RATE = 16000
FRAMES_PER_SECOND = 100


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of both jobs; the same for ours and theirs."""

    utterances: int = 16
    seconds: float = 4.0
    bins: int = 80
    levels: int = 3
    """Levels of the pyramid; each joins two neighbouring frames."""
    units: int = 128
    """LSTM units a direction."""
    decoder: int = 256
    embedding: int = 128
    attention: int = 128
    filters: int = 10
    width: int = 31
    """Width of the location filters in encoded frames."""
    vocabulary: int = 500
    targets: int = 20
    dropout: float = 0.1
    smoothing: float = 0.1
    ctc_weight: float = 0.3
    encoded: int = 50
    """Encoded frames of an utterance that is searched."""
    beam: int = 8
    steps: int = 20
    """Decoder steps of a search, neither more nor fewer."""
    candidates: int = 20
    """Tokens a prefix that the CTC prefix score looks at."""

    @property
    def frames(self) -> int:
        """Feature frames of a training utterance."""
        return int(self.seconds * FRAMES_PER_SECOND)

    @property
    def samples(self) -> int:
        """Samples of a training utterance."""
        return int(self.seconds * RATE)


class Batch(NamedTuple):
    """What a training step is given."""

    inputs: Tensor
    """Waveforms ``(B, N)`` or features ``(B, T, F)``, zero past the lengths."""
    tokens: Tensor
    """Target tokens ``(B, U)``, without special ids."""
    lengths: Tensor
    """Samples or frames of each utterance."""


def training_batch(sizes: Sizes, *, waveform: bool, shortest: float = 1.0) -> Batch:
    """Random utterances; their lengths lie evenly between a share of the longest and the longest."""
    generator = torch.Generator().manual_seed(1)
    shape = (sizes.utterances, sizes.samples) if waveform else (sizes.utterances, sizes.frames, sizes.bins)
    inputs = torch.randn(shape, generator=generator) * (0.1 if waveform else 1.0)
    tokens = torch.randint(4, sizes.vocabulary, (sizes.utterances, sizes.targets), generator=generator)
    shares = torch.linspace(shortest, 1.0, sizes.utterances)
    lengths = (shares * inputs.shape[1]).round().long()
    for one, length in zip(inputs, lengths, strict=True):
        one[int(length) :] = 0.0
    return Batch(inputs, tokens, lengths)


def searched_states(sizes: Sizes, utterances: int) -> Tensor:
    """Random encoded utterances to search in."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(utterances, sizes.encoded, 2 * sizes.units, generator=generator)


def precision(name: str, device: str = "cpu") -> contextlib.AbstractContextManager[Any]:
    """The context of one forward pass: nothing, or bfloat16 autocast."""
    return torch.autocast(device, torch.bfloat16) if name == "bf16-mixed" else contextlib.nullcontext()


class Times(NamedTuple):
    """Milliseconds of each run of one side: on the wall clock, and of processor time over all threads."""

    wall: list[float]
    cpu: list[float]


def interleave(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Time each side, one run of each in turn, so that a busy machine slows them alike.

    Two runs of each come first and are not counted.
    """
    times = {name: Times([], []) for name in sides}
    for turn in range(-2, repeats):
        for name, run in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if turn >= 0:
                times[name].wall.append(1000 * (time.perf_counter() - wall))
                times[name].cpu.append(1000 * (time.process_time() - cpu))
    return times


def quartiles(times: list[float]) -> dict[str, float]:
    """Median, quartiles and smallest of some times."""
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    named = {"median_ms": median, "quartile1_ms": low, "quartile3_ms": high, "min_ms": min(times)}
    return {name: round(value, 4) for name, value in named.items()}


def summary(times: Times) -> dict[str, float]:
    """What wall-clock times come to, and the median processor time."""
    return quartiles(times.wall) | {"cpu_median_ms": round(statistics.median(times.cpu), 4)}


def ratios(ours: Times, theirs: Times) -> dict[str, float]:
    """How many times longer theirs takes: medians on the wall clock and of processor time."""
    wall, cpu = (statistics.median(a) / statistics.median(b) for a, b in zip(theirs, ours, strict=True))
    return {"ratio": round(wall, 2), "cpu_ratio": round(cpu, 2)}


def measurement(
    what: str, sides: Mapping[str, Callable[[], object]], repeats: int, details: Mapping[str, object]
) -> dict[str, object]:
    """Time all sides and set them out, with the machine, as one JSON object.

    Args:
        what: Name of the measurement.
        sides: What to run; "ours", "products" for what ours cannot go below, "speechbrain" where it is installed, and
            "speechbrain_unpacked" where it can do without lengths.
        repeats: Counted runs of each, at least 2.
        details: Settings to state beside the result.
    """
    times = interleave(sides, repeats)
    result: dict[str, object] = {"what": what} | {name: summary(side) for name, side in times.items()}
    if "speechbrain" in times:
        result |= ratios(times["ours"], times["speechbrain"])
        if "speechbrain_unpacked" in times:
            unpacked = ratios(times["ours"], times["speechbrain_unpacked"])
            result |= {f"unpacked_{name}": value for name, value in unpacked.items()}
        if "products" in times:
            result["ceiling"] = ratios(times["products"], times["speechbrain"])["ratio"]
    else:
        result["speechbrain"] = "not installed: pip install -e '.[bench]'"
    return result | {"repeats": repeats, **details, **machine()}


def machine() -> dict[str, object]:
    """The processor, its threads and load, and torch's version."""
    return {
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "cpu": cpu_name(),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """The processor as Linux names it, elsewhere as Python does."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(result: Mapping[str, object]) -> None:
    """Print one measurement as a line of JSON."""
    print(json.dumps(result), flush=True)


def as_details(sizes: Sizes, **others: object) -> dict[str, object]:
    """Sizes and other settings of a measurement."""
    return {**others, "sizes": asdict(sizes)}
