"""Cutting long recordings: no sample is lost or doubled, pauses are found, and speech without any is cut as well."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq_asr.data.segmenting import Segment, SegmentConfig, energies, plan_segments
from seq2seq_asr.errors import UsageError

CONFIG = SegmentConfig(shortest=0.5, longest=3.0, pause=0.2, margin=0.1)


def power_of(*stretches: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Energies of stretches of (seconds, decibels), each wavering by a decibel."""
    draw = np.random.default_rng(seed)
    levels = np.concatenate([np.full(round(100 * seconds), float(level)) for seconds, level in stretches])
    return 10 ** ((levels + draw.uniform(-0.5, 0.5, len(levels))) / 10)


def covers(segments: list[Segment], frames: int) -> bool:
    """Whether every frame lies in exactly one segment."""
    edges = [0, *(one.end for one in segments)]
    return [one.start for one in segments] == edges[:-1] and edges[-1] == frames and all(a < b for a, b, _ in segments)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.01, 4.0), st.sampled_from([-120.0, -60.0, -45.0, -20.0, -15.0])), max_size=12),
    st.integers(0, 3),
)
def test_every_frame_lies_in_one_segment_and_none_is_too_long(stretches, seed) -> None:
    power = power_of(*stretches, seed=seed) if stretches else np.zeros(0)
    found = plan_segments(power, CONFIG)
    assert covers(found, len(power)) if len(power) else found == []
    assert all(one.end - one.start <= 300 for one in found if not one.quiet)


def test_speech_is_cut_in_its_pauses_and_their_middle_is_left_out() -> None:
    power = power_of((2.0, -20), (0.6, -60), (1.5, -25), (0.5, -58), (2.2, -20))
    one, pause, two, other, three = plan_segments(power, CONFIG)
    assert [s.quiet for s in (one, pause, two, other, three)] == [False, True, False, True, False]
    for cut, (start, end) in ((pause, (210, 250)), (other, (420, 450))):
        assert abs(cut.start - start) <= 4 and abs(cut.end - end) <= 4


@pytest.mark.parametrize("level", [-20.0, -60.0])
def test_what_has_no_pause_is_cut_before_the_maximum(level: float) -> None:
    found = plan_segments(power_of((20.0, level)), CONFIG)
    lengths = [one.end - one.start for one in found]
    assert covers(found, 2000) and not any(one.quiet for one in found) and min(lengths) >= 50 and max(lengths) <= 300


def test_the_cut_is_at_the_quietest_place_when_there_is_no_pause() -> None:
    found = plan_segments(power_of((1.9, -20), (0.12, -24), (2.5, -20)), CONFIG)
    assert len(found) == 2 and 188 <= found[0].end <= 205


def test_a_change_of_background_hides_no_pause() -> None:
    """A quiet room, then a loud one, whose background is louder than the speech before."""
    quiet = [(1.5, -45), (0.5, -75)] * 5
    loud = [(1.5, -10), (0.5, -35)] * 5
    found = plan_segments(power_of(*quiet, (0.5, -35), *loud), CONFIG)
    assert sum(not one.quiet for one in found) == 10


def test_a_long_pause_between_speech_is_quiet_all_through() -> None:
    found = plan_segments(power_of((2.0, -20), (9.0, -60), (2.0, -20)), CONFIG)
    assert [one.quiet for one in found] == [False, True, False]
    assert found[1].end - found[1].start == pytest.approx(880, abs=8)


def test_a_short_word_is_not_cut_off_by_a_short_pause_but_by_a_long_one() -> None:
    near = plan_segments(power_of((0.3, -20), (0.4, -60), (2.0, -20)), CONFIG)
    far = plan_segments(power_of((0.3, -20), (5.0, -60), (2.0, -20)), CONFIG)
    assert [one.quiet for one in near] == [False] and [one.quiet for one in far] == [False, True, False]


def test_no_segment_holds_digital_silence_from_a_pause() -> None:
    power = power_of((2.0, -20), (0.3, -60), (2.0, -20))
    power[205:225] = 0.0
    found = plan_segments(power, CONFIG)
    assert [one for one in found if one.quiet] == [Segment(205, 225, True)]
    power[196:236] = 0.0  # right up to the speech, and into what smoothing takes for it
    found = plan_segments(power, CONFIG)
    assert [one for one in found if one.quiet] == [Segment(196, 236, True)]


def test_energies_are_variances_and_count_the_last_samples(seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0.3, 0.1, 1234).astype(np.float32)
    found = energies(samples, 100)
    wanted = [np.var(samples[start : start + 100].astype(float)) for start in range(0, 1234, 100)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"above": 0.0},
        {"shortest": 0.05},
        {"longest": 0.9},
        {"longest": float("inf")},
        {"pause": 0.01},
        {"margin": 0.0},
        {"margin": float("nan")},
    ],
)
def test_settings_that_cannot_be_used(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SegmentConfig(**wrong)
