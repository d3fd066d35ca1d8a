"""Two directions at once give, bit for bit, what one after the other gives."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from seq2seq_asr.nn import recurrent
from seq2seq_asr.nn.recurrent import BidirectionalLayer
from seq2seq_asr.nn.regularisation import noisy
from seq2seq_asr.nn.two_threads import in_two_threads, worthwhile


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def a_batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(3, 9, 5, dtype=dtype, requires_grad=True), torch.tensor([9, 4, 1])


def everything(layer: nn.Module, frames: Tensor, lengths: Tensor) -> list[Tensor]:
    """Outputs, and the gradient of a weighted sum of them by input and weights."""
    states = layer(frames, lengths)
    factors = torch.arange(states.numel(), dtype=states.dtype).view_as(states).cos()
    wanted = [one for one in (frames, *layer.parameters()) if one.requires_grad]
    return [states, *torch.autograd.grad((states * factors).sum(), wanted)]


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_outputs_and_gradients_are_those_of_one_after_the_other(
    cell: str, autocast: bool, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, lengths = a_batch()
    layer = BidirectionalLayer(cell, 5, 4)  # type: ignore[arg-type]
    layer.ahead.requires_grad_(not frozen)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        at_once = everything(layer, frames, lengths)
        monkeypatch.setattr(recurrent, "worthwhile", lambda *_: False)
        expected = everything(layer, frames, lengths)
    for one, other in zip(at_once, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("early", [0, 1])
def test_the_side_that_ends_first_leaves_the_other_its_cast_weights(early: int) -> None:
    """Else gradients of a weight that is used again are summed in single precision, not in bfloat16."""
    x, weight = torch.randn(3, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    ended = threading.Event()

    def quick(x: Tensor) -> Tensor:
        threading.Timer(0.2, ended.set).start()  # once it has left autocast
        return x.sin()

    def slow(x: Tensor) -> Tensor:
        first = nn.functional.linear(x, weight)
        assert ended.wait(20)
        return first + nn.functional.linear(x.cos(), weight)

    def gradients(at_once: bool) -> tuple[Tensor, ...]:
        sides = (quick, slow) if early == 0 else (slow, quick)
        with torch.autocast("cpu", torch.bfloat16):
            one, other = in_two_threads(sides, x, [weight]) if at_once else (sides[0](x), sides[1](x))
            return torch.autograd.grad(one.float().sum() + other.float().sum(), (x, weight))

    found = gradients(True)
    expected = gradients(False)
    assert torch.equal(found[1], expected[1])


def test_the_gradient_is_right() -> None:
    frames, lengths = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True), torch.tensor([3, 2])
    layer = BidirectionalLayer("lstm", 2, 2).double()
    names = [name for name, _ in layer.named_parameters()]

    def states(frames: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (frames, lengths))

    assert torch.autograd.gradcheck(states, (frames, *layer.parameters()), fast_mode=True)


def test_weight_noise_reaches_the_clean_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, lengths = a_batch()
    layer = BidirectionalLayer("lstm", 5, 4)

    def gradients() -> list[Tensor]:
        torch.manual_seed(2)
        with noisy(layer, 0.1):
            loss = layer(frames, lengths).square().sum()
        return list(torch.autograd.grad(loss, list(layer.parameters())))

    at_once = gradients()
    monkeypatch.setattr(recurrent, "worthwhile", lambda *_: False)
    for one, other in zip(at_once, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_nothing_is_recorded_without_gradients(mode: type) -> None:
    frames, lengths = a_batch()
    layer = BidirectionalLayer("gru", 5, 4)
    expected = layer(frames, lengths)
    with mode():
        states = layer(frames, lengths)
    assert states.grad_fn is None
    assert torch.equal(states, expected)


def test_a_graph_that_is_retained_is_walked_again() -> None:
    frames, lengths = a_batch()
    loss = BidirectionalLayer("lstm", 5, 4)(frames, lengths).square().sum()
    (first,) = torch.autograd.grad(loss, frames, retain_graph=True)
    (second,) = torch.autograd.grad(loss, frames)
    assert torch.equal(first, second)


@pytest.mark.parametrize("broken", [0, 1])
def test_an_error_of_either_side_comes_out_and_the_threads_come_back(broken: int) -> None:
    def fails(x: Tensor) -> Tensor:
        raise ArithmeticError("this side")

    sides = [lambda x: x + 1, lambda x: x + 1]
    sides[broken] = fails
    with pytest.raises(ArithmeticError, match="this side"):
        in_two_threads((sides[0], sides[1]), torch.ones(2), [])
    assert torch.get_num_threads() == 2
    one, other = in_two_threads((lambda x: x + 1, lambda x: x + 2), torch.ones(2), [])
    assert (one.tolist(), other.tolist()) == ([2, 2], [3, 3])


def test_it_is_worthwhile_only_with_threads_and_library_layers() -> None:
    layer, frames = nn.LSTM(2, 2), torch.zeros(1, 1, 2)
    assert worthwhile(frames, layer, layer)
    assert not worthwhile(frames, layer, nn.Linear(2, 2))
    torch.set_num_threads(1)
    assert not worthwhile(frames, layer, layer)


def test_a_forked_process_has_a_second_thread_of_its_own() -> None:
    frames, lengths = a_batch()
    layer = BidirectionalLayer("lstm", 5, 4)
    with torch.no_grad():
        layer(frames, lengths)
        torch.set_num_threads(1)  # OpenMP's own threads do not survive a fork either
        child = os.fork()
        if child == 0:
            one, other = in_two_threads((torch.sin, torch.cos), torch.zeros(1), [])
            os._exit(0 if (one.item(), other.item()) == (0, 1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_idle_threads_spin_little_unless_somebody_says_otherwise(given: dict[str, str], spins: str) -> None:
    program = "import os, seq2seq_asr; print(os.environ.get('GOMP_SPINCOUNT'))"
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", program], env=kept | given, capture_output=True, text=True, check=True)
    assert done.stdout == f"{spins}\n"
