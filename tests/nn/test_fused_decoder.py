"""When the decoder's kernels are taken, and that a decoder then does what it does without; see also tests/kernels."""

import pytest
import torch

pytest.importorskip("triton")
from seq2seq_asr.errors import UsageError  # noqa: E402
from seq2seq_asr.nn.attention import AttentionConfig  # noqa: E402
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig  # noqa: E402
from seq2seq_asr.nn.fused import set_kernels  # noqa: E402
from seq2seq_asr.nn.fused_energies import no_place  # noqa: E402


def build(kernels, kind="location", context="input_feeding", heads=1, smoothing=False, **options):
    attention = AttentionConfig(kind=kind, size=6, filters=2, width=5, heads=heads, smoothing=smoothing)
    config = DecoderConfig(units=7, embedding=4, dropout=0.0, context=context, **options)
    torch.manual_seed(0)
    decoder = Decoder(config, attention, 6, 11)
    set_kernels(decoder, kernels)
    return decoder


def given(steps=3):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(11, (2, steps), generator=generator)
    return inputs, torch.randn(2, 5, 6, generator=generator), torch.tensor([5, 2])


def results(decoder):
    """Token scores, alignments and the gradient of every parameter."""
    inputs, encoded, lengths = given()
    scores, alignments = decoder(inputs, decoder.memory(encoded, lengths))
    scores.square().sum().backward()
    return [scores, alignments, *(p.grad for p in decoder.parameters())]


KINDS = [
    {"kind": "location"},
    {"kind": "additive"},
    {"kind": "scaled_dot", "heads": 2},
    {"kind": "additive", "context": "parallel"},
    {"kind": "additive", "context": "parallel", "heads": 2},
    {"kind": "additive", "context": "parallel", "smoothing": True},
    {"kind": "dot", "context": "parallel", "cell": "lstm", "layers": 2},
    {"kind": "dot", "context": "parallel", "cell": "peephole_lstm"},
    {"kind": "none", "context": "parallel", "cell": "lstm"},
    {"kind": "none", "context": "parallel"},
]


@pytest.mark.parametrize(
    "options", [*KINDS[:5], *(pytest.param(one, marks=pytest.mark.nightly) for one in KINDS[5:])], ids=str
)
def test_kernels_change_nothing(options):
    for ours, expected in zip(results(build("require", **options)), results(build("off", **options)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [KINDS[0], KINDS[1], KINDS[3]], ids=str)
def test_a_step_equals_teacher_forcing(options):
    decoder = build("require", **options)
    inputs, encoded, lengths = given(steps=2)
    memory = decoder.memory(encoded, lengths)
    together, _ = decoder(inputs, memory)
    state, apart = decoder.start(memory), []
    for token in inputs.unbind(1):
        scores, state = decoder.step(token, state, memory)
        apart.append(scores)
    torch.testing.assert_close(together, torch.stack(apart, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [KINDS[0], KINDS[3]], ids=str)
def test_an_utterance_does_not_depend_on_its_batch(options):
    decoder = build("require", **options)
    inputs, encoded, lengths = given(steps=2)
    together, _ = decoder(inputs, decoder.memory(encoded, lengths))
    for row, length in enumerate(lengths.tolist()):
        own = slice(row, row + 1)
        alone, _ = decoder(inputs[own], decoder.memory(encoded[own, :length], lengths[own]))
        torch.testing.assert_close(together[own], alone, rtol=1e-4, atol=1e-5)


def test_beams_share_the_keys():
    """Rows that ask one utterance, as in a search."""
    found = []
    for kernels in ("require", "off"):
        decoder = build(kernels, kind="additive", context="parallel")
        _, encoded, lengths = given()
        memory = decoder.memory(encoded, lengths)
        state = decoder.start(memory).select(torch.arange(2).repeat_interleave(2))
        scores, state = decoder.step(torch.arange(4), state, memory)
        found.append(decoder.step(torch.arange(4), state, memory)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cell": "lstm"}, "GRU"),
        ({"layers": 2}, "GRU"),
        ({"layer_norm": True}, "GRU"),
        ({"kind": "gaussian"}, "attention"),
        ({"kind": "dot", "context": "parallel", "cell": "light_gru"}, "cell"),
        ({"smoothing": True}, "smoothing"),
    ],
    ids=str,
)
def test_required_kernels_that_there_are_not(options, word):
    inputs, encoded, lengths = given()
    decoder = build("require", **options)
    with pytest.raises(UsageError, match=f"model.kernels: require.*{word}"):
        decoder(inputs, decoder.memory(encoded, lengths))
    set_kernels(decoder, "auto")
    decoder(inputs, decoder.memory(encoded, lengths))


def functions(tensor):
    """Names of the autograd functions behind a tensor."""
    found, waiting = {}, [tensor.grad_fn]
    while waiting:
        function = waiting.pop()
        if function is not None and function not in found:
            found[function] = type(function).__name__
            waiting += [parent for parent, _ in function.next_functions]
    return set(found.values())


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({"kind": "location"}, {"_TeacherForcingBackward"}),
        ({"kind": "additive", "context": "parallel"}, {"_AdditiveEnergiesBackward", "_LayerBackward"}),
    ],
    ids=["location", "parallel additive"],
)
def test_kernels_are_taken_where_required_and_never_on_a_cpu_by_themselves(options, taken):
    inputs, encoded, lengths = given(steps=1)
    for kernels, expected in (("require", taken), ("auto", set()), ("off", set())):
        decoder = build(kernels, **options)
        scores, _ = decoder(inputs, decoder.memory(encoded, lengths))
        assert {name for name in functions(scores) if name in taken} == expected


def test_precisions():
    assert no_place(torch.zeros(1, 2, 3)) is None and no_place(torch.zeros(1, 2, 3, dtype=torch.bfloat16)) is None
    assert "float64" in str(no_place(torch.zeros(1, 2, 3, dtype=torch.float64)))
