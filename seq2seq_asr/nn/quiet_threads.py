"""Threads beside the main one take no signals.

While oneDNN multiplies float32 matrices on x86, the stack register of its threads points into the heap. What the
system writes there for the handler of a signal destroys what other tensors are, and the process aborts at some later
time (uxlfoundation/oneDNN#4845; torch 2.11 carries version 3.10.2, version 3.11.2 is mended). The main thread handles
signals on a stack apart, see `seq2seq_asr.console`; threads of C libraries cannot be given one from here.
"""

import signal

import torch

FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
"""What a thread causes itself: blocked, they would end the process without a word."""
_SHARED_SIZE = 1 << 20


def take_no_signals() -> None:
    """Leave signals to the process's other threads, from now on and for all threads that this one starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)


def start_quiet_threads() -> None:
    """Let torch start the threads that share its operations, which take the mask of who starts them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    take_no_signals()
    try:
        torch.zeros(_SHARED_SIZE).exp_()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
