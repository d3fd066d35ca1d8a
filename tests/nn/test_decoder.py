from typing import get_args

import pytest
import torch
from torch import Tensor

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.attention import AttentionConfig, Memory
from seq2seq_asr.nn.attention.config import AttentionKind
from seq2seq_asr.nn.cell_stack import Masks
from seq2seq_asr.nn.cells import CellKind
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig, DecoderState
from seq2seq_asr.nn.regularisation import RegularisationConfig, noisy
from seq2seq_asr.vocabulary import SOS

LENGTHS = torch.tensor([6, 3, 1])
TOKENS = torch.tensor([[SOS, 4, 5, 4], [SOS, 6, 6, 3], [SOS, 5, 0, 0]])
OPTIONS = [
    {"layers": 2, "residual": True, "layer_norm": True},
    {"layers": 1, "layer_norm": True},
    {"projection": 4, "tied": True},
    {"cell": "lstm", "regularisation": RegularisationConfig(zoneout=0.2, zoneout_memory=0.4)},
    *({"context": "parallel", "kind": kind} for kind in ("additive", "dot", "scaled_dot", "general", "none")),
    {"context": "parallel", "kind": "scaled_dot", "heads": 2, "layers": 2, "residual": True},
    {"context": "parallel", "kind": "additive", "smoothing": True, "cell": "lstm"},
    *({"context": "parallel", "kind": "dot", "cell": cell} for cell in get_args(CellKind)),
    {"context": "parallel", "kind": "additive", "layers": 2, "regularisation": RegularisationConfig(zoneout=0.3)},
]
every_option = pytest.mark.parametrize("settings", OPTIONS, ids=str)
every_shape = pytest.mark.parametrize("layers", [1, 3])
every_kind = pytest.mark.parametrize(
    ("kind", "layers"),
    [
        *((kind, 1) for kind in get_args(AttentionKind)),
        ("location", 3),
        # Several layers are stepped alike whatever the attention; a single one beside "location" has a quick way.
        *(pytest.param(kind, 3, marks=pytest.mark.nightly) for kind in get_args(AttentionKind) if kind != "location"),
    ],
)


def build(layers: int = 2, kind: AttentionKind = "location", dropout: float = 0.1, **settings) -> Decoder:
    heads, smoothing = settings.pop("heads", 1), settings.pop("smoothing", False)
    attention = AttentionConfig(kind=kind, size=6, filters=2, width=3, heads=heads, smoothing=smoothing)
    config = DecoderConfig(units=6, layers=layers, embedding=4, dropout=dropout, **settings)
    return Decoder(config, attention, 4, 7).double().eval()


def remember(decoder: Decoder, garbage: float = 0.0) -> Memory:
    encoded = torch.randn(3, 6, 4, dtype=torch.float64)
    for row, length in zip(encoded, LENGTHS.tolist(), strict=True):
        row[length:] = garbage
    return decoder.memory(encoded, LENGTHS)


def equal_states(states: DecoderState, expected: DecoderState) -> None:
    for part, one in zip(states, expected, strict=True):
        torch.testing.assert_close(part, one)


@every_kind
def test_unrolled_steps_equal_teacher_forcing(layers, kind):
    assert_steps_equal_teacher_forcing(build(layers, kind))


@pytest.mark.parametrize("cell", get_args(CellKind))
def test_every_cell_can_decode(cell):
    assert_steps_equal_teacher_forcing(build(cell=cell))
    assert_select_reorders_all(build(cell=cell))


@pytest.mark.parametrize("encoded", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", get_args(CellKind))
def test_every_cell_trains_in_bfloat16_whatever_the_encoder_gives(cell, encoded):
    decoder, states = build(layers=1, cell=cell, dropout=0.0).float().train(), torch.randn(3, 6, 4)
    expected, _ = decoder(TOKENS, decoder.memory(states, LENGTHS))
    with torch.autocast("cpu", torch.bfloat16):
        scores, _ = decoder(TOKENS, decoder.memory(states.to(encoded), LENGTHS))
    torch.testing.assert_close(scores.float(), expected, atol=0.1, rtol=0.1)
    scores.float().sum().backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in decoder.parameters())


