"""Where half precision would cost accuracy, and double precision must not be lost."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_single(x: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Half precision in 32 bit, anything else as it is: for sums of exponentials under autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
