"""Asking the C library to keep memory is safe anywhere."""

import ctypes

from seq2seq_asr.nn import allocation


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert allocation.keep_freed_memory() is False
