"""Norms of gradients through time, against exact Jacobians and where they are known in closed form."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.cells import CellKind, PeepholeConfig, build_cell, state_size
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.encoder import Encoder, EncoderConfig
from seq2seq_asr.nn.flow import by_layer, decoder_flow, encoder_flow, layer_flow, probe_ends
from seq2seq_asr.nn.gates import BLOCKS, gates, saturation
from seq2seq_asr.nn.regularisation import RegularisationConfig
from seq2seq_asr.vocabulary import SOS

UNITS = 4
PEEPHOLES = [PeepholeConfig(full=full, output_sees=sees) for full in (False, True) for sees in ("new", "old")]
KINDS: list[tuple[CellKind, PeepholeConfig]] = [("peephole_lstm", config) for config in PEEPHOLES]
KINDS += [(kind, PeepholeConfig()) for kind in BLOCKS if kind != "peephole_lstm"]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def unit_vectors(probes: int, units: int) -> Tensor:
    drawn = torch.randn(probes, units, generator=generator(), dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("kind", "peephole"), KINDS)
def test_norms_are_those_of_exact_jacobians(kind, peephole):
    cell = build_cell(kind, 3, UNITS, peephole).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.7)
    frames, probes = torch.randn(7, 3, dtype=torch.float64), 3
    flow = layer_flow("one", cell, frames, probes, generator())
    states = [torch.zeros(1, state_size(kind, UNITS), dtype=torch.float64)]
    for frame in frames:
        states.append(cell(frame[None], states[-1]).detach())

    def output(state: Tensor, start: int, end: int) -> Tensor:
        """The output after the step ``end`` as a function of the state after the step ``start``."""
        for frame in frames[start + 1 : end + 1]:
            state = cell(frame[None], state)
        return state[0, :UNITS]

    assert flow.norms.shape == (probes, 7) and flow.cell == kind and flow.units == UNITS and flow.frames == 7
    for row, (end, vector) in enumerate(zip(probe_ends(7, probes), unit_vectors(probes, UNITS), strict=True)):
        for distance in range(7):
            if distance > end:
                assert flow.norms[row, distance].isnan()
                continue
            start = end - distance
            exact = jacobian(lambda state, a=start, b=end: output(state, a, b), states[start + 1])[:, 0]
            torch.testing.assert_close(flow.norms[row, distance], (vector @ exact).norm())


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.2])
def test_an_orthogonal_matrix_times_a_gives_powers_of_a(scale):
    cell = build_cell("elman_relu", 2, UNITS, PeepholeConfig()).double()
    permutation = torch.eye(UNITS, dtype=torch.float64)[[1, 2, 3, 0]]
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    cell.weight_hh.data = scale * permutation  # orthogonal, and it keeps positive states positive
    cell.bias_ih.data.fill_(1.0)
    flow = layer_flow("linear", cell, torch.zeros(30, 2, dtype=torch.float64), 4, generator())
    expected = scale ** torch.arange(30, dtype=torch.float64)
    torch.testing.assert_close(flow.norms[-1], expected)
    assert flow.radii["state"] == pytest.approx(scale) and flow.gates["state"].saturation.low == 0


def test_the_mean_square_over_vectors_is_that_of_the_frobenius_norm():
    cell = build_cell("elman", 2, UNITS, PeepholeConfig()).double()
    frames, probes = torch.randn(1, 2, dtype=torch.float64).expand(2, -1), 4000
    flow = layer_flow("one", cell, frames, probes, generator())
    late = [row for row, end in enumerate(probe_ends(2, probes)) if end == 1]
    states = [torch.zeros(1, UNITS, dtype=torch.float64)]
    states.append(cell(frames[:1], states[0]).detach())
    exact = jacobian(lambda state: cell(frames[1:], state)[0], states[1])[:, 0]
    assert len(late) > 1500
    found = math.sqrt(float(flow.norms[late, 1].square().mean()))
    assert found == pytest.approx(float(exact.norm()) / math.sqrt(UNITS), rel=0.03)


@pytest.mark.parametrize(("steps", "probes"), [(1, 1), (1, 4), (2, 3), (9, 4), (100, 8)])
def test_probes_end_in_the_second_half(steps, probes):
    ends = probe_ends(steps, probes)
    assert len(ends) == probes and ends == sorted(ends) and ends[-1] == steps - 1
    assert min(ends) >= steps // 2 - (steps % 2 == 0) and len(set(ends)) >= min(probes, steps // 2)


@pytest.mark.parametrize("cell", BLOCKS)
def test_an_encoder_shows_both_directions_of_every_layer(cell):
    encoder = Encoder(EncoderConfig(cell=cell, units=5, reductions=(1, 2), dropout=0.5), 3)
    features = torch.randn(1, 12, 3)
    flows = encoder_flow(encoder, features, 2, generator())
    assert [(flow.name, flow.frames, flow.cell) for flow in flows] == [
        *[("encoder 1", 12, cell)] * 2,
        *[("encoder 2", 6, cell)] * 2,
    ]
    assert [(name, len(own)) for name, own in by_layer(flows)] == [("encoder 1", 2), ("encoder 2", 2)]
    assert all(flow.norms.dtype == torch.float64 for flow in flows)
    torch.testing.assert_close(flows[0].norms[:, 0], torch.ones(2, dtype=torch.float64))
    again = encoder_flow(encoder, features, 2, generator())  # nothing is dropped out
    assert all(torch.equal(one.norms[:, 1], other.norms[:, 1]) for one, other in zip(flows, again, strict=True))
    assert encoder.training and next(encoder.parameters()).dtype == torch.float32  # the model itself is left alone


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_gates_are_those_of_the_states_that_the_encoder_goes_through(cell):
    """The backward direction reads the utterance from its end; gates are recomputed from the library's own outputs."""
    encoder = Encoder(EncoderConfig(cell=cell, units=5, reductions=(1,), dropout=0.0, layer_norm=False), 3).double()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=2.0)
    features = torch.randn(1, 12, 3, dtype=torch.float64)
    _, back = encoder_flow(encoder, features, 2, generator())
    twin = build_cell(cell, 3, 5, PeepholeConfig()).double()
    twin.load_state_dict({name[:-3]: value for name, value in encoder.layers[0].back.state_dict().items()})
    state, values = torch.zeros(1, state_size(cell, 5), dtype=torch.float64), []
    for frame in features[0].flip(0):
        values.append(gates(twin, frame[None], state))
        state = twin(frame[None], state).detach()
    for name, share in back.gates.items():
        whole = values[0][name]._replace(values=torch.cat([step[name].values for step in values]).detach())
        assert share.saturation == pytest.approx(saturation(whole))
        assert sum(share.saturation) > 0


