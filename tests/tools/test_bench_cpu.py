"""The CPU benchmark runs on tiny sizes and times what it says; SpeechBrain need not be there."""

import importlib
import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from seq2seq_asr.cpu import products
from seq2seq_asr.nn.compiled_stepping import CompiledStepping
from seq2seq_asr.training.devices import find_precision
from seq2seq_asr.training.settings import TrainerConfig

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setitem(sys.modules, "speechbrain", None)  # as if it were not installed
    for name in ("bench_common", "bench_cpu", "bench_products", "bench_speechbrain"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("bench_cpu")
    for name in ("bench_common", "bench_cpu", "bench_products", "bench_speechbrain"):
        sys.modules.pop(name, None)


@pytest.fixture
def tiny(bench):
    return bench.Sizes(
        utterances=3,
        seconds=0.64,
        units=4,
        decoder=6,
        embedding=4,
        attention=5,
        filters=2,
        width=5,
        vocabulary=12,
        targets=3,
        encoded=10,
        beam=2,
        steps=4,
        candidates=5,
    )


@pytest.mark.parametrize("kind", ["32-true", "bf16-mixed"])
def test_prints_json_for_every_measurement(bench, tiny, kind):
    results = [json.loads(json.dumps(result)) for result in bench.measure(tiny, "all", kind, repeats=2)]
    assert len({result["what"] for result in results}) == len(results) == 7
    for result in results:
        assert 0 < result["ours"]["min_ms"] <= result["ours"]["median_ms"] <= result["ours"]["quartile3_ms"]
        assert "pip install" in result["speechbrain"]
        assert "ratio" not in result
        assert result["sizes"]["vocabulary"] == 12 and result["precision"] == kind
        assert ("products" in result) == (kind == "32-true" and "search" in result["what"])
        assert {"threads", "torch", "cpu", "load_1min", "repeats"} <= result.keys()


def test_by_itself_each_job_has_the_precision_of_its_program(bench, tiny):
    trains_in = find_precision(TrainerConfig(accelerator="cpu"))
    for result in bench.measure(tiny, "all", "auto", repeats=2):
        assert result["precision"] == (trains_in if "training" in str(result["what"]) else "32-true")


@pytest.mark.parametrize("with_ctc", [False, True])
def test_a_search_takes_the_stated_number_of_steps(bench, tiny, monkeypatch, with_ctc):
    model = bench.our_model(tiny, waveform=False)
    taken = []
    step = CompiledStepping.step
    monkeypatch.setattr(CompiledStepping, "step", lambda *given: taken.append(1) or step(*given))
    encoded = bench.searched_states(tiny, 2)
    found = bench.our_search(model, tiny.encoded, tiny, with_ctc=with_ctc)(encoded)
    assert len(taken) == tiny.steps
    assert [len(best[0].tokens) for best in found] == [tiny.steps - 1] * 2


@pytest.mark.parametrize("with_ctc", [False, True])
def test_the_products_alone_are_those_of_the_search(bench, monkeypatch, with_ctc):
    sizes = bench.Sizes(utterances=2, encoded=40, steps=5)
    model, encoded = bench.our_model(sizes, waveform=False), bench.searched_states(sizes, 2)
    counts = []

    def counting(name: str, function) -> None:
        def counted(*given) -> None:
            counts[-1][name, *(array.shape for array in given)] += 1
            function(*given)

        monkeypatch.setattr(products, name, counted)

    for name in ("multiply", "multiply_in_blocks", "mix"):
        counting(name, getattr(products, name))
    model.ctc.register_forward_hook(lambda head, given, _: counts[-1].update([("head", given[0].shape)]))
    search = bench.our_search(model, sizes.encoded, sizes, with_ctc=with_ctc)
    for run in (lambda: search(encoded), bench.products_alone(model, encoded, sizes, with_ctc=with_ctc)):
        counts.append(Counter())
        run()
    assert counts[0] == counts[1] and counts[0].total() == 1 + 2 * sizes.steps + with_ctc


def test_the_ceiling_is_theirs_over_the_products(bench):
    common = sys.modules["bench_common"]
    sides = {"ours": lambda: time.sleep(0.01), "products": lambda: time.sleep(0.002)}
    result = common.measurement("sleep", sides | {"speechbrain": lambda: time.sleep(0.02)}, 5, {})
    assert result["ratio"] < result["ceiling"]


def test_a_training_step_changes_every_weight(bench, tiny):
    model = bench.our_model(tiny, waveform=False)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    bench.training_step(model, bench.our_loss(model), bench.training_batch(tiny, waveform=False), "32-true")()
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


def test_utterances_of_unequal_lengths_end_in_silence(bench, tiny):
    batch = bench.training_batch(tiny, waveform=False, shortest=0.5)
    assert batch.lengths.tolist() == [32, 48, 64] and batch.inputs.shape == (3, 64, 80)
    for one, length in zip(batch.inputs, batch.lengths, strict=True):
        assert not one[length:].any() and one[:length].all()
    full = bench.training_batch(tiny, waveform=True)
    assert full.lengths.tolist() == 3 * [full.inputs.shape[1]] and full.inputs.all()


def test_ratio_is_theirs_over_ours(bench):
    common = sys.modules["bench_common"]
    sides = {"ours": lambda: time.sleep(0.002), "speechbrain": lambda: time.sleep(0.02)}
    result = common.measurement("sleep", sides | {"speechbrain_unpacked": lambda: time.sleep(0.01)}, 5, {})
    assert 2 < result["ratio"] < 20 and 1 < result["unpacked_ratio"] < result["ratio"]
    assert result["ours"]["median_ms"] >= 2


def test_sides_take_turns(bench):
    order = []
    sys.modules["bench_common"].interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 5


@pytest.mark.parametrize("wrong", [("--job", "tea"), ("--repeats", "1")])
def test_wrong_flag_is_a_usage_error(bench, monkeypatch, capsys, wrong):
    monkeypatch.setattr(sys, "argv", ["bench_cpu.py", *wrong])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == 2 and wrong[0] in capsys.readouterr().err
