"""Signals that come while torch computes leave its memory as it is (uxlfoundation/oneDNN#4845)."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq_asr.nn.quiet_threads import start_quiet_threads

ROOT = Path(__file__).parents[2]
# A training of an LSTM on two threads in single precision, under a hail of signals that have handlers.
UNDER_SIGNALS = """
import json, os, signal, subprocess, sys, time
from seq2seq_asr.console import run_entry_point

def main(argv):
    import torch
    from seq2seq_asr.nn.quiet_threads import start_quiet_threads
    from seq2seq_asr.nn.recurrent import BidirectionalLayer

    torch.set_num_threads(2)
    before = set(os.listdir("/proc/self/task"))  # with those of numpy's products, which compute nothing for torch
    start_quiet_threads()
    numbers, seen = (signal.SIGALRM, signal.SIGUSR1), []
    for number in numbers:
        signal.signal(number, lambda number, frame: seen.append(number))
    hail = "import os, time\\nwhile True:\\n  time.sleep(2e-3)\\n"
    hail += "".join(f"  os.kill({os.getpid()}, {int(number)})\\n" for number in numbers)
    layer, frames = BidirectionalLayer("lstm", 320, 160), torch.randn(16, 60, 320, requires_grad=True)
    sender = subprocess.Popen([sys.executable, "-c", hail], stderr=subprocess.DEVNULL)
    until, steps = time.monotonic() + float(argv[0]), 0
    while time.monotonic() < until:
        layer(frames, torch.full((16,), 60)).sum().backward()
        steps += 1
    sender.kill()
    deaf = []
    for thread in set(os.listdir("/proc/self/task")) - before:
        status = dict(line.split(":", 1) for line in open(f"/proc/self/task/{thread}/status"))
        deaf.append(all(int(status["SigBlk"], 16) >> (number - 1) & 1 for number in numbers))
    print(json.dumps([steps, sorted(set(seen)), deaf]))
    return 0

run_entry_point(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_training_under_signals_goes_on_and_only_the_main_thread_takes_them() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", UNDER_SIGNALS, "2"]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert told.returncode == 0, told.stderr[-2000:]
    steps, seen, deaf = json.loads(told.stdout)
    assert steps > 0 and seen == [signal.SIGUSR1, signal.SIGALRM]
    assert deaf == [True, True], "one shares torch's operations, one takes the second direction"


def test_the_calling_thread_takes_signals_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        start_quiet_threads()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before | {signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
