"""Checks, benchmark and resource report of the GPU kernels, here in Triton's interpreter or without running any."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

TOOLS = Path(__file__).parents[2] / "tools"
OURS = ("gpu_common", "bench_common", "check_gpu", "bench_gpu", "kernel_resources", "gpu_checks", "gpu_benches")


@pytest.fixture
def tool(monkeypatch):
    """Import a tool as a script sees it."""
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setitem(sys.modules, "speechbrain", None)  # as if it were not installed
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.split(".")[0] in OURS:
            del sys.modules[name]


@pytest.fixture
def check(tool, capsys):
    """Run check_gpu and give exit code and lines."""

    def run(*argv: str) -> tuple[int, list[str]]:
        code = tool("check_gpu").main(["--interpreter", *argv])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_checks_of_the_interpreter_pass_one_line_each(check):
    code, lines = check("--only", "peephole, old")
    assert code == 0
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * 2
    assert "2 checks" in lines[-1] and "0 failed" in lines[-1]


def test_parts_share_the_checks_and_texts_add_theirs(check):
    whole = check("--list", "--only", "recurrent", "search step")[1]
    assert whole[0].startswith("recurrent lstm float32")
    parts = [check("--list", "--part", f"{number}/3", "--only", "recurrent", "search step")[1] for number in (1, 2, 3)]
    assert sorted(sum(parts, [])) == sorted(whole) and max(map(len, parts)) - min(map(len, parts)) <= 1
    assert {name.split(":")[0].split()[0] for name in whole} == {"recurrent", "search"}


@pytest.mark.parametrize("part", ["4/3", "0/2", "half"])
def test_a_part_that_is_none_is_refused(part, check, capsys):
    with pytest.raises(SystemExit) as stopped:
        check("--part", part)
    assert stopped.value.code == 2 and f"not {part}" in capsys.readouterr().err


def test_every_module_adds_its_checks(check):
    code, lines = check("--list")
    assert code == 0 and {line.split()[0] for line in lines} >= {"recurrent", "model"}
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("broken", ["outputs", "to_given", "last memory"])
def test_a_kernel_that_is_wrong_is_found(broken, check, tool, monkeypatch):
    module = tool("seq2seq_asr.kernels.recurrent")
    real = module._launch

    def wrong(kernel, settings, like, arguments):
        real(kernel, settings, like, arguments)
        forward = len(arguments) == 12
        if broken == "to_given" and not forward:
            arguments[11][0, 0, 0, 0, 0] += 10
        if forward and broken != "to_given":
            arguments[7 if broken == "outputs" else 11].view(-1)[0] += 10

    monkeypatch.setattr(module, "_launch", wrong)
    code, lines = check("--only", "lstm float32 H=5 B=2 T=4 D=2: equals")
    assert code == 1 and lines[0].startswith("FAILED recurrent lstm float32") and "relative error" in lines[0]


def test_what_is_left_unwritten_is_found(check, tool, monkeypatch):
    monkeypatch.setattr(tool("seq2seq_asr.kernels.recurrent"), "_launch", lambda *given: None)
    code, lines = check("--only", "lstm float32 H=5 B=2 T=4 D=2: equals")
    assert code == 1 and "inf" in lines[0]


def test_a_kernel_that_hangs_is_named_and_ends_the_process(check, tool, monkeypatch):
    hung, ended = tool("check_gpu"), []
    monkeypatch.setattr(hung.os, "_exit", ended.append)
    monkeypatch.setattr(tool("gpu_checks.recurrent"), "results", lambda *given: time.sleep(1) or {})
    _, lines = check("--timeout", "0.2", "--only", "lstm float32 H=5 B=2 T=3 D=2: many launches")
    assert ended[:1] == [1] and any("it hangs" in line for line in lines)


def test_no_check_is_no_success(check):
    assert check("--only", "nothing of the kind")[0] == 1


@pytest.fixture
def sanitizer(tmp_path, monkeypatch):
    """A stand-in for compute-sanitizer that writes down how it is called and fails for one tool."""

    def put(failing: str) -> Path:
        program, said = tmp_path / "compute-sanitizer", tmp_path / "said"
        program.write_text(
            f'#!/bin/sh\necho "$PYTORCH_NO_CUDA_MEMORY_CACHING $@" >> {said}\ntest "$2" != {failing} || exit 3\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return said

    return put


@pytest.mark.parametrize(("failing", "code"), [("none", 0), ("racecheck", 1)])
def test_small_shapes_run_under_every_tool_of_the_sanitizer(failing, code, sanitizer, check):
    said = sanitizer(failing)
    found, lines = check("--sanitize")
    calls = [line.split() for line in said.read_text().splitlines()]
    assert [call[2] for call in calls] == ["memcheck", "racecheck", "synccheck", "initcheck"]
    for call in calls:
        assert call[0] == "1" and call[3:5] == ["--error-exitcode", "3"] and "--small" in call
        assert call[6].endswith("check_gpu.py") and "equals float64" in " ".join(call)
    assert found == code and (failing in lines[-1] if code else "clean" in lines[-1])


def test_without_a_sanitizer_a_clear_line(check, tool, monkeypatch, capsys):
    monkeypatch.setattr(tool("check_gpu").shutil, "which", lambda name: None)
    monkeypatch.setattr(tool("check_gpu").site, "getsitepackages", list)
    assert tool("check_gpu").main(["--interpreter", "--sanitize"]) == 2
    assert "pip install nvidia-cuda-sanitizer-api" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["check_gpu", "bench_gpu"])
def test_without_a_gpu_a_clear_line_and_exit_code_2(name, tool, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        tool(name).main([])
    assert stopped.value.code == 2 and capsys.readouterr().err.startswith("no GPU: ")


@pytest.mark.parametrize("name", ["check_gpu", "bench_gpu"])
def test_names_are_listed_without_a_gpu(name, tool, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tool(name).main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 20


@pytest.mark.parametrize("name", ["check_gpu", "bench_gpu", "kernel_resources"])
def test_help_teaches(name, tool, capsys):
    with pytest.raises(SystemExit) as stopped:
        tool(name).main(["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and f"python tools/{name}.py" in text and "exit code" in text.lower()


@pytest.mark.nightly
def test_benchmark_prints_json_with_median_and_spread(tool, capsys):
    assert (
        tool("bench_gpu").main(
            ["--interpreter", "--repeats", "2", "--only", "layer lstm H=5 B=2 T=4, bfloat16 forward and"]
        )
        == 0
    )
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["backward"] for result in results] == [True]
    for result in results:
        for side in ("ours", "cudnn"):
            assert 0 < result[side]["min_ms"] <= result[side]["median_ms"] <= result[side]["quartile3_ms"]
        assert result["ratio_cudnn"] < 1  # the interpreter is slow
        assert "speechbrain" not in result and {"device", "torch", "triton", "repeats"} <= result.keys()


def test_growth_with_length_sets_two_lengths_beside_each_other(tool):
    bench = tool("gpu_benches.recogniser")
    found = bench.growth(lambda sizes: {"ours": lambda: sizes.seconds}, bench.TINY, bench.BASE)
    assert {name: run() for name, run in found.items()} == {"ours": 0.2, "longer": 15.0}
    assert bench.of_length(bench.BASE, 60.0).targets == 200 and bench.of_length(bench.BASE, 5.0).steps == 17


def test_what_does_not_fit_into_memory_is_skipped(tool, capsys, monkeypatch):
    def full(*given, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tool("gpu_benches.recogniser"), "decode_sides", full)
    tool("bench_gpu").main(["--interpreter", "--repeats", "2", "--only", "whole decode"])
    assert "out of memory" in json.loads(capsys.readouterr().out)["skipped"]


@pytest.mark.nightly
def test_feeding_trains_on_flac_files_and_tells_how_long_it_waited(tool, capsys):
    assert tool("bench_gpu").main(["--interpreter", "--only", "feeding"]) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [len(result["data_wait"]) for result in results] == [2, 2]
    assert all(0 < result["data_wait_median"] < 1 for result in results)


def test_a_kernel_that_cannot_be_used_is_skipped_with_the_reason(tool, capsys, monkeypatch):
    monkeypatch.setattr(tool("seq2seq_asr.nn.fused"), "find_spec", lambda name: None)
    assert (
        tool("bench_gpu").main(["--interpreter", "--repeats", "2", "--only", "layer lstm H=5 B=2 T=4, float32 f"]) == 0
    )
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert results and all("Triton is not installed" in result["skipped"] for result in results)


def test_both_sides_of_the_benchmark_compute_the_same(tool):
    recurrent = tool("gpu_benches.recurrent")
    ours, cudnn = recurrent.Ours(recurrent.TINY_LEVELS), recurrent.Cudnn(recurrent.TINY_LEVELS)
    for layer, other in zip(ours.layers, cudnn.layers, strict=True):
        back = {f"{name}_reverse": value for name, value in layer.back.state_dict().items()}
        other.load_state_dict({**layer.ahead.state_dict(), **back})
    frames = torch.randn(2, 4, 4)
    torch.testing.assert_close(ours(frames), cudnn(frames), rtol=1e-3, atol=1e-4)


SASS = """
        /*0010*/                   STL [R1], R4 ;  /* 0x0 */
        /*0020*/                   FADD R1, R2, R3 ;
        /*0030*/                   LDG.E.STRONG.GPU R22, desc[UR6][R14.64] ;
        /*0040*/              @!P1 BRA 0x30 ;
        /*0050*/                   {} ;
        /*0060*/               @P0 BRA 0x20 ;
        /*0070*/                   LDL.LU R10, [R1] ;
        /*0080*/                   BRA 0x80 ;
"""


@pytest.mark.parametrize(("line", "count"), [("FADD R1, R2, R3", 0), ("LDL R3, [R1+0x4]", 1)])
def test_only_spills_within_the_loop_over_steps_count(tool, line, count):
    assert tool("kernel_resources").spills_a_step(SASS.replace("{}", line)) == count


@pytest.mark.nightly
@pytest.mark.parametrize("kernel", ["lstm float32 H=512 B=16", "gru bfloat16 H=512 B=512"])
def test_slices_stay_on_the_multiprocessor_and_programs_meet(kernel):
    command = [sys.executable, str(TOOLS / "kernel_resources.py"), "--only", kernel]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 2
    for kernel_ in found:
        assert kernel_["spills_a_step"] == 0 and kernel_["shared_bytes"] <= kernel_["planned_bytes"] <= 232_448
        assert kernel_["acquires"] == kernel_["releases"] == 1
        assert kernel_["prefetches"] == 0  # a load that passes a wait would read what is not written yet
