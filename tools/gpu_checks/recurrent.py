"""Checks of the persistent recurrent layers."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from gpu_common import Check, Failed, Where, compare, poisoned
from torch import Tensor

from seq2seq_asr.kernels.plan import Plan

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2}


class Shape(NamedTuple):
    """One layer and one batch."""

    cell: str
    units: int
    batch: int
    frames: int
    directions: int = 2
    padded: bool = True


LARGE = [
    *(Shape(cell, units, 32, 40) for cell in ("lstm", "gru") for units in (64, 128, 256, 512, 1024)),
    *(Shape(cell, 512, 32, 300, padded=False) for cell in ("lstm", "gru")),
    *(Shape(cell, units, 5, 33) for cell in ("lstm", "gru") for units in (67, 320, 641, 1000)),
    *(Shape(cell, 256, batch, 20) for cell in ("lstm", "gru") for batch in (1, 16, 17, 200)),
    *(Shape(cell, 512, 70, 20) for cell in ("lstm", "gru")),
    *(Shape(cell, 128, 3, frames, directions=1) for cell in ("lstm", "gru") for frames in (1, 2, 101)),
    *(Shape(cell, units, 9, 30) for cell in ("peephole, new", "peephole, old") for units in (96, 512)),
    *(Shape(cell, units, 32, 40) for cell in ("tanh", "relu") for units in (64, 256, 1024)),
    *(Shape(cell, units, batch, 20) for cell in ("tanh", "relu") for units, batch in ((67, 1), (500, 17), (512, 200))),
]
SMALL = [
    Shape("lstm", 5, 2, 4),
    Shape("gru", 70, 17, 3),
    Shape("peephole, old", 5, 1, 3, directions=1, padded=False),
    Shape("tanh", 70, 2, 3),
    Shape("relu", 5, 3, 4),
]
FOUR_SUMS = ("lstm", "gru", "peephole, new", "peephole, old")


class Job(NamedTuple):
    """Inputs of a layer, in the order in which gradients are taken, and what stands beside them."""

    inputs: dict[str, Tensor]
    lengths: Tensor
    factors: list[Tensor]
    """The loss is the sum of outputs and last states times these."""
    shape: Shape


def draw(shape: Shape, dtype: torch.dtype, device: torch.device) -> Job:
    """A random layer and batch."""
    cell, units, batch, frames, directions, padded = shape
    gates = 4 if cell in FOUR_SUMS else 1
    lengths = torch.full((batch,), frames, device=device)
    if padded:
        lengths = torch.randint(1, frames + 1, (batch,), device=device)
        lengths[int(torch.randint(batch, ()))] = frames
    inputs = {
        "given": torch.randn(batch, frames, directions, units, gates, device=device).to(dtype),
        "weights": torch.randn(directions, units, gates, units, device=device) * units**-0.5,
        "output": 0.5 * torch.randn(directions, batch, units, device=device),
        "memory": 0.5 * torch.randn(directions, batch, units, device=device),
        "peepholes": 0.3 * torch.randn(directions, 3, units, device=device),
    }
    if cell == "gru":
        inputs["weights"][:, :, 2] = 0
    shapes = [(batch, frames, directions, units), (directions, batch, units), (directions, batch, units)]
    return Job(inputs, lengths, [torch.randn(one, device=device) for one in shapes], shape)


def results(job: Job, plan: Plan | None, like: Tensor | None = None) -> dict[str, Tensor]:
    """Outputs, last states and every gradient: by the kernel, or without a plan by the reference in float64.

    Args:
        job: Inputs.
        plan: Of the kernel.
        like: Outputs on whose side of a ReLU's bend the reference is to stay: rounding alone takes others to the other.
    """
    inputs = {
        name: (value.double() if plan is None else value).detach().clone().requires_grad_()
        for name, value in job.inputs.items()
    }
    if job.shape.cell in ("gru", "tanh", "relu"):
        del inputs["memory"]
    if not job.shape.cell.startswith("peephole"):
        del inputs["peepholes"]
    found = reference(job, inputs, like) if plan is None else by_kernel(job, inputs, plan)
    loss = sum((one.double() * factor).sum() for one, factor in zip(found, job.factors, strict=True))
    assert isinstance(loss, Tensor)
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    named = dict(zip(("outputs", "last output", "last memory"), found, strict=True))
    return named | {f"by {name}": one for name, one in zip(inputs, gradients, strict=True)}


def by_kernel(job: Job, inputs: dict[str, Tensor], plan: Plan) -> list[Tensor]:
    """What the kernel gives."""
    from seq2seq_asr.kernels.recurrent import Kind, recurrent_layer

    cell: Any = job.shape.cell
    kind = Kind("lstm", 1 + (cell == "peephole, old")) if cell.startswith("peephole") else Kind(cell)
    start = inputs["output"], inputs.get("memory", inputs["output"])
    given, weights = inputs["given"], inputs["weights"]
    return list(recurrent_layer(given, weights, job.lengths, kind, plan, inputs.get("peepholes"), start))


def reference(job: Job, inputs: dict[str, Tensor], like: Tensor | None) -> list[Tensor]:
    """The same step by step in plain PyTorch."""
    given, weights, cell = inputs["given"], inputs["weights"], job.shape.cell
    rows, outputs, last = torch.arange(len(given), device=given.device), [], []
    for way in range(given.shape[2]):
        output, memory = inputs["output"][way], inputs.get("memory", inputs["output"])[way]
        placed = torch.zeros_like(given[:, :, way, :, 0])
        for step in range(given.shape[1]):
            running = (step < job.lengths).unsqueeze(1)
            place = torch.where(running[:, 0] & (way == 1), job.lengths - 1 - step, step)
            sums = given[rows, place, way] + torch.einsum("bd,ugd->bug", output, weights[way])
            if cell == "relu":
                sums = sums * ((sums if like is None else like[rows, place, way].unsqueeze(-1)) > 0)
            peepholes = inputs["peepholes"][way] if "peepholes" in inputs else None
            new_output, new_memory = one_step(cell, sums, memory, peepholes)
            output = torch.where(running, new_output, output)
            memory = torch.where(running, new_memory, memory)
            placed = placed.index_put((rows, place), torch.where(running, output, 0.0))
        outputs.append(placed)
        last.append((output, memory))
    return [torch.stack(outputs, dim=2), *(torch.stack(part) for part in zip(*last, strict=True))]


def one_step(cell: str, sums: Tensor, memory: Tensor, peepholes: Tensor | None) -> tuple[Tensor, Tensor]:
    """New output and memory from the sums of every unit; but for an LSTM they are one."""
    if cell in ("tanh", "relu"):
        output = sums.squeeze(-1).tanh() if cell == "tanh" else sums.squeeze(-1)
        return output, output
    a, b, c, d = sums.unbind(-1)
    if cell == "gru":
        update = b.sigmoid()
        output = (1 - update) * (c + a.sigmoid() * d).tanh() + update * memory
        return output, output
    if peepholes is not None:
        a, b = a + peepholes[0] * memory, b + peepholes[1] * memory
    new = b.sigmoid() * memory + a.sigmoid() * c.tanh()
    if peepholes is not None:
        d = d + peepholes[2] * (new if cell == "peephole, new" else memory)
    return d.sigmoid() * new.tanh(), new


def plan_of(shape: Shape, dtype: torch.dtype, where: Where) -> Plan:
    """The kernel's plan; that there is none is a failure."""
    from seq2seq_asr.kernels.recurrent import plan_for

    gates = 4 if shape.cell in FOUR_SUMS else 1
    plan = plan_for(where.device, dtype, shape.units, shape.directions, shape.batch, gates)
    if isinstance(plan, str):
        raise Failed(f"there is no plan: {plan}")
    return plan


