"""A product with weights that stay the same, on a CPU without gradients: they are put in oneDNN's order once."""

import torch
from jaxtyping import Float
from torch import Tensor


class PackedProduct:
    """``rows @ weights + bias`` in float32, for weights as they are now.

    The plain product puts weights in such an order at every call, which for a few rows takes as long as their sums.
    A row's result does not depend on the others. Where PyTorch was built without oneDNN, this is the plain product.

    Args:
        weights: From I to O.
        bias: None for none.
    """

    @torch.inference_mode()
    def __init__(self, weights: Float[Tensor, "I O"], bias: Float[Tensor, " O"] | None = None) -> None:
        self._bias, self._packed = None if bias is None else bias.clone(), torch.backends.mkldnn.is_available()
        # What `torch.compile` makes of `nn.Linear` with frozen weights; PyTorch has no public name for it.
        self._product = torch.ops.mkldnn._linear_pointwise.default if self._packed else None
        pack = torch.ops.mkldnn._reorder_linear_weight.default if self._packed else torch.t
        self._weights = pack(weights.t().clone(memory_format=torch.contiguous_format))

    def __call__(self, rows: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The product, in float32 under autocast too."""
        if self._product is not None:
            return self._product(rows, self._weights, self._bias, "none", [], "")
        out = torch.empty(rows.shape[0], self._weights.shape[1])  # autocast leaves alone what is told where to write
        if self._bias is None:
            return torch.mm(rows, self._weights, out=out)
        return torch.addmm(self._bias, rows, self._weights, out=out)
