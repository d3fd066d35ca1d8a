"""Compile the recurrent kernels for an H200 and print what they take; no GPU is needed. One line of JSON a kernel.

    python tools/kernel_resources.py
    python tools/kernel_resources.py --only "lstm float32 H=512"

registers are those of a thread (255 is the limit), spilled_bytes what had to go to memory instead, and spills_a_step
the instructions of the loop over steps that wait for such memory: 0 is wanted. shared_bytes is what a program takes of
its multiprocessor's 227 KB, planned_bytes what kernels/plan.py counts on: it must not be less. instructions, barriers
and shuffles count machine code. Exit code 1 when a step waits for spills or more is taken than planned.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench_common import show

from seq2seq_asr.kernels.plan import Gpu, Plan, make_plan

H200 = Gpu((9, 0), 132, 232_448)
SIZES = (64, 128, 256, 320, 512, 640, 1024)
FLOATS = (
    "peepholes", "start", "last_output", "last_memory", "to_last_output", "to_last_memory", "to_start_output",
    "to_start_memory",
)  # fmt: skip
STORED = ("given", "exchange", "outputs", "gates", "to_outputs", "to_given")
"""Arguments in the type in which values are stored."""


class Job(NamedTuple):
    """One kernel of one layer."""

    cell: str
    dtype: str
    units: int
    batch: int
    directions: int
    backward: bool

    @property
    def name(self) -> str:
        """In words."""
        way = "backward" if self.backward else "forward"
        return f"{self.cell} {self.dtype} H={self.units} B={self.batch} D={self.directions} {way}"


def jobs() -> Iterator[Job]:
    """Every size, with a batch that fits at once and a large one."""
    for units in SIZES:
        for dtype in ("float32", "bfloat16"):
            for cell in ("lstm", "gru", "peephole", "tanh"):
                for batch in (16, 512):
                    for backward in (False, True):
                        yield Job(cell, dtype, units, batch, 2, backward)


def compiled(job: Job) -> tuple[Any, Plan]:
    """The kernel as Triton would compile it on an H200, and the plan it belongs to."""
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from seq2seq_asr.kernels import persistent

    gates = 1 if job.cell == "tanh" else 4
    plan = make_plan(H200, job.units, job.directions, job.batch, split=job.dtype == "float32", gates=gates)
    assert isinstance(plan, Plan), plan
    kernel = persistent.layer_backward if job.backward else persistent.layer_forward
    constants = {
        "CELL": "lstm" if job.cell == "peephole" else job.cell, "PEEPHOLES": int(job.cell == "peephole"),
        "GATES": gates, "H": job.units, "UNITS": plan.units,
        "DIRECTIONS": job.directions, "ROWS": plan.rows, "WIDTH": plan.width, "WARPS": plan.warps,
        "CHUNKS": plan.chunks, "SPLIT": plan.split, "MEET": True, "ON_GPU": True, "STEPS": 0,
    }  # fmt: skip
    stored = "*fp32" if job.dtype == "float32" else "*bf16"
    types = dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(STORED, stored)
    types |= {"weights": "*bf16", "lengths": "*i32", "counters": "*i32"}
    types["cells"] = "*fp32" if job.cell in ("lstm", "peephole") else stored
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    source = ASTSource(
        kernel,
        signature,
        {(place,): constants[name] for place, name in enumerate(names) if name in constants},
        {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if name in types},
    )
    options = {"num_warps": plan.warps, "num_stages": 1, "launch_cooperative_grid": True}
    return build(source, target=GPUTarget("cuda", 90, 32), options=options), plan


def resources(job: Job) -> dict[str, object]:
    """What a kernel takes."""
    kernel, plan = compiled(job)
    with tempfile.TemporaryDirectory() as folder:
        binary, text = Path(folder) / "kernel.cubin", Path(folder) / "kernel.ptx"
        binary.write_bytes(kernel.asm["cubin"])
        text.write_text(kernel.asm["ptx"])
        said = nvidia("ptxas", "-v", "--gpu-name=sm_90a", str(text), "-o", str(Path(folder) / "again")).stderr
        code = nvidia("cuobjdump", "--dump-sass", str(binary)).stdout
    return {
        "what": job.name,
        **registers(said),
        "spills_a_step": spills_a_step(code),
        "shared_bytes": kernel.metadata.shared,
        "planned_bytes": plan.shared_bytes,
        "programs": plan.programs,
        "warps": plan.warps,
        "instructions": len(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/", code, re.MULTILINE)),
        "barriers": code.count("BAR.SYNC"),
        "shuffles": code.count("SHFL."),
        "acquires": kernel.asm["ptx"].count("ld.acquire.gpu"),
        "releases": len(re.findall(r"(?:atom|red)\S*release\S*", kernel.asm["ptx"])),
        "prefetches": kernel.asm["ptx"].count("cp.async"),
    }


def spills_a_step(code: str) -> int:
    """Reads and writes of local memory in the longest loop of a disassembled kernel: the one over steps."""
    found = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", code, re.MULTILINE)
    lines = [(int(at, 16), text) for at, text in found]
    jumps = [(at, int(to[1], 16)) for at, text in lines if (to := re.search(r"\bBRA\b.* 0x([0-9a-f]+)", text))]
    end, start = max(((at, to) for at, to in jumps if to < at), key=lambda jump: jump[0] - jump[1])
    return sum(start <= at <= end and bool(re.search(r"\b(?:LDL|STL)\b", text)) for at, text in lines)


def registers(said: str) -> dict[str, int]:
    """Registers of a thread, and bytes spilled for want of more, as ``ptxas -v`` says."""
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    used = re.search(r"Used (\d+) registers", said)
    assert spilled and used, said
    return {"registers": int(used[1]), "spilled_bytes": int(spilled[1]) + int(spilled[2])}


def nvidia(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the tools that come with Triton."""
    import triton

    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, check=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the name of what to compile")
    options = parser.parse_args(argv)
    os.environ.pop("TRITON_INTERPRET", None)
    wrong = []
    for job in jobs():
        if options.only in job.name:
            found = resources(job)
            show(found)
            if found["spills_a_step"] or found["shared_bytes"] > found["planned_bytes"]:  # type: ignore[operator]
                wrong.append(job.name)
    for name in wrong:
        print(f"{name}: a step waits for spills, or more shared memory is taken than planned", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
