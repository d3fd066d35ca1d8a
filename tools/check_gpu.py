"""Check every GPU kernel against PyTorch on this machine's GPU; one line a check, exit code 1 when one fails.

    python tools/check_gpu.py
    python tools/check_gpu.py --only "lstm bfloat16" "gru bfloat16"
    python tools/check_gpu.py --part 1/3          # a third of them, such as fits into ten minutes
    python tools/check_gpu.py --list
    python tools/check_gpu.py --sanitize          # small shapes under compute-sanitizer
    python tools/check_gpu.py --interpreter       # no GPU: tiny shapes, to try the checks themselves

Checked are outputs and every gradient against a float64 reference on fresh random inputs, with memory that held NaN
before (relative error below 1e-4 in float32 and 1e-2 in bfloat16), padded and not, odd sizes, batch 1; that the same
inputs give the same bits again; that a CUDA graph replays it; that many launches in a row all end; and that 300
training steps follow the reference. --sanitize runs the checks against float64 under compute-sanitizer's memcheck (each
tensor in memory of its own), racecheck, synccheck and initcheck; the tool comes with CUDA, or with
`pip install nvidia-cuda-sanitizer-api`. A check that gives no answer in --timeout seconds has hung: it is named, and
the process ends with exit code 1. Without a GPU the exit code is 2. The modules of tools/gpu_checks/ hold the checks.
"""

import argparse
import os
import shutil
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from gpu_common import Check, Failed, Where, add_where, chosen, find_where, modules

SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")


def every_check(where: Where) -> Iterator[Check]:
    """The checks of every module."""
    for module in modules("gpu_checks"):
        yield from module.checks(where)


def passes(check: Check, where: Where, timeout: float) -> bool:
    """Run one check and print its line."""
    torch.manual_seed(time.time_ns() % 2**31)  # fresh inputs: a kernel must be right on all
    seed = torch.initial_seed()
    timer = threading.Timer(timeout, give_up, (check.name, timeout))
    timer.daemon = True
    timer.start()
    begin = time.perf_counter()
    try:
        text, fine = check.run(), True
        if where.device.type == "cuda":
            torch.cuda.synchronize(where.device)
    except Exception as problem:  # whatever a kernel does wrong, the other checks are worth running
        text = str(problem) if isinstance(problem, Failed) else f"{type(problem).__name__}: {problem}"
        text, fine = f"{' '.join(text.split())[:500]} (seed {seed})", False
    finally:
        timer.cancel()
    print(f"{'ok    ' if fine else 'FAILED'} {check.name}: {text} [{time.perf_counter() - begin:.1f} s]", flush=True)
    return fine


def give_up(name: str, timeout: float) -> None:
    """A kernel that hangs cannot be stopped from within; ending the process stops it."""
    print(f"FAILED {name}: no answer in {timeout:g} s, it hangs", flush=True)
    os._exit(1)


def sanitizer() -> str | None:
    """compute-sanitizer, on the path or in the packages of this Python."""
    packaged = [Path(folder) / "nvidia" for folder in site.getsitepackages()]
    found = [path for folder in packaged for path in folder.glob("*/bin/compute-sanitizer")]
    return shutil.which("compute-sanitizer") or next((str(path) for path in found), None)


def sanitize(device: str, only: Sequence[str]) -> int:
    """The checks against float64 on small shapes under each tool of compute-sanitizer; the exit code.

    Torch's cache of memory is off: within its large blocks no access would be out of bounds.
    """
    program = sanitizer()
    if program is None:
        print("no compute-sanitizer: it comes with CUDA, or pip install nvidia-cuda-sanitizer-api", file=sys.stderr)
        return 2
    checks = [sys.executable, __file__, "--small", "--device", device, "--only", *(only or ["equals float64"])]
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    failed = []
    for tool in SANITIZERS:
        print(f"compute-sanitizer --tool {tool}", flush=True)
        command = [program, "--tool", tool, "--error-exitcode", "3", *checks, "--timeout", "3000"]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(tool)
    print("compute-sanitizer: " + ("clean" if not failed else f"errors under {', '.join(failed)}"))
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_where(parser)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a check has hung")
    parser.add_argument("--launches", type=int, default=10_000, help="launches in a row of the check for hangs")
    parser.add_argument("--list", action="store_true", help="print the names of the checks and end")
    parser.add_argument("--small", action="store_true", help="the interpreter's tiny shapes on the GPU")
    parser.add_argument("--sanitize", action="store_true", help="run small shapes under compute-sanitizer and end")
    options = parser.parse_args(argv)
    where = find_where(options, options.launches, tiny=options.small)
    if options.sanitize:
        return sanitize(options.device, options.only)
    checks = chosen(every_check(where), options)
    if options.list:
        print("\n".join(check.name for check in checks))
        return 0
    results = [passes(check, where, options.timeout) for check in checks]
    print(f"{len(results)} checks on {where.name}, {results.count(False)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
