"""Which devices and which precision a run gets from its settings and the machine."""

from pathlib import Path

import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.training.devices import cpu_has_bfloat16, find_devices, find_precision
from seq2seq_asr.training.settings import TrainerConfig


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """A machine that says it has so many GPUs, some of which may not be lent to us."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    return request.param


@pytest.mark.parametrize(
    ("gpus", "accelerator", "asked", "found"),
    [
        (0, "auto", 0, ("cpu", 1)),
        (0, "auto", 2, ("cpu", 2)),
        (0, "cpu", 0, ("cpu", 1)),
        (3, "cpu", 0, ("cpu", 1)),
        (3, "auto", 0, ("cuda", 3)),
        (3, "gpu", 2, ("cuda", 2)),
    ],
    indirect=["gpus"],
)
def test_gpus_are_taken_where_there_are_any(gpus: int, accelerator: str, asked: int, found: tuple[str, int]) -> None:
    config = TrainerConfig(accelerator=accelerator, devices=asked)  # type: ignore[arg-type]
    assert find_devices(config) == found


@pytest.mark.parametrize(
    ("gpus", "accelerator", "asked", "why"),
    [
        (0, "gpu", 0, "accelerator: gpu was asked for, but torch sees no GPU"),
        (2, "auto", 3, "devices: 3 a node were asked for, but torch sees 2"),
    ],
    indirect=["gpus"],
)
def test_what_is_not_there_is_told(gpus: int, accelerator: str, asked: int, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        find_devices(TrainerConfig(accelerator=accelerator, devices=asked))  # type: ignore[arg-type]


@pytest.mark.parametrize("gpus", [2], indirect=True)
def test_torchrun_decides_how_many(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert find_devices(TrainerConfig()) == ("cuda", 1)


@pytest.mark.parametrize("gpus", [1], indirect=True)
def test_a_gpu_with_bfloat16_trains_in_it_unless_told_otherwise(gpus: int) -> None:
    assert find_precision(TrainerConfig()) == "bf16-mixed"
    assert find_precision(TrainerConfig(precision="32-true")) == "32-true"


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"architecture": "x86_64", "avx2": True}, False),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_vnni": True, "avx512_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "arm64", "neon": True, "bf16": True}, True),
        ({"architecture": "arm64", "neon": True, "bf16": False}, False),
    ],
)
def test_a_processor_that_would_emulate_bfloat16_trains_in_single_precision(
    capabilities: dict[str, object], native: bool
) -> None:
    assert cpu_has_bfloat16(capabilities) is native


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="Linux lists what its processor can do")
def test_this_processor_is_told_as_the_system_tells_it() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert cpu_has_bfloat16(torch.cpu.get_capabilities()) is bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
