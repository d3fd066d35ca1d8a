import pytest
import torch
from torch import Tensor, nn

from seq2seq_asr.nn.cells import LightGruCell, PeepholeConfig, PeepholeLstmCell, build_cell, state_size
from seq2seq_asr.nn.recurrent import recurrence

PEEPHOLES = [PeepholeConfig(full=full, output_sees=sees) for full in (False, True) for sees in ("new", "old")]
KINDS = [(kind, PeepholeConfig()) for kind in ("lstm", "gru", "elman", "elman_relu", "light_gru")]
KINDS += [("peephole_lstm", config) for config in PEEPHOLES]
every_cell = pytest.mark.parametrize(("kind", "peephole"), KINDS)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def elman(cell: nn.RNNCell, x: Tensor, h: Tensor) -> Tensor:
    total = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh
    return (
        total.clamp(min=0) if cell.nonlinearity == "relu" else (1 - torch.exp(-2 * total)) / (1 + torch.exp(-2 * total))
    )


def gru(cell: nn.GRUCell, x: Tensor, h: Tensor) -> Tensor:
    r, z, n = (cell.weight_ih @ x + cell.bias_ih).chunk(3)
    r_back, z_back, n_back = (cell.weight_hh @ h + cell.bias_hh).chunk(3)
    update = sigmoid(z + z_back)
    return (1 - update) * torch.tanh(n + sigmoid(r + r_back) * n_back) + update * h


def lstm(cell: nn.LSTMCell, x: Tensor, state: Tensor) -> Tensor:
    h, c = state.chunk(2)
    i, f, g, o = (cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh).chunk(4)
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    return torch.cat([sigmoid(o) * torch.tanh(c), c])


def peephole_lstm(cell: PeepholeLstmCell, x: Tensor, state: Tensor) -> Tensor:
    h, c = state.chunk(2)
    i, f, g, o = (cell.input.weight @ x + cell.input.bias + cell.recurrent.weight @ h).chunk(4)
    p_i, p_f, p_o = (weight if cell.config.full else torch.diag(weight) for weight in cell.peepholes)
    new = sigmoid(f + p_f @ c) * c + sigmoid(i + p_i @ c) * torch.tanh(g)
    seen = new if cell.config.output_sees == "new" else c
    return torch.cat([sigmoid(o + p_o @ seen) * torch.tanh(new), new])


def light_gru(cell: LightGruCell, x: Tensor, h: Tensor) -> Tensor:
    parts = (cell.input.weight @ x + cell.input.bias).chunk(2)
    norms = [dict(norm.named_parameters()) for norm in cell.norms]
    scaled = [
        (part - part.mean()) / (part.var(unbiased=False) + 1e-5).sqrt() * norm["weight"] + norm["bias"]
        for part, norm in zip(parts, norms, strict=True)
    ]
    z, candidate = (part + back for part, back in zip(scaled, (cell.recurrent.weight @ h).chunk(2), strict=True))
    return sigmoid(z) * h + (1 - sigmoid(z)) * candidate.clamp(min=0)


WRITTEN_OUT = {
    "lstm": lstm,
    "gru": gru,
    "elman": elman,
    "elman_relu": elman,
    "peephole_lstm": peephole_lstm,
    "light_gru": light_gru,
}


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=0.7)
    return module


@every_cell
def test_a_step_equals_the_written_out_equations(kind, peephole):
    cell = randomised(build_cell(kind, 3, 4, peephole))
    frames = torch.randn(5, 3, dtype=torch.float64)
    states = torch.randn(5, state_size(kind, 4), dtype=torch.float64)
    expected = [WRITTEN_OUT[kind](cell, x, state) for x, state in zip(frames, states, strict=True)]
    torch.testing.assert_close(cell(frames, states), torch.stack(expected))


@every_cell
def test_a_layer_is_its_cell_stepped(kind, peephole):
    layer = randomised(recurrence(kind, 3, 4, peephole))
    cell = build_cell(kind, 3, 4, peephole).double()
    names = {name.removeprefix("cell.").removesuffix("_l0"): value for name, value in layer.state_dict().items()}
    cell.load_state_dict(names)
    frames = torch.randn(2, 6, 3, dtype=torch.float64)
    outputs, _ = layer(frames)
    state = frames.new_zeros(2, state_size(kind, 4))
    for t in range(6):
        state = cell(frames[:, t], state)
        torch.testing.assert_close(outputs[:, t], state[:, :4])


@every_cell
@pytest.mark.usefixtures("unchecked")
def test_gradients_equal_finite_differences(kind, peephole):
    layer = randomised(recurrence(kind, 2, 3, peephole))
    frames = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x)[0], (frames, *layer.parameters()), fast_mode=True)


@pytest.mark.parametrize("kind", ["lstm", "peephole_lstm"])
def test_forget_gates_start_open(kind):
    cell = build_cell(kind, 3, 50, PeepholeConfig())
    bias = cell.bias_hh if kind == "lstm" else cell.input.bias
    _, forget, *_ = bias.chunk(4)
    assert (forget == 1).all() and bias.requires_grad


def test_the_recurrent_matrix_of_each_light_gate_starts_orthogonal():
    """So that a step loses none of the gradient's norm, whichever of the two it goes through."""
    weight = build_cell("light_gru", 3, 50, PeepholeConfig()).recurrent.weight
    assert weight.requires_grad and weight.is_leaf
    for gate in weight.detach().double().chunk(2):
        torch.testing.assert_close(gate @ gate.T, torch.eye(50, dtype=torch.float64), atol=1e-5, rtol=0)
