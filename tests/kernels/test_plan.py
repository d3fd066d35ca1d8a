"""How layers are cut into programs: plain arithmetic, no GPU."""

import itertools

import pytest

from seq2seq_asr.kernels.plan import Gpu, Plan, interpreter_plan, make_plan, power_of_two

H200 = Gpu((9, 0), 132, 232_448)
SIZES = (1, 16, 63, 64, 100, 128, 256, 320, 512, 513, 640, 1000, 1024)


@pytest.mark.parametrize("units", SIZES)
@pytest.mark.parametrize("split", [True, False])
def test_every_size_has_a_plan_whose_programs_run_at_once_and_fit(units, split):
    for directions, batch, gates in itertools.product((1, 2), (1, 16, 17, 32, 33, 64, 500), (1, 4)):
        plan = make_plan(H200, units, directions, batch, split=split, gates=gates)
        assert isinstance(plan, Plan)
        assert plan.programs <= H200.multiprocessors
        assert plan.shared_bytes <= H200.shared_bytes
        assert (plan.slices - 1) * plan.units < units <= plan.slices * plan.units <= plan.width
        assert directions % plan.directions == 0
        assert plan.tiles <= -(-batch // plan.rows)  # none of a launch's programs is idle
        assert plan.width // plan.warps >= 16  # terms of one tensor core product
        assert gates * plan.width // plan.chunks // plan.warps >= 16  # backward


def test_directions_take_turns_where_both_do_not_fit():
    assert make_plan(H200, 1024, 2, 32, split=False).directions == 2
    assert make_plan(H200, 1024, 2, 32, split=True).directions == 1


def test_a_batch_that_does_not_fit_into_one_launch_gets_more_rows_a_program_in_16_bits():
    assert [make_plan(H200, 512, 2, batch, split=False).rows for batch in (32, 33)] == [16, 32]
    assert make_plan(H200, 512, 2, 500, split=True).rows == 16


@pytest.mark.parametrize(
    ("gpu", "units", "reason"),
    [
        (H200, 1025, "1025 hidden units"),
        (Gpu((8, 0), 108, 166_912), 256, "older"),
        (Gpu((9, 0), 63, 232_448), 1024, "64 multiprocessors"),
        (Gpu((12, 0), 170, 101_376), 512, "shared memory"),
    ],
)
def test_what_has_no_plan_says_why(gpu, units, reason):
    assert reason in make_plan(gpu, units, 1, 32, split=False)


def test_a_smaller_gpu_has_plans_too():
    plan = make_plan(Gpu((9, 0), 78, 232_448), 512, 2, 64, split=True)
    assert plan.tiles == 1 and plan.programs == 64


@pytest.mark.parametrize("units", SIZES)
def test_in_the_interpreter_nobody_waits(units):
    plan = interpreter_plan(units, 2, 40, split=True)
    assert plan.slices == 1 and plan.units >= units and plan.tiles * plan.rows >= 40


def test_power_of_two():
    assert [power_of_two(number) for number in (1, 2, 3, 4, 5, 1023, 1024, 1025)] == [1, 2, 4, 4, 8, 1024, 1024, 2048]