@every_option
def test_every_option_can_decode(settings):
    assert_steps_equal_teacher_forcing(build(**settings))
    assert_select_reorders_all(build(**settings))
    assert_alone_as_beside_others(build(**settings))


def assert_steps_equal_teacher_forcing(decoder: Decoder) -> None:
    memory = remember(decoder)
    logits, alignments = decoder(TOKENS, memory)
    state = decoder.start(memory)
    for u in range(TOKENS.shape[1]):
        before = [part.clone() for part in state]
        scores, after = decoder.step(TOKENS[:, u], state, memory)
        assert all(torch.equal(part, one) for part, one in zip(state, before, strict=True)), "a step changed its input"
        torch.testing.assert_close(scores, logits[:, u])
        torch.testing.assert_close(after.alignment, alignments[:, u])
        state = after


def gated(cell: torch.nn.GRUCell, below: Tensor, previous: Tensor) -> Tensor:
    """A gated recurrent unit (Cho et al. 2014), reset applied behind the recurrent product as cuDNN does."""
    reset_in, update_in, new_in = (cell.weight_ih @ below + cell.bias_ih).chunk(3)
    reset_back, update_back, new_back = (cell.weight_hh @ previous + cell.bias_hh).chunk(3)
    reset = 1 / (1 + torch.exp(-(reset_in + reset_back)))
    update = 1 / (1 + torch.exp(-(update_in + update_back)))
    return (1 - update) * torch.tanh(new_in + reset * new_back) + update * previous


@every_shape
def test_decoder_equals_the_written_out_equations(layers):
    decoder = build(layers)
    memory = remember(decoder)
    logits, alignments = decoder(TOKENS, memory)
    for b in range(len(TOKENS)):
        mine = memory.select(torch.tensor([b]))
        hidden = [torch.zeros(6, dtype=torch.float64)] * layers
        context, alignment = torch.zeros(4, dtype=torch.float64), decoder.attention.start(mine)
        for u, token in enumerate(TOKENS[b].tolist()):
            below = torch.cat([decoder.embedding.weight[token], context])
            for layer, cell in enumerate(decoder.cells):
                hidden[layer] = below = gated(cell, below, hidden[layer])
            contexts, alignment, _ = decoder.attention(below[None], mine, alignment)
            context = contexts[0]
            expected = decoder.output.weight @ torch.cat([below, context]) + decoder.output.bias
            torch.testing.assert_close(logits[b, u], expected)
            torch.testing.assert_close(alignments[b, u], alignment[0])


@every_kind
def test_logits_are_the_same_alone_and_beside_others_whatever_the_padding(kind, layers):
    assert_alone_as_beside_others(build(layers, kind))


def assert_alone_as_beside_others(decoder: Decoder) -> None:
    memory = remember(decoder, garbage=1e3)
    logits, alignments = decoder(TOKENS, memory)
    for b, length in enumerate(LENGTHS.tolist()):
        one = slice(b, b + 1)
        alone = decoder.memory(memory.encoded[one, :length], LENGTHS[one])
        expected, weights = decoder(TOKENS[one, :3], alone)
        torch.testing.assert_close(logits[one, :3], expected)
        torch.testing.assert_close(alignments[one, :3, :length], weights)
        assert (alignments[b, :, length:] == 0).all()


@every_shape
def test_assert_select_reorders_all_that_the_next_step_depends_on(layers):
    assert_select_reorders_all(build(layers))


def assert_select_reorders_all(decoder: Decoder) -> None:
    memory = remember(decoder)
    _, state = decoder.step(TOKENS[:, 0], decoder.start(memory), memory)
    _, state = decoder.step(TOKENS[:, 1], state, memory)
    parents = torch.tensor([2, 0, 0, 1])
    scores, after = decoder.step(TOKENS[:, 2], state, memory)
    chosen, followed = decoder.step(TOKENS[parents, 2], state.select(parents), memory.select(parents))
    torch.testing.assert_close(chosen, scores[parents])
    assert isinstance(state.select(parents), DecoderState)
    equal_states(followed, after.select(parents))


