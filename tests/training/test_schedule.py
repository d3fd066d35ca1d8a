import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.training.schedule import (
    OptimizerConfig,
    build_optimizer,
    build_scheduler,
    rate_factor,
    sampling_probability,
)

SCHEDULES = ("cosine", "hold-decay", "constant")
shares = st.floats(0.0, 1.0)


def rates(config: OptimizerConfig, steps: int) -> list[float]:
    """The learning rate that every step of a run is taken with."""
    layer = nn.Linear(2, 2)
    optimizer = build_optimizer(layer, config)
    scheduler = build_scheduler(optimizer, config, steps)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        assert all(group["lr"] == used[-1] for group in optimizer.param_groups)
        optimizer.step()
        scheduler.step()
    return used


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_rate_rises_in_the_warm_up_and_never_after_it(schedule, warmup):
    used = rates(OptimizerConfig(lr=0.1, schedule=schedule, warmup=warmup, hold=0.2), 100)
    peak = round(100 * warmup)
    assert all(0 < rate <= 0.1 for rate in used)
    assert all(earlier < later for earlier, later in zip(used[:peak], used[1 : peak + 1], strict=True))
    assert used[peak] == pytest.approx(0.1)
    assert all(earlier >= later for earlier, later in zip(used[peak:], used[peak + 1 :], strict=False))


def test_cosine_hold_and_constant_end_where_they_should():
    used = {
        schedule: rates(OptimizerConfig(lr=1.0, schedule=schedule, warmup=0.1, hold=0.4), 1000)
        for schedule in SCHEDULES
    }
    assert set(used["constant"][100:]) == {1.0}
    assert used["cosine"][550] == pytest.approx(0.5) and used["cosine"][-1] < 1e-4
    assert set(used["hold-decay"][100:501]) == {1.0}
    assert used["hold-decay"][-1] == pytest.approx(0.01, rel=0.02)
    decay = [math.log(rate) for rate in used["hold-decay"][500:]]
    assert decay[250] == pytest.approx((decay[0] + decay[-1]) / 2, rel=0.01)


@given(shares, st.sampled_from(SCHEDULES), st.floats(0, 3))
def test_rate_stays_between_zero_and_the_peak_even_past_the_end(warmup, schedule, progress):
    config = OptimizerConfig(schedule=schedule, warmup=min(warmup, 0.5), hold=0.4)
    assert 0 <= rate_factor(progress, config) <= 1


@given(st.floats(0, 2), st.floats(0, 2), shares, st.floats(0, 0.99))
def test_sampling_waits_then_rises_to_its_final_probability(progress, later, final, start):
    config = OptimizerConfig(sampling=final, sampling_start=start)
    assert all(sampling_probability(share * start, config) == 0 for share in (0.0, 0.5, 1.0))
    assert sampling_probability(1.0, config) == pytest.approx(final)
    assert sampling_probability((start + 1) / 2, config) == pytest.approx(final / 2)
    low, high = sorted((progress, later))
    assert 0 <= sampling_probability(low, config) <= sampling_probability(high, config) <= final


def test_weight_decay_shrinks_matrices_and_spares_biases_and_frozen_weights():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GRUCell(4, 2))
    module[0].weight.requires_grad_(False)
    optimizer = build_optimizer(module, OptimizerConfig(lr=0.1, weight_decay=0.5))
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in module.named_parameters():
        shrinks = parameter.ndim > 1 and parameter.requires_grad
        torch.testing.assert_close(parameter, before[name] * (0.95 if shrinks else 1.0))


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.0},
        {"lr": float("inf")},
        {"weight_decay": -0.1},
        {"weight_decay": float("inf")},
        {"clip_norm": 0.0},
        {"warmup": -0.1},
        {"warmup": 1.0},
        {"hold": -0.1},
        {"hold": 0.9, "warmup": 0.1, "schedule": "hold-decay"},
        {"sampling": 1.1},
        {"sampling_start": 1.0},
    ],
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        OptimizerConfig(**settings)


def test_a_schedule_without_a_hold_may_warm_up_for_long():
    assert OptimizerConfig(schedule="cosine", warmup=0.8).warmup == 0.8
