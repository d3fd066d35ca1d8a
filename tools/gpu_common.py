"""What checks and benchmarks of GPU kernels share: the registry, errors against a reference, time on a GPU.

``check_gpu.py`` runs every module of ``gpu_checks/``, ``bench_gpu.py`` every one of ``gpu_benches/``: to add some, add
a file there with a function ``checks(where)`` or ``benches(where)``.
"""

import argparse
import importlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import torch
from bench_common import quartiles
from torch import Tensor

FOLDER = Path(__file__).parent
Named = TypeVar("Named", bound=tuple[Any, ...])


class Where(NamedTuple):
    """Where kernels run."""

    device: torch.device
    tiny: bool = False
    """Shapes for Triton's interpreter on the CPU, which show that checks and benchmarks themselves work; a GPU takes
    them under compute-sanitizer."""
    launches: int = 10_000
    """Launches in a row of the check for hangs."""

    @property
    def name(self) -> str:
        """The device as it calls itself."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "Triton's interpreter"


class Check(NamedTuple):
    """One thing that must be so."""

    name: str
    run: Callable[[], str]
    """Says how well it went; raises `Failed` if it is not so."""


class Failed(Exception):
    """What was found instead."""


def add_where(parser: argparse.ArgumentParser) -> None:
    """Flags that choose the device."""
    parser.add_argument("--device", default="cuda", help="which GPU, where there are several: cuda:1")
    parser.add_argument(
        "--interpreter",
        action="store_true",
        help="tiny shapes in Triton's interpreter on the CPU: tries this tool itself",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="parts of the names of what to run")
    parser.add_argument(
        "--part", default="1/1", help="2/3 runs the second third, where a machine is lent for minutes at a time"
    )


def chosen(items: Iterable[Named], options: argparse.Namespace) -> list[Named]:
    """What the flags choose, of things that begin with their name: every nth of those whose name holds a text.

    Raises:
        SystemExit: --part is none.
    """
    number, _, parts = options.part.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        print(f"--part: 1/3, 2/3 or 3/3, for instance, not {options.part}", file=sys.stderr)
        raise SystemExit(2)
    wanted = [item for item in items if not options.only or any(text in item[0] for text in options.only)]
    return wanted[int(number) - 1 :: int(parts)]


def find_where(options: argparse.Namespace, launches: int = 10_000, *, tiny: bool = False) -> Where:
    """The device that the flags choose; ends with exit code 2 where there is none, unless names are only listed."""
    if options.interpreter:
        os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported
        return Where(torch.device("cpu"), True, min(launches, 5))
    if not options.list and not torch.cuda.is_available():
        print("no GPU: torch sees no CUDA device (--interpreter tries the tool itself without one)", file=sys.stderr)
        raise SystemExit(2)
    os.environ.pop("TRITON_INTERPRET", None)
    return Where(torch.device(options.device), tiny, launches)


def modules(folder: str) -> Iterator[ModuleType]:
    """Every module of a folder beside this file, by name."""
    for path in sorted((FOLDER / folder).glob("[!_]*.py")):
        yield importlib.import_module(f"{folder}.{path.stem}")


def error(found: Tensor, wanted: Tensor) -> float:
    """Relative error in the Euclidean norm; infinite where anything is not finite."""
    wanted = wanted.detach().double()
    difference = (found.detach().double() - wanted).norm() / wanted.norm().clamp(min=1e-30)
    return float(difference) if bool(torch.isfinite(difference)) else float("inf")


def compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float) -> str:
    """The worst of some errors; more than the tolerance is a failure that names each one that is."""
    errors = {name: error(found[name], wanted[name]) for name in wanted}
    wrong = [f"{name} {one:.1e}" for name, one in errors.items() if not one < tolerance]
    if wrong:
        raise Failed(f"relative error of at least {tolerance:.0e}: {', '.join(wrong)}")
    worst = max(errors, key=lambda name: errors[name])
    return f"worst error {errors[worst]:.1e} ({worst}), {tolerance:.0e} allowed"


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory that is asked for without a value holds NaN, so that what a kernel leaves unwritten shows."""
    names = ("empty", "empty_like")
    real = {name: getattr(torch, name) for name in names}

    def poison(name: str) -> Callable[..., Tensor]:
        def made(*given: Any, **options: Any) -> Tensor:
            x = real[name](*given, **options)
            return x.fill_(torch.nan) if x.is_floating_point() else x

        return made

    try:
        for name in names:
            setattr(torch, name, poison(name))
        yield
    finally:
        for name in names:
            setattr(torch, name, real[name])


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Time of one run: on a GPU between two events on its stream."""
    if device.type != "cuda":
        begin = time.perf_counter()
        run()
        return 1000 * (time.perf_counter() - begin)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    run()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last)


def measurement(
    what: str, sides: Mapping[str, Callable[[], object]], where: Where, repeats: int, details: Mapping[str, object]
) -> dict[str, object]:
    """Time all sides in turns, after three runs of each that do not count, and set them out as one JSON object.

    Args:
        what: Name of the measurement.
        sides: What to run; "ours", and what it is compared with.
        where: The device.
        repeats: Counted runs of each.
        details: What else to state.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    peaks = {name: peak_mib(run, where.device) for name, run in sides.items()}
    for _ in range(repeats):
        for name, run in sides.items():
            times[name].append(milliseconds(run, where.device))
    result: dict[str, object] = {"what": what} | {name: quartiles(taken) for name, taken in times.items()}
    ours = statistics.median(times["ours"])
    ratios = {f"ratio_{name}": round(statistics.median(t) / ours, 2) for name, t in times.items() if name != "ours"}
    memory = {f"peak_mib_{name}": peak for name, peak in peaks.items() if where.device.type == "cuda"}
    return result | ratios | memory | {"repeats": repeats, **details, **machine(where)}


def peak_mib(run: Callable[[], object], device: torch.device) -> float:
    """Most memory in MiB that the first three runs hold above what was held before them; 0 on a CPU.

    What they leave behind for later runs, such as recordings and the state of an optimiser, is part of it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    for _ in range(3):
        run()
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize(device)
    return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)


def machine(where: Where) -> dict[str, object]:
    """The device and the versions."""
    triton = importlib.import_module("triton")
    return {
        "device": where.name,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cudnn_version": torch.backends.cudnn.version(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "python": platform.python_version(),
    }
