"""Checks that whole models do with kernels what they do without."""

import copy
from collections.abc import Iterator

import torch
from gpu_common import Check, Failed, Where, compare
from torch import Tensor, nn

from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.fused import set_kernels
from seq2seq_asr.nn.model import Encoded, ModelConfig, Seq2Seq
from seq2seq_asr.nn.specaugment import SpecAugmentConfig

CELLS = ("lstm", "gru", "peephole_lstm", "elman")


def model(cell: str, where: Where) -> Seq2Seq:
    """A small recogniser without anything random."""
    assert cell in CELLS
    encoder = EncoderConfig(cell=cell, units=6 if where.tiny else 128, reductions=(1, 2), dropout=0.0)  # type: ignore
    config = ModelConfig(
        features=FeaturesConfig(kind="precomputed", bins=5),
        specaugment=SpecAugmentConfig(frequency_masks=0, time_masks=0),
        encoder=encoder,
        ctc_weight=0.3,
    )
    return Seq2Seq(config, 12).to(where.device).eval()


def batch(where: Where, size: int, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Padded features of tokens, each of which raises one of the bins for some frames, and the tokens."""
    tokens = torch.randint(4, 12, (size, frames // 8))
    count = torch.randint(1, tokens.shape[1] + 1, (size,))
    lengths = 8 * count
    features = torch.randn(size, frames, 5) * 0.3
    for row in range(size):
        for place in range(int(count[row])):
            token = int(tokens[row, place])
            features[row, 8 * place : 8 * place + 6, token % 5] += 1.0 + (token > 8)
        features[row, int(lengths[row]) :] = 0
        tokens[row, int(count[row]) :] = 0
    return tuple(one.to(where.device) for one in (features, lengths, tokens, count))  # type: ignore[return-value]


def loss(net: Seq2Seq, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Joint loss a token, the features taken as they are."""
    features, lengths, tokens, count = given
    losses = net.losses(Encoded(*net.encoder(features, lengths)), tokens, count)
    return losses.total.sum() / losses.tokens.sum()


def same_step(cell: str, where: Where) -> str:
    """Loss and every gradient of a recogniser with kernels equal those in float64 without."""
    net = model(cell, where)
    given = batch(where, *((2, 8) if where.tiny else (20, 80)))
    exact = copy.deepcopy(net).double()
    set_kernels(net, "require")
    set_kernels(exact, "off")
    value = loss(net, given)
    wanted = loss(exact, (given[0].double(), *given[1:]))
    found: dict[str, Tensor] = dict(zip(_names(net), torch.autograd.grad(value, list(net.parameters())), strict=True))
    right = dict(zip(_names(exact), torch.autograd.grad(wanted, list(exact.parameters())), strict=True))
    return compare(found | {"loss": value}, right | {"loss": wanted}, 1e-3)


def same_curve(cell: str, precision: torch.dtype, where: Where) -> str:
    """Training follows the loss curve of the reference, in means of 20 steps."""
    steps, curves = 2 if where.tiny else 300, []
    net = model(cell, where)
    batches = [batch(where, *((2, 8) if where.tiny else (32, 80))) for _ in range(steps)]
    for kernels in ("require", "off"):
        mine = copy.deepcopy(net).train()
        set_kernels(mine, kernels)
        curves.append(train(mine, batches, precision))
    window = min(20, steps)
    means = [curve.unfold(0, window, window).mean(dim=1) for curve in curves]
    apart = float(((means[0] - means[1]).abs() / means[1]).max())
    allowed = 0.05 if precision == torch.float32 else 0.1
    if not apart < allowed:
        raise Failed(f"curves lie up to {100 * apart:.1f} % apart; they end at {[float(m[-1]) for m in means]}")
    return f"{float(curves[1][0]):.2f} to {float(means[1][-1]):.2f} in {steps} steps, {100 * apart:.2f} % apart at most"


def train(net: nn.Module, batches: list[tuple[Tensor, Tensor, Tensor, Tensor]], precision: torch.dtype) -> Tensor:
    """Losses of all steps."""
    assert isinstance(net, Seq2Seq)
    optimizer, losses = torch.optim.AdamW(net.parameters(), lr=2e-3), []
    for given in batches:
        with torch.autocast(given[0].device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            value = loss(net, given)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        losses.append(value.detach())
    return torch.stack(losses).float().cpu()


def _names(net: nn.Module) -> list[str]:
    return [f"by {name}" for name, _ in net.named_parameters()]


def checks(where: Where) -> Iterator[Check]:
    """Of every cell that has a kernel."""
    for cell in CELLS:
        yield Check(f"model {cell} float32: a step equals float64", lambda cell=cell: same_step(cell, where))  # type: ignore
    for dtype in (torch.float32, torch.bfloat16):
        name = f"model lstm {str(dtype).removeprefix('torch.')}: training follows the reference"
        yield Check(name, lambda dtype=dtype: same_curve("lstm", dtype, where))  # type: ignore
