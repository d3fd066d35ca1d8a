"""Loops of a search for the CPU, compiled by Numba; each mirrors what ``search`` and ``nn`` say in PyTorch.

PyTorch spends microseconds on every call, and a search for one utterance is hundreds of small ones. A loop here takes
NumPy views of tensors (no copies), gives the same results alone and in any batch, and lets go of Python's lock.
"""
