"""Time GPU kernels beside cuDNN and SpeechBrain on this machine's GPU; one line of JSON a measurement.

    python tools/bench_gpu.py
    python tools/bench_gpu.py --only "of the base job" "beam 8, batch" growth feeding --repeats 10   # docs/speed.md
    python tools/bench_gpu.py --list

All sides of a measurement take turns in one process; times are medians with quartiles between CUDA events, after three
runs of each that do not count; ratio_X is how many times longer X takes; peak_mib_X is the most memory that those three
runs of X hold, what they leave for later runs included. cuDNN is torch's nn.LSTM, nn.GRU or nn.RNN on full-length
batches, its best case. In float32 torch allows cuDNN TF32 (cudnn_tf32) but not the matrix products before and after our
kernels: --matmul high allows it them, too. SpeechBrain 1.1.2 comes with `pip install -e '.[bench]'`; without it its
side is left out. What does not fit into the GPU's memory is skipped, and says so. Without a GPU the exit code is 2;
--interpreter tries the tool itself there. The modules of tools/gpu_benches/ hold the measurements.
"""

import argparse
import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from bench_common import show
from gpu_common import Where, add_where, chosen, find_where, machine, measurement, modules

from seq2seq_asr.errors import AsrError


class Bench(NamedTuple):
    """One measurement, built only when its turn comes."""

    what: str
    sides: Callable[[], Mapping[str, Any]]
    """What to time, by name; or figures, where it measures by itself."""
    details: Mapping[str, object]


def forget() -> None:
    """Give back the memory of recordings that other measurements have left, which would not count for this one."""
    importlib.import_module("seq2seq_asr.kernels.places").PLACES.clear()
    gc.collect()
    torch.cuda.empty_cache()


def measured(bench: Bench, where: Where, repeats: int) -> dict[str, object]:
    """A line of the output."""
    sides = bench.sides()
    if all(callable(side) for side in sides.values()):
        return measurement(bench.what, sides, where, repeats, bench.details)
    return {"what": bench.what, **sides, **bench.details, **machine(where)}


def every_bench(where: Where) -> Iterator[Bench]:
    """The measurements of every module."""
    for module in modules("gpu_benches"):
        yield from (Bench(*bench) for bench in module.benches(where))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_where(parser)
    parser.add_argument(
        "--matmul", choices=("highest", "high"), default="highest", help="torch's float32 matrix products; high is TF32"
    )
    parser.add_argument("--repeats", type=int, default=20, help="counted runs of each side")
    parser.add_argument("--list", action="store_true", help="print the names of the measurements and end")
    options = parser.parse_args(argv)
    where = find_where(options)
    torch.set_float32_matmul_precision(options.matmul)
    for bench in chosen(every_bench(where), options):
        if options.list:
            print(bench.what)
            continue
        torch.manual_seed(0)
        forget()
        bench = bench._replace(details={"matmul": options.matmul, **bench.details})
        try:
            show(measured(bench, where, options.repeats))
        except (AsrError, torch.OutOfMemoryError) as reason:  # a kernel that cannot be used here, or any side
            show({"what": bench.what, "skipped": str(reason).partition("\n")[0]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
