"""A recurrent layer over a padded batch as one operation that can be differentiated: ``nn.recurrent`` on a GPU.

What is large and parallel is left to matrix products: what the inputs give to the sums before (by the caller), and the
gradients of the weights after. In between runs `persistent`. Values are stored as ``given`` is, in float32 or
bfloat16; sums and memory are kept in float32.
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton.runtime.jit import JITFunction

from seq2seq_asr.kernels.persistent import layer_backward, layer_forward
from seq2seq_asr.kernels.plan import Gpu, Plan, interpreter_plan, make_plan
from seq2seq_asr.kernels.weight_gradients import through_first, to_peepholes, to_weights

INTERPRETED = not isinstance(layer_forward, JITFunction)
"""Whether Triton interprets kernels, one program after the other, on the CPU (``TRITON_INTERPRET=1``)."""


class Kind(NamedTuple):
    """Which cell."""

    cell: Literal["lstm", "gru", "tanh", "relu"] = "lstm"
    """What stands in `cells`; the last two are Elman RNNs."""
    peepholes: int = 0
    """0: none, 1: the output gate sees the new memory, 2: the old one, as the other gates do."""

    @property
    def gates(self) -> int:
        """Sums of a unit."""
        return 4 if self.cell in ("lstm", "gru") else 1


class States(NamedTuple):
    """Outputs of all steps, zero past each utterance's length, and what is carried past the last."""

    outputs: Float[Tensor, "B T D H"]
    output: Float[Tensor, "D B H"]
    memory: Float[Tensor, "D B H"]
    """Of an LSTM; that of others is their output."""


def gpu_of(device: torch.device) -> Gpu:
    """What a plan must know of a CUDA device."""
    found: Any = torch.cuda.get_device_properties(device)
    return Gpu((found.major, found.minor), found.multi_processor_count, found.shared_memory_per_block_optin)


def plan_for(
    device: torch.device, dtype: torch.dtype, units: int, directions: int, batch: int, gates: int = 4
) -> Plan | str:
    """The plan of a layer on a device, or in a few words why there is none.

    Args:
        device: Where the values are.
        dtype: How they are stored.
        units: Hidden units a direction.
        directions: 1 or 2.
        batch: Utterances.
        gates: Sums of a unit.
    """
    split = dtype == torch.float32
    if dtype not in (torch.float32, torch.bfloat16):
        return f"{str(dtype).removeprefix('torch.')} values"
    if INTERPRETED:
        if device.type != "cpu":
            return "TRITON_INTERPRET is set"
        return interpreter_plan(units, directions, batch, split=split, gates=gates)
    if device.type != "cuda":
        return f"the device is {device.type}"
    return make_plan(gpu_of(device), units, directions, batch, split=split, gates=gates)


def recurrent_layer(
    given: Float[Tensor, "B T D H G"],
    weights: Float[Tensor, "D H G H"],
    lengths: Int[Tensor, " B"],
    kind: Kind,
    plan: Plan,
    peepholes: Float[Tensor, "D 3 H"] | None = None,
    start: tuple[Float[Tensor, "D B H"], Float[Tensor, "D B H"]] | None = None,
) -> States:
    """All steps of one direction or both (D).

    Args:
        given: What inputs and biases give to the sums of every unit; anything finite past an utterance's end.
        weights: From the last output (last dimension) to the sums of every unit.
        lengths: Frames of each utterance, all of them where it is more; the second direction starts at an
            utterance's own last one.
        kind: The cell.
        plan: Of `plan_for`.
        peepholes: Of the input, forget and output gate.
        start: Output and memory before the first step; none is zero. Without an LSTM they are one.
    """
    given = given.contiguous()
    batch, frames, directions, units, _ = given.shape
    zero = torch.zeros(directions, batch, units, device=given.device)
    output, memory = (zero, zero) if start is None else (one.float() for one in start)
    own = zero.new_zeros(directions, 3, units) if peepholes is None else peepholes.float()
    within = lengths.clamp(0, frames).to(torch.int32)  # a kernel would write past the end
    return States(*_Layer.apply(given, weights, own, output, memory, within, _Settings(kind, plan)))


