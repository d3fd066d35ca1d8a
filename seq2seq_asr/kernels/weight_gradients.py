"""What is left of a recurrent layer's gradient when those by its sums are known: products over all steps at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def before(states: Float[Tensor, "B T D H"], start: Float[Tensor, "D B H"], lengths: Int[Tensor, " B"]) -> Tensor:
    """State before each frame's step; past an utterance's end whatever there is."""
    first = start.to(states.dtype)
    ahead = torch.cat([first[0].unsqueeze(1), states[:, :-1, 0]], dim=1)
    if states.shape[2] == 1:
        return ahead.unsqueeze(2)
    back = torch.cat([states[:, 1:, 1], torch.zeros_like(states[:, :1, 1])], dim=1)
    last = (lengths - 1).clamp(min=0).long()
    back[torch.arange(len(back), device=back.device), last] = first[1]
    return torch.stack([ahead, back], dim=2)


def to_weights(
    to_given: Float[Tensor, "B T D H G"],
    outputs: Float[Tensor, "B T D H"],
    start: Float[Tensor, "D B H"],
    lengths: Int[Tensor, " B"],
) -> Float[Tensor, "D H G H"]:
    """Gradient by the recurrent weights: one product a direction over all steps.

    Args:
        to_given: Gradient by the sums, zero past the ends.
        outputs: Of all steps, zero past the ends.
        start: Output before the first step.
        lengths: Frames of each utterance.
    """
    earlier, sums = before(outputs, start, lengths), to_given.flatten(3)
    each = [sums[:, :, one].flatten(0, 1).t() @ earlier[:, :, one].flatten(0, 1) for one in range(outputs.shape[2])]
    return torch.stack(each).view(*to_given.shape[2:], -1)


def to_peepholes(
    sees: int,
    to_given: Float[Tensor, "B T D H 4"],
    cells: Float[Tensor, "B T D H"],
    start: Float[Tensor, "D B H"],
    lengths: Int[Tensor, " B"],
) -> Float[Tensor, "D 3 H"]:
    """Gradient by the peepholes; past the ends, where cells are unwritten, nothing is added.

    Args:
        sees: 1 where the output gate sees the new memory, 2 where it sees the old one.
        to_given: Gradient by the sums.
        cells: Memory after all steps.
        start: Memory before the first step.
        lengths: Frames of each utterance.
    """
    outside = torch.arange(cells.shape[1], device=cells.device) >= lengths[:, None]
    cells = cells.masked_fill(outside[:, :, None, None], 0.0)
    earlier = before(cells, start, lengths).masked_fill(outside[:, :, None, None], 0.0)
    seen = (earlier, earlier, cells if sees == 1 else earlier)
    each = [(to_given[..., gate].float() * one).sum(dim=(0, 1)) for gate, one in zip((0, 1, 3), seen, strict=True)]
    return torch.stack(each, dim=1)


def through_first(
    to_given: Float[Tensor, "B T D H G"], weights: Float[Tensor, "D H G H"], lengths: Int[Tensor, " B"]
) -> Float[Tensor, "D B H"]:
    """What the sums of the first step give to the output before it."""
    rows, last = torch.arange(len(to_given), device=to_given.device), (lengths - 1).clamp(min=0).long()
    firsts = [to_given[:, 0, 0], *([to_given[rows, last, 1]] if to_given.shape[2] == 2 else [])]
    each = [one.flatten(1).float() @ w.flatten(0, 1).float() for one, w in zip(firsts, weights, strict=True)]
    return torch.stack(each)
