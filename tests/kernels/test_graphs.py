"""What is remembered, and work that runs where there is no GPU to record it."""

import torch

from seq2seq_asr.kernels.graphs import Recent, Replayed


def made_of(keys, limit, weigh):
    """Keys that had to be made when these are asked for one after the other."""
    recent, made = Recent(weigh), []

    def make(key):
        made.append(key)
        return key

    for key in keys:
        assert recent.find(key, lambda key=key: make(key), limit) == key
    return "".join(made), "".join(recent.items())


def test_the_least_recent_gives_way():
    assert made_of("ababcab", 2, lambda _: 1) == ("abcab", "ab")


def test_a_use_counts_as_recent():
    assert made_of("abaca", 2, lambda _: 1) == ("abc", "ca")


def test_heavy_items_drive_out_several_but_never_themselves():
    assert made_of("abXa", 3, lambda key: 9 if key == "X" else 1) == ("abXa", "a")


def test_work_runs_at_every_call():
    counter = torch.zeros(1)
    work = Replayed(lambda: counter.add_(1), torch.device("cpu"))
    for _ in range(4):
        work()
    assert counter == 4
