"""Parts of a batch that are computed at once."""

import threading

import pytest

from seq2seq_asr.cpu.parts import at_once, parts_of
from seq2seq_asr.nn.two_threads import threads


@pytest.mark.parametrize("count", [1, 2, 7, 64])
@pytest.mark.parametrize("least", [1, 3, 100])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_parts_are_the_whole_in_order(count, least, most) -> None:
    with threads(most):
        parts = parts_of(count, least)
    sizes = [part.stop - part.start for part in parts]
    assert [place for part in parts for place in range(count)[part]] == list(range(count))
    assert len(parts) == 1 or (min(sizes) >= least and max(sizes) - min(sizes) <= 1)
    assert len(parts) == max(1, min(most, count // least))


def test_each_is_computed_once_and_at_the_same_time() -> None:
    met, seen = threading.Barrier(2, timeout=30), []

    def meet(part: slice) -> None:
        met.wait()
        seen.append(part.start)

    at_once(meet, [slice(0, 1), slice(1, 2)])
    assert sorted(seen) == [0, 1]


@pytest.mark.parametrize("bad", [0, 1])
def test_what_goes_wrong_in_a_part_is_raised_when_all_are_done(bad) -> None:
    done = []

    def work(part: slice) -> None:
        if part.start == bad:
            raise ValueError("bad")
        done.append(part.start)

    with pytest.raises(ValueError, match="bad"):
        at_once(work, [slice(0, 1), slice(1, 2)])
    assert done == [1 - bad]


def test_one_part_needs_no_thread() -> None:
    here = []
    at_once(lambda part: here.append(threading.current_thread()), [slice(0, 4)])
    assert here == [threading.current_thread()]
