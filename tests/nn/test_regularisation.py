"""Zoneout, recurrent and variational dropout, noise on the weights."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.cells import CellKind, GruCell, PeepholeConfig, build_cell, state_size
from seq2seq_asr.nn.dropout import VariationalDropout
from seq2seq_asr.nn.recurrent import BidirectionalLayer, UnrolledLayer, recurrence, run_steps
from seq2seq_asr.nn.regularisation import RegularisationConfig, noisy

every_cell = pytest.mark.parametrize("kind", get_args(CellKind))


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=0.7)
    return module


@every_cell
def test_steps_between_which_nothing_happens_are_the_layer(kind):
    layer = randomised(recurrence(kind, 3, 4))
    names = {name.removeprefix("cell.").removesuffix("_l0"): value for name, value in layer.state_dict().items()}
    stepped = UnrolledLayer(build_cell(kind, 3, 4, PeepholeConfig()).double(), state_size(kind, 4))
    stepped.cell.load_state_dict(names)
    frames = torch.randn(2, 6, 3, dtype=torch.float64)
    torch.testing.assert_close(stepped(frames)[0], layer(frames)[0])


@every_cell
def test_a_run_from_a_state_is_steps(kind):
    cell = randomised(build_cell(kind, 3, 4, PeepholeConfig()))
    frames = torch.randn(2, 5, 3, dtype=torch.float64)
    state = torch.randn(2, state_size(kind, 4), dtype=torch.float64)
    outputs = cell.run(frames, state)
    for t in range(5):
        state = cell(frames[:, t], state)
        torch.testing.assert_close(outputs[:, t], state[:, :4])


@every_cell
def test_only_recurrent_weights_see_the_dropped_output(kind):
    """A dropped output acts like recurrent weights without its column; whatever else the state does is untouched."""
    cell = randomised(build_cell(kind, 3, 4, PeepholeConfig()))
    frame, state = torch.randn(2, 3).double(), torch.randn(2, state_size(kind, 4)).double()
    mask = torch.tensor([2.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    dropped = cell(frame, state, mask * state[:, :4])
    name = "recurrent.weight" if hasattr(cell, "recurrent") else "weight_hh"
    with torch.no_grad():
        cell.get_parameter(name).mul_(mask)
    torch.testing.assert_close(dropped, cell(frame, state))


def test_the_mask_of_recurrent_dropout_stays_the_same_from_step_to_step():
    layer = randomised(recurrence("elman", 3, 200, regularisation=RegularisationConfig(recurrent_dropout=0.5)))
    frames = torch.randn(2, 4, 3, dtype=torch.float64)
    torch.manual_seed(5)
    outputs, _ = layer.train()(frames)
    torch.manual_seed(5)
    mask = layer.regularisation.recurrent_mask(frames.new_zeros(2, 200), True)
    assert sorted(set(mask.flatten().tolist())) == [0.0, 2.0]
    state = frames.new_zeros(2, 200)
    for t in range(4):
        state = layer.cell(frames[:, t], state, state * mask)
        torch.testing.assert_close(outputs[:, t], state)
    assert not torch.equal(layer(frames)[0], outputs), "another batch, another mask"
    assert torch.equal(layer.eval()(frames)[0], layer(frames)[0])


def test_zoneout_keeps_the_stated_share_of_each_part_and_its_mean_in_evaluation():
    config, size = RegularisationConfig(zoneout=0.2, zoneout_memory=0.6), 20_000
    old, new = torch.zeros(3, 2 * size), torch.ones(3, 2 * size)
    drawn = config.zone_out(new, old, size, training=True)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn[:, :size] == 0).double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (drawn[:, size:] == 0).double().mean().item() == pytest.approx(0.6, abs=0.01)
    mean = config.zone_out(new, old, size, training=False)
    torch.testing.assert_close(mean, torch.cat([torch.full((3, size), 0.8), torch.full((3, size), 0.4)], dim=1))


def test_a_zoned_out_lstm_equals_the_written_out_recurrence():
    """Krueger et al. 2017, equations 3 to 5, with the means of evaluation."""
    config = RegularisationConfig(zoneout=0.25, zoneout_memory=0.5)
    layer = randomised(recurrence("lstm", 3, 4, regularisation=config)).eval()
    frames = torch.randn(1, 5, 3, dtype=torch.float64)
    outputs, _ = layer(frames)
    cell, h, c = layer.cell, torch.zeros(4).double(), torch.zeros(4).double()
    for t, x in enumerate(frames[0]):
        i, f, g, o = (cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh).chunk(4)
        inner = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h, c = 0.25 * h + 0.75 * torch.sigmoid(o) * torch.tanh(inner), 0.5 * c + 0.5 * inner
        torch.testing.assert_close(outputs[0, t], h)


@every_cell
@pytest.mark.parametrize("training", [False, True])
def test_gradients_through_all_of_it_equal_finite_differences(kind, training):
    config = RegularisationConfig(recurrent_dropout=0.4, zoneout=0.3)
    cell = randomised(build_cell(kind, 2, 3, PeepholeConfig())).train(training)
    mask = torch.tensor([[0.0, 1.6, 1.6]], dtype=torch.float64) if training else None
    frames = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)
    state = torch.zeros(1, state_size(kind, 3), dtype=torch.float64)

    def run(x: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(3)
        return run_steps(cell, x, state, config, mask)[0]

    assert torch.autograd.gradcheck(run, (frames, *cell.parameters()), fast_mode=True)


@every_cell
def test_a_zoned_out_layer_gives_an_utterance_the_same_alone_and_beside_others(kind):
    config = RegularisationConfig(zoneout=0.3, recurrent_dropout=0.2)
    layer = BidirectionalLayer(kind, 3, 4, None, config).double().eval()
    frames, lengths = torch.randn(3, 7, 3, dtype=torch.float64), torch.tensor([6, 2, 1])
    result = layer(frames, lengths)
    for b, length in enumerate(lengths.tolist()):
        alone = layer(frames[b : b + 1, :length], lengths[b : b + 1])
        torch.testing.assert_close(result[b, :length], alone[0])
        assert (result[b, length:] == 0).all()


def test_variational_dropout_drops_a_feature_for_a_whole_utterance():
    out = VariationalDropout(0.4)(torch.ones(30, 6, 500))
    assert (out == out[:, :1]).all() and (out[0] != out[1]).any()
    assert (out == 0).double().mean().item() == pytest.approx(0.4, abs=0.02)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    x = torch.randn(2, 3, 4)
    assert torch.equal(VariationalDropout(0.4).eval()(x), x) and torch.equal(VariationalDropout(0.0)(x), x)


@pytest.mark.parametrize("build", [nn.LSTM, nn.Linear, GruCell])
def test_noise_is_on_the_matrices_within_the_block_alone(build):
    module = build(40, 50)
    clean = {name: value.clone() for name, value in module.state_dict().items()}
    x = torch.randn(3, 1, 40) if isinstance(module, nn.RNNBase | nn.Linear) else torch.randn(3, 40)
    give = (lambda: module(x)[0]) if isinstance(module, nn.RNNBase) else (lambda: module(x))
    if isinstance(module, nn.RNNCellBase):
        state = torch.randn(3, 50)
        give = lambda: module(x, state)  # noqa: E731
    before = give()
    with noisy(module, 0.1):
        noised = give()
        for name, value in clean.items():
            difference = getattr(module, name) - value if value.ndim > 1 else None
            if difference is None:
                assert torch.equal(getattr(module, name), value)
            else:
                assert difference.std().item() == pytest.approx(0.1, rel=0.1) and abs(difference.mean().item()) < 0.01
        noisy_weights = {name: getattr(module, name).detach().clone() for name in clean}
    assert torch.equal(give(), before) and not torch.equal(noised, before)
    assert all(torch.equal(value, clean[name]) for name, value in module.state_dict().items())
    module.load_state_dict(noisy_weights)
    torch.testing.assert_close(give(), noised)


def test_the_gradient_is_that_at_the_noisy_weights_and_goes_to_the_clean_ones():
    layer, frames = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)
    with noisy(layer, 0.2):
        weights = {name: parameter.detach().clone() for name, parameter in layer._parameters.items()}
        loss = layer(frames)[0].square().sum()
    loss.backward()
    assert all(one is two for one, two in zip(layer._flat_weights, layer.parameters(), strict=True))
    twin = nn.LSTM(3, 4, batch_first=True)
    twin.load_state_dict(weights)
    twin(frames)[0].square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert isinstance(parameter, nn.Parameter)
        torch.testing.assert_close(parameter.grad, twin.get_parameter(name).grad)


def test_noise_ends_with_an_error_too_and_is_never_in_evaluation():
    layer = nn.LSTM(3, 4)
    weights = list(layer.parameters())
    with pytest.raises(RuntimeError, match="stop"), noisy(layer, 0.2):
        raise RuntimeError("stop")
    assert all(one is two for one, two in zip(layer.parameters(), weights, strict=True))
    assert layer._flat_weights[0] is weights[0]
    with noisy(layer.eval(), 0.2):
        assert all(one is two for one, two in zip(layer.parameters(), weights, strict=True))


@pytest.mark.parametrize("settings", [{"zoneout": 1.0}, {"zoneout_memory": -0.1}, {"recurrent_dropout": 1.5}])
def test_impossible_settings_are_named(settings):
    with pytest.raises(UsageError, match=f"regularisation.{next(iter(settings))}"):
        RegularisationConfig(**settings)
    for noise in (-0.1, float("inf")):
        with pytest.raises(UsageError, match=r"regularisation.weight_noise"):
            RegularisationConfig(weight_noise=noise)
