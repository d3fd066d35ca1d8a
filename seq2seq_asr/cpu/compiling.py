"""How the loops are compiled: once a signature, when first called; kept on disk from then on.

Numba compiles a loop anew when the file it stands in has changed, not when one that it calls from another file has: so
what loops call stands in their own file. Where neither the package's folder nor the user's cache is writable, loops are
compiled in every process.
"""

import functools
from collections.abc import Callable
from typing import Any

from numba import njit

_SETTINGS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # a division by zero gives infinity, as in tensors
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},  # sums in any order; infinities and NaN stay what they are
}


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a function that takes arrays and numbers; stands above ``@no_type_check``, as a GPU kernel's does.

    Args:
        options: Of ``numba.njit``, in place of the usual ones.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(**_SETTINGS | options, cache=True)(function)
        except RuntimeError:  # "no locator available": there is no folder to keep it in
            return njit(**_SETTINGS | options)(function)

    return decorate


inlined = functools.partial(compiled, inline="always")
"""The same for arithmetic that loops call, so that they run on vectors."""