@pytest.mark.parametrize("sampling", [0.0, 0.5, 1.0])
def test_scheduled_sampling_reads_own_tokens_as_often_as_asked(sampling):
    decoder = build()
    with torch.no_grad():
        decoder.output.weight *= 10
    rows = 200
    given = torch.randint(4, 7, (rows, 6))
    given[:, 0] = SOS
    encoded = torch.randn(rows, 3, 4, dtype=torch.float64)
    memory = decoder.memory(encoded, torch.full((rows,), 3))
    logits, alignments = decoder(given, memory, sampling)

    state, own_reads, differing = decoder.start(memory), 0, 0
    token = given[:, 0]
    for u in range(given.shape[1]):
        ways = [decoder.step(read, state, memory) for read in (given[:, u], token)]
        fits = torch.stack([torch.isclose(scores, logits[:, u]).all(1) for scores, _ in ways])
        assert fits.any(0).all(), "a token was read that is neither given nor the model's own"
        differs = given[:, u] != token
        own_reads += int((fits[1] & differs).sum())
        differing += int(differs.sum())
        read = torch.where(fits[0], given[:, u], token)
        scores, state = decoder.step(read, state, memory)
        torch.testing.assert_close(state.alignment, alignments[:, u])
        token = scores.argmax(1)
    assert differing > rows
    assert abs(own_reads / differing - sampling) < (0.1 if 0 < sampling < 1 else 1e-9)


@pytest.mark.parametrize(("kind", "layers"), [("location", 1), ("location", 2), ("additive", 1), ("dot", 2)])
@pytest.mark.usefixtures("unchecked")
def test_gradients_are_those_of_finite_differences_and_reach_every_parameter(kind, layers):
    decoder = Decoder(
        DecoderConfig(units=2, layers=layers, embedding=2, dropout=0.0),
        AttentionConfig(kind=kind, size=2, filters=1, width=3),
        encoder_size=2,
        vocabulary=5,
    ).double()
    tokens, lengths = torch.tensor([[SOS, 4, 3], [SOS, 1, 0]]), torch.tensor([3, 2])
    names = [name for name, _ in decoder.named_parameters()]

    def unroll(encoded: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(names, weights, strict=True))
        memory = Memory(encoded, lengths, encoded @ own["attention.key.weight"].T)
        return torch.func.functional_call(decoder, own, (tokens, memory))

    encoded = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unroll, (encoded, *decoder.parameters()), fast_mode=True)
    logits, _ = unroll(encoded, *decoder.parameters())
    logits.log_softmax(2)[:, :, 4].sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


@every_option
@pytest.mark.usefixtures("unchecked")
def test_gradients_of_every_option_are_those_of_finite_differences(settings):
    decoder = build(**{"layers": 1, **settings, "dropout": 0.0})
    encoded = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    tokens, lengths = torch.tensor([[SOS, 4, 3], [SOS, 1, 0]]), torch.tensor([3, 2])
    keep = (torch.arange(3) < lengths[:, None]).unsqueeze(-1)

    def unroll(encoded: Tensor, *_: Tensor) -> Tensor:
        return decoder(tokens, decoder.memory(encoded * keep, lengths))[0]

    assert torch.autograd.gradcheck(unroll, (encoded, *decoder.parameters()), fast_mode=True)
    unroll(encoded, *decoder.parameters()).log_softmax(2)[:, :, 4].sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


def test_stacked_outputs_are_added_and_normalised():
    decoder = build(layers=2, kind="additive", residual=True, layer_norm=True, context="parallel")
    below = torch.randn(1, 5, 4, dtype=torch.float64)
    output = decoder.cells.run(below, torch.zeros(1, 2, 6, dtype=torch.float64), Masks())
    first = decoder.cells.norms[0](decoder.cells[0].run(below, torch.zeros(1, 6).double()))
    second = decoder.cells.norms[1](decoder.cells[1].run(first, torch.zeros(1, 6).double()) + first)
    torch.testing.assert_close(output, second)


