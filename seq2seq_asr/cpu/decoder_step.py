"""The default decoder's step for a search on the CPU: what ``nn.stepping`` computes, in a few loops.

The exponentials stand here because Numba's cache looks for changes in one file alone.
"""

from typing import no_type_check

import numpy as np

from seq2seq_asr.cpu.compiling import inlined

_F = np.float32


@inlined()
@no_type_check
def exp(x):
    """e^x, to 1e-7 of its value, for -87 <= x <= 88; beyond, as at these ends."""
    x = min(max(x, _F(-87.0)), _F(88.0))
    power = np.floor(x * _F(1.4426950408889634) + _F(0.5))
    rest = x - power * _F(0.693359375) + power * _F(2.12194440e-4)  # ln 2 in two parts, the first exact in few bits
    series = _F(1 / 5040)
    series = series * rest + _F(1 / 720)
    series = series * rest + _F(1 / 120)
    series = series * rest + _F(1 / 24)
    series = series * rest + _F(1 / 6)
    series = series * rest + _F(0.5)
    series = series * rest + _F(1)
    series = series * rest + _F(1)
    return series * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined()
@no_type_check
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return _F(1) / (_F(1) + exp(-x))
