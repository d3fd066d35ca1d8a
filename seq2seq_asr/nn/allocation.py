"""Memory of the C library that CPU training and search allocate and free at every step."""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""
_LARGE = 1 << 30
_LARGEST_OF_OLD = 1 << 25
"""Until version 2.34, glibc refuses a larger threshold for memory of its own mapping."""


def keep_freed_memory() -> bool:
    """Let this process keep freed blocks for the next step in place of handing them back to the system.

    glibc returns large blocks at once, and the system clears every page of the next one: a tenth to a fifth of a
    small CPU training step. The process stays as large as it has been. Does nothing where there is no glibc.

    Returns:
        Whether the C library took the settings.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  another library's mallopt may mean other things
        if not any(library.mallopt(_MMAP_THRESHOLD, size) for size in (_LARGE, _LARGEST_OF_OLD)):
            return False  # the others alone would fix this threshold at its start, which is small
        settings = {_TRIM_THRESHOLD: _LARGE, _ARENA_MAX: 1}  # other arenas hand back anyhow
        return all([library.mallopt(name, value) for name, value in settings.items()])
    return False