def test_a_projection_stands_before_the_output_and_tied_weights_are_the_embedding():
    decoder = build(projection=4, tied=True)
    assert not any("output" in name and "weight" in name for name, _ in decoder.named_parameters())
    output, context = torch.randn(2, 6).double(), torch.randn(2, 4).double()
    inner = torch.tanh(torch.cat([output, context], dim=1) @ decoder.projection.weight.T + decoder.projection.bias)
    expected = inner @ decoder.embedding.weight.T + decoder.output.bias
    torch.testing.assert_close(decoder.scores(output, context), expected)


def test_a_parallel_recurrence_does_not_see_the_utterance():
    decoder = build(kind="dot", context="parallel")
    one, other = remember(decoder), remember(decoder)
    states = [decoder.step(TOKENS[:, 0], decoder.start(memory), memory)[1] for memory in (one, other)]
    assert torch.equal(states[0].hidden, states[1].hidden) and not torch.equal(states[0].context, states[1].context)


@pytest.mark.parametrize("sampling", [0.0, 1.0])
@pytest.mark.parametrize("context", ["input_feeding", "parallel"])
def test_masks_of_variational_dropout_are_the_same_at_all_steps(context, sampling):
    decoder = build(
        kind="additive",
        context=context,
        dropout=0.5,
        regularisation=RegularisationConfig(variational=True, recurrent_dropout=0.5),
    ).train()
    memory, tokens = remember(decoder), TOKENS[:, :1].expand(-1, 4)
    torch.manual_seed(5)
    logits, _ = decoder(tokens, memory, sampling)
    torch.manual_seed(5)
    masks, state = decoder.cells.masks(memory.encoded, decoder.scored), decoder.start(memory)
    assert [mask.shape for mask in masks] == [(3, 4), (2, 3, 6), (2, 3, 6), (3, 10)]
    token = tokens[:, 0]
    for u in range(4):
        state = decoder.advance(decoder.embedding(token) * masks.embedded, state, memory, masks)
        scores = decoder.output(torch.cat([state.output, state.context], dim=1) * masks.output)
        torch.testing.assert_close(scores, logits[:, u])
        token = scores.argmax(1) if sampling else token


def test_recurrent_dropout_and_zoneout_keep_the_default_decoder_off_its_quick_way():
    for regularisation in (RegularisationConfig(recurrent_dropout=0.5), RegularisationConfig(zoneout=0.5)):
        decoder = build(layers=1, dropout=0.0, regularisation=regularisation).train()
        memory = remember(decoder)
        assert not torch.equal(decoder(TOKENS, memory)[0], decoder(TOKENS, memory)[0])


@pytest.mark.parametrize(
    "settings", [{"layers": 1}, {"kind": "dot", "context": "parallel"}, {"projection": 4, "tied": True}]
)
def test_noise_reaches_every_way_through_the_decoder(settings):
    decoder = build(**settings, dropout=0.0).train()
    memory = remember(decoder)
    with noisy(decoder, 0.1):
        logits, _ = decoder(TOKENS, memory)
    logits.square().sum().backward()
    assert not torch.allclose(logits, decoder(TOKENS, memory)[0])
    assert all(p.grad is not None for name, p in decoder.named_parameters() if "key" not in name)


def test_dropout_works_while_training_alone():
    decoder = build(dropout=0.5)
    memory = remember(decoder)
    assert torch.equal(decoder(TOKENS, memory)[0], decoder(TOKENS, memory)[0])
    decoder.train()
    assert not torch.equal(decoder(TOKENS, memory)[0], decoder(TOKENS, memory)[0])


@pytest.mark.parametrize(
    "settings",
    [
        {"units": 0},
        {"layers": 0},
        {"embedding": 0},
        {"dropout": 1.0},
        {"projection": -1},
        {"residual": True},
        {"regularisation": RegularisationConfig(zoneout_memory=0.1)},
    ],
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(UsageError, match=f"decoder.{next(iter(settings))}"):
        DecoderConfig(**settings)