def right(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """Everything equals the reference; the interpreter cuts off where a GPU rounds, and may err more."""
    job = draw(shape, dtype, where.device)
    with poisoned():
        found = results(job, plan_of(shape, dtype, where))
    past = torch.arange(shape.frames, device=where.device) >= job.lengths[:, None]
    for name in ("outputs", "by given"):
        if bool((found[name][past] != 0).any()):
            raise Failed(f"{name}: not zero past an utterance's end")
    return compare(
        found, results(job, None, found["outputs"]), (4 if where.device.type == "cpu" else 1) * TOLERANCE[dtype]
    )


def repeatable(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """The same inputs give the same bits: an error that moves is a race."""
    job, plan = draw(shape, dtype, where.device), plan_of(shape, dtype, where)
    times = 3 if where.tiny else 50
    first = results(job, plan)
    for _ in range(times - 1):
        again = results(job, plan)
        moved = [name for name, one in again.items() if name != "by weights" and not torch.equal(one, first[name])]
        if moved:
            raise Failed(f"other bits: {', '.join(moved)}")
    return f"the same bits {times} times"


def launched(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """Many launches in a row end; the time limit of a check ends one that does not."""
    job, plan = draw(shape, dtype, where.device), plan_of(shape, dtype, where)
    for _ in range(where.launches // 2):
        results(job, plan)
    if where.device.type == "cuda":
        torch.cuda.synchronize(where.device)
    return f"{where.launches // 2} forward and as many backward"


def replayed(shape: Shape, dtype: torch.dtype, where: Where) -> str:
    """Captured as a CUDA graph and replayed on other inputs it gives what it gives without."""
    job, plan = draw(shape, dtype, where.device), plan_of(shape, dtype, where)
    held = job.inputs["given"]
    by_kernel(job, job.inputs, plan)  # compiles
    torch.cuda.synchronize(where.device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = by_kernel(job, job.inputs, plan)
    for _ in range(3):
        held.copy_(torch.randn_like(held))
        graph.replay()
        if not all(torch.equal(a, b) for a, b in zip(captured, by_kernel(job, job.inputs, plan), strict=True)):
            raise Failed("a replay differs")
    return "3 replays"


def checks(where: Where) -> Iterator[Check]:
    """All of them, the cheapest first."""
    for dtype in TOLERANCE:
        for shape in SMALL if where.tiny else LARGE:
            yield _check("equals float64", right, shape, dtype, where)
    few = (
        SMALL[:1]
        if where.tiny
        else [Shape("lstm", 512, 32, 200), Shape("gru", 1024, 16, 100), Shape("tanh", 512, 32, 100)]
    )
    for dtype in TOLERANCE:
        for shape in few:
            yield _check("same bits again", repeatable, shape, dtype, where)
            if not where.tiny:
                yield _check("in a CUDA graph", replayed, shape, dtype, where)
    for shape in few:
        yield _check("many launches", launched, shape._replace(frames=3), torch.float32, where)
        yield _check("many launches", launched, shape._replace(frames=3), torch.bfloat16, where)


def _check(what: str, run: object, shape: Shape, dtype: torch.dtype, where: Where) -> Check:
    cell, units, batch, frames, directions, padded = shape
    name = f"recurrent {cell} {str(dtype).removeprefix('torch.')} H={units} B={batch} T={frames} D={directions}"
    assert callable(run)
    return Check(f"{name}{'' if padded else ' full'}: {what}", lambda: run(shape, dtype, where))
