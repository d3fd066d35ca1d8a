"""How the loops are compiled: once a signature, when first called; kept on disk from then on.

Numba compiles a loop anew when the file it stands in has changed, not when one that it calls from another file has: so
what loops call stands in their own file.
"""

import functools

from numba import njit

compiled = functools.partial(
    njit,
    cache=True,
    nogil=True,
    error_model="numpy",  # a division by zero gives infinity, as in tensors
    fastmath={"contract", "reassoc", "nsz", "arcp"},  # sums in any order; infinities and NaN stay what they are
)
"""Decorator of a function that takes arrays and numbers; stands above ``@no_type_check``, as a GPU kernel's does."""
inlined = functools.partial(compiled, inline="always")
"""The same for arithmetic that loops call, so that they run on vectors."""
