"""The cache of compiled kernels on disk, which several processes share.

Numba notes in an index where a kernel is before it writes the kernel there, and lets processes do so at once. Another
process, or one that comes after a kill in between, then runs what was there before: the kernel of an older version, or
of other types. Here kernels are written before they are noted, and processes take turns.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

_NEEDED = ("_cache_path", "_load_index", "_save_index", "_save_data", "_data_name", "load", "save")


def guarded(dispatcher: Any) -> Any:
    """Return ``dispatcher``, a kernel of Numba, whose cache is now read and written in turns, if it has one on disk."""
    file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is None or not all(hasattr(file, name) for name in _NEEDED):
        return dispatcher
    load = file.load

    def load_in_turn(key: Any) -> Any:
        with _turn(file._cache_path):
            return load(key)

    def save_in_turn(key: Any, data: Any) -> None:
        with _turn(file._cache_path):
            known = file._load_index()
            taken = set(known.values())
            name = known.get(key) or next(name for name in map(file._data_name, count(1)) if name not in taken)
            file._save_data(name, data)
            file._save_index(known | {key: name})

    file.load, file.save = load_in_turn, save_in_turn
    return dispatcher


@contextmanager
def _turn(folder: str) -> Iterator[None]:
    """Hold the lock of a cache; without one where there can be none, as where nothing can be written."""
    with ExitStack() as held:
        # Windows has no such locks: there Numba gives way to others itself.
        with suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(Path(folder) / "dfp_kernels.lock", os.O_RDWR | os.O_CREAT, 0o666)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Also for a process that was forked meanwhile, which holds it as well.
            held.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)
        yield
