"""Ranks and counts that the environment tells before Lightning runs."""

import pytest

from seq2seq_asr.training.processes import (
    devices_started_outside,
    is_launched_by_us,
    is_main_process,
    processes_started_outside,
)

ELASTIC = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    ("environment", "main", "ours", "started", "devices"),
    [
        ({}, True, False, 1, None),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True, False, 1, None),  # Lightning's own first process
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False, True, 1, None),
        ({**ELASTIC, "RANK": "0", "LOCAL_RANK": "0"}, True, False, 4, 2),
        ({**ELASTIC, "RANK": "2", "LOCAL_RANK": "0"}, False, False, 4, 2),  # first of the second node
        ({**SLURM, "SLURM_PROCID": "0"}, True, False, 4, 2),
        ({**SLURM, "SLURM_PROCID": "3"}, False, False, 4, 2),
        ({**SLURM, "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"}, True, False, 1, None),  # a shell within a job
        ({**SLURM, "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash", "LOCAL_RANK": "1"}, False, True, 1, None),
    ],
)
def test_place_among_the_processes(
    environment: dict[str, str], main: bool, ours: bool, started: int, devices: int | None, monkeypatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", *ELASTIC, *SLURM, "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() == main
    assert is_launched_by_us() == ours
    assert processes_started_outside() == started
    assert devices_started_outside() == devices