def test_zoneout_lets_the_gradient_pass_beside_the_cell():
    """Kept with probability z, a state that a cell scales by a is scaled by z + (1 - z) a, in the mean."""
    zoneout = RegularisationConfig(zoneout=0.4)
    config = EncoderConfig(cell="elman_relu", units=UNITS, reductions=(1,), layer_norm=False, regularisation=zoneout)
    encoder = Encoder(config, 3)
    for name, parameter in encoder.named_parameters():
        nn.init.constant_(parameter, 1.0 if "bias" in name else 0.0)
        if "weight_hh" in name:
            parameter.data = 0.5 * torch.eye(UNITS)
    for flow in encoder_flow(encoder, torch.zeros(1, 12, 3), 2, generator()):
        torch.testing.assert_close(flow.norms[-1], 0.7 ** torch.arange(12, dtype=torch.float64))


@pytest.mark.parametrize("cell", BLOCKS)
@pytest.mark.parametrize("kind", ["location", "none"])
def test_a_decoder_is_probed_through_its_own_steps(cell, kind):
    attention = AttentionConfig(kind=kind, size=6, filters=2, width=3)
    decoder = Decoder(DecoderConfig(cell=cell, units=UNITS, layers=2, embedding=3, dropout=0.5), attention, 5, 8)
    encoded, tokens = torch.randn(1, 9, 5), torch.tensor([4, 6, 5])
    flows = decoder_flow(decoder, encoded, tokens, 3, generator())
    assert [(flow.name, flow.frames, flow.norms.shape) for flow in flows] == [
        ("decoder 1", 4, (3, 4)),
        ("decoder 2", 4, (3, 4)),
    ]
    own, read = decoder.double().eval(), [SOS, 4, 6, 5]
    memory = own.memory(encoded.double(), torch.tensor([9]))
    states = [own.start(memory)]
    for token in read:
        states.append(own.advance(own.embedding(torch.tensor([token])), states[-1], memory))

    def top(lower: Tensor) -> Tensor:
        """The lower layer's output after the last step, by what it carries after the second."""
        state = states[2]._replace(hidden=torch.stack([lower, states[2].hidden[:, 1]], dim=1))
        for token in read[2:]:
            state = own.advance(own.embedding(torch.tensor([token])), state, memory)
        return state.hidden[0, 0, :UNITS]

    exact = jacobian(top, states[2].hidden[:, 0].detach())[:, 0]
    torch.testing.assert_close(flows[0].norms[-1, 2], (unit_vectors(3, UNITS)[-1] @ exact).norm())