class _Settings(NamedTuple):
    kind: Kind
    plan: Plan


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, given: Tensor, weights: Tensor, peepholes: Tensor, output: Tensor, memory: Tensor, lengths: Tensor,
        settings: _Settings,
    ) -> Any:  # fmt: skip
        """All steps in one launch; shapes are those of ``kernels.persistent``."""
        kind, plan = settings
        batch, frames, directions, units, _ = given.shape
        outputs = given.new_zeros(batch, frames, directions, units)
        last_output, last_memory = torch.empty_like(output), torch.empty_like(memory)
        gates = torch.empty_like(given) if kind.gates > 1 else outputs.unsqueeze(-1)
        cells = torch.empty_like(outputs, dtype=torch.float32) if kind.cell == "lstm" else outputs
        split, start = _parts(weights, plan), memory.contiguous()
        exchange, counters = _meeting(given, plan, 1)
        exchange[0, :, :batch, :units] = output
        _launch(
            layer_forward, settings, given,
            (given, split, peepholes.contiguous(), start, lengths, exchange, counters, outputs, gates, cells,
             last_output, last_memory),
        )  # fmt: skip
        ctx.save_for_backward(weights, peepholes, output, start, lengths, outputs, gates, cells)
        ctx.settings = settings
        return outputs, last_output, last_memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *to: Tensor) -> Any:
        """One launch back through the steps, then one product for each weight."""
        weights, peepholes, output, start, lengths, outputs, gates, cells = ctx.saved_tensors
        kind, plan = settings = ctx.settings
        to_given = torch.zeros_like(gates)
        to_output, to_memory = torch.empty_like(start), torch.empty_like(start)
        exchange, counters = _meeting(gates, plan, kind.gates)
        to_outputs, to_last_output, to_last_memory = (one.contiguous() for one in to)
        if kind.cell != "lstm":  # its memory is its output
            to_last_output, to_last_memory = to_last_output + to_last_memory, torch.zeros_like(to_last_memory)
        with torch.autocast(gates.device.type, enabled=False):
            _launch(
                layer_backward, settings, gates,
                (to_outputs, to_last_output, to_last_memory, _parts(weights, plan), peepholes.contiguous(), start,
                 lengths, exchange, counters, gates, cells, to_given, to_output, to_memory),
            )  # fmt: skip
            wanted = ctx.needs_input_grad
            by_weights = to_weights(to_given, outputs, output, lengths).to(weights.dtype) if wanted[1] else None
            by_peepholes = to_peepholes(kind.peepholes, to_given, cells, start, lengths) if wanted[2] else None
            if wanted[3]:
                to_output += through_first(to_given, weights, lengths)
        return to_given, by_weights, by_peepholes, to_output, to_memory, None, None


def _parts(weights: Float[Tensor, "D H G H"], plan: Plan) -> Tensor:
    """Weights in 16 bits; where they are split, what that leaves out follows."""
    high = weights.to(torch.bfloat16)
    return torch.stack([high, (weights - high.to(weights.dtype)).to(torch.bfloat16)] if plan.split else [high])


def _meeting(like: Float[Tensor, "B T D H G"], plan: Plan, values: int) -> tuple[Tensor, Tensor]:
    """Zeros: two slots with so many values a unit for what programs exchange, and the counters where they meet."""
    batch, _, directions, *_ = like.shape
    tiles = -(-batch // plan.rows)
    exchange = like.new_zeros(2, directions, tiles * plan.rows, values * plan.width)
    return exchange, torch.zeros(directions, tiles, dtype=torch.int32, device=like.device)


def _launch(kernel: Any, settings: _Settings, like: Float[Tensor, "B T D H G"], arguments: tuple[Tensor, ...]) -> None:
    """Run a kernel over all directions and tiles, as many at a time as are resident together."""
    kind, plan = settings
    batch, frames, directions, units, _ = like.shape
    tiles = -(-batch // plan.rows)
    constants = {
        "CELL": kind.cell, "PEEPHOLES": kind.peepholes, "GATES": kind.gates, "H": units, "DIRECTIONS": directions,
        "UNITS": plan.units, "ROWS": plan.rows, "WIDTH": plan.width, "WARPS": plan.warps, "SPLIT": plan.split,
        "MEET": not INTERPRETED or plan.slices > 1, "ON_GPU": not INTERPRETED, "STEPS": frames if INTERPRETED else 0,
    }  # fmt: skip
    if kernel is layer_backward:
        constants["CHUNKS"] = plan.chunks
    for direction in range(0, directions, plan.directions):
        for tile in range(0, tiles, plan.tiles):
            count = min(plan.tiles, tiles - tile)
            # A cooperative launch is refused unless all of its programs can run at once.
            with torch.cuda.device_of(like):
                kernel[(plan.directions * count * plan.slices,)](
                    *arguments, batch, frames, direction, tile, count, tiles * plan.rows, **constants,
                    num_warps=plan.warps, num_stages=1, launch_cooperative_grid=True,
                )  # fmt: skip
