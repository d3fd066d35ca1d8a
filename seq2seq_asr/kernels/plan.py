"""How a recurrent layer is cut into programs that all run at once, or why it cannot be. No GPU is needed to ask."""

from dataclasses import dataclass
from typing import NamedTuple

LARGEST = 1024
"""Hidden units a direction."""
NARROWEST = 64
"""Hidden units are padded to a power of two, and to this: 16 terms of a sum for each of four warps."""


class Gpu(NamedTuple):
    """What a plan must know of a GPU."""

    capability: tuple[int, int]
    multiprocessors: int
    shared_bytes: int
    """Shared memory that one program may take."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a layer is cut; see `persistent`."""

    gates: int
    """Sums of a unit: four, or an Elman RNN's one."""
    units: int
    """Hidden units of a program."""
    rows: int
    """Utterances of a program."""
    warps: int
    width: int
    """Hidden units, padded."""
    slices: int
    """Programs that share a direction and a tile of utterances."""
    directions: int
    """Directions of one launch."""
    tiles: int
    """Tiles of utterances in one launch, at most."""
    chunks: int
    """Parts in which the backward pass reads what the group has written."""
    split: bool
    """Whether values of 32 bits are multiplied as two of 16."""

    @property
    def programs(self) -> int:
        """Programs of the largest launch."""
        return self.slices * self.directions * self.tiles

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a program: its slice, twice as long in 32 bits, and what the group has written or sums."""
        size, sums = 4 if self.split else 2, self.gates * self.units
        read = self.rows * size * max(self.width, self.gates * self.width // self.chunks)
        return sums * self.width * size + max(read, 4 * self.warps * self.rows * sums)


def make_plan(gpu: Gpu, units: int, directions: int, batch: int, *, split: bool, gates: int = 4) -> Plan | str:
    """The plan of a layer, or in a few words why there is none.

    A slice of the recurrent matrix stays on its multiprocessor, 64 sums: 4 x 16 units x 512 x 4 bytes are 128 KB in
    float32 and so are 4 x 16 x 1,024 x 2 bytes in bfloat16; above 512 units in float32 a program has half as many, and
    the directions take turns. One program a multiprocessor is counted on, never more: what else a multiprocessor could
    hold is not known before compiling, and slices of this size leave room for no second one.

    Args:
        gpu: The GPU.
        units: Hidden units a direction.
        directions: 1 or 2.
        batch: Utterances.
        split: Whether values have 32 bits.
        gates: Sums of a unit.
    """
    if units > LARGEST:
        return f"{units} hidden units, more than {LARGEST}"
    if gpu.capability < (9, 0):
        return "a GPU older than Hopper"  # its multiprocessors have no room for the slices
    width = max(NARROWEST, power_of_two(units))
    own = (32 if split and width > 512 else 64) // gates
    slices = -(-units // own)
    together = directions if slices * directions <= gpu.multiprocessors else 1
    resident = gpu.multiprocessors // (slices * together)
    if resident == 0:
        return f"{units} hidden units need {slices} multiprocessors, the GPU has {gpu.multiprocessors}"
    rows = 32 if not split and batch > 16 * resident else 16  # more in float32 would not fit into registers
    plan = Plan(
        gates=gates,
        units=own,
        rows=rows,
        warps=4 if width <= 128 else 8,
        width=width,
        slices=slices,
        directions=together,
        tiles=min(resident, -(-batch // rows)),
        chunks=max(1, gates * width * rows // (16384 if split else 32768)),
        split=split,
    )
    if plan.shared_bytes > gpu.shared_bytes:
        return f"needs {plan.shared_bytes} bytes of shared memory, the GPU has {gpu.shared_bytes}"
    return plan


def interpreter_plan(units: int, directions: int, batch: int, *, split: bool, gates: int = 4) -> Plan:
    """A plan for Triton's interpreter, where programs run one after the other: each has all units of a direction."""
    width = max(NARROWEST, power_of_two(units))
    return Plan(
        gates=gates,
        units=width,
        rows=16,
        warps=4,
        width=width,
        slices=1,
        directions=directions,
        tiles=-(-batch // 16),
        chunks=gates // 2 or 1,
        split=split,
    )


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below a positive number."""
    return 1 << (number - 1).bit_length()
