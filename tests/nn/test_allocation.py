"""Asking the C library to keep memory is safe anywhere."""

import ctypes

import pytest

from seq2seq_asr.nn import allocation


class Glibc:
    """Takes thresholds up to a limit, as versions before 2.35 do for memory of its own mapping (-3)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: dict[int, int] = {}

    def gnu_get_libc_version(self) -> bytes:
        return b"2.31"

    def mallopt(self, name: int, value: int) -> int:
        if name == -3 and value > self.limit:
            return 0
        self.kept[name] = value
        return 1


@pytest.mark.parametrize(("limit", "threshold"), [(1 << 40, 1 << 30), (1 << 25, 1 << 25), (0, None)])
def test_an_older_glibc_gets_the_largest_threshold_that_it_takes(limit, threshold, monkeypatch):
    library = Glibc(limit)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert allocation.keep_freed_memory() is (threshold is not None)
    assert library.kept == ({-3: threshold, -1: 1 << 30, -8: 1} if threshold else {}), "all of them, or none"


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert allocation.keep_freed_memory() is False
