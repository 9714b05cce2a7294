"""How kernels are compiled: one place for the Numba flags and the cache switch.

Set ``DFP_NUMBA_CACHE=0`` to keep compiled kernels out of the on-disk cache (on by default, so that a second run
starts at once). Kernels keep their helper functions in the same file, because a cached caller does not notice an
edit elsewhere.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

CACHE = os.environ.get("DFP_NUMBA_CACHE", "1") != "0"

# Reassociation and fused multiply-add keep NaN and infinity visible; flags that assume finite numbers do not.
SAFE_FAST_MATH = frozenset({"contract", "reassoc"})


def kernel(*, parallel: bool = False, fast: bool = False) -> Callable[[F], F]:
    """Return the decorator that compiles a kernel without Python objects.

    Parameters
    ----------
    parallel
        Let ``numba.prange`` loops run on several threads.
    fast
        Let the compiler reorder sums and fuse multiply-adds (never the flags that assume finite numbers).
    """

    def decorate(function: F) -> F:
        return numba.njit(
            function,
            cache=CACHE,
            parallel=parallel,
            error_model="numpy",
            fastmath=set(SAFE_FAST_MATH) if fast else False,
        )

    return decorate
