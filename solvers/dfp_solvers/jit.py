"""How kernels are compiled: one place for the Numba flags and the cache switch.

Set ``DFP_NUMBA_CACHE=0`` to keep compiled kernels out of the on-disk cache (on by default, so that a second run
starts at once). Kernels keep their helper functions in the same file, because a cached caller does not notice an
edit elsewhere.

A process that was forked after its parent had started threads must not use them: GNU OpenMP ends it, and whoever
waits for it waits for ever. There kernels with threads run on one, and their results are the same bits. Numba's
workqueue, its threads where there is no OpenMP, ends a process in which two Python threads use it at once: there they
take turns.
"""

import functools
import os
import threading
import types
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

from dfp_solvers.kernel_cache import guarded

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
        # Without the lock of the interpreter: other Python threads go on, among them the one that hears Ctrl-C.
        options = {
            "cache": CACHE,
            "nogil": True,
            "error_model": "numpy",
            "fastmath": set(SAFE_FAST_MATH) if fast else False,
        }
        if not parallel:
            return cast(F, guarded(numba.njit(function, **options)))
        threaded, alone = numba.njit(function, parallel=True, **options), numba.njit(_renamed(function), **options)
        return _forkable(function, guarded(threaded), guarded(alone))

    return decorate


def _renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function under another name: the cache tells kernels by name and code, not by their flags."""
    copied = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copied.__qualname__ = copied.__name__ = function.__name__ + "_on_one_thread"
    copied.__module__ = function.__module__
    return copied


def _forkable(function: F, threaded: Callable[..., Any], alone: Callable[..., Any]) -> F:
    """Return ``threaded``, but ``alone`` in a process that has lost its threads by a fork."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if _lost_threads:
            return alone(*arguments)
        if _layer() in ("omp", "tbb"):
            return threaded(*arguments)
        with _turn:
            return threaded(*arguments)

    return cast(F, call)


_lost_threads = False
_turn = threading.Lock()


@functools.lru_cache(maxsize=1)
def _started_layer() -> str:
    """Return the name of Numba's threads; raises ``ValueError`` while none are started, which is not kept."""
    return str(numba.threading_layer())


def _layer() -> str | None:
    try:
        return _started_layer()
    except ValueError:
        return None


def _after_fork() -> None:
    global _lost_threads, _turn
    _lost_threads, _turn = _layer() is not None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
