"""What made a result: versions of dfp and of the libraries whose arithmetic it used."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, dfp and the libraries it computes with."""
    result = {"python": platform.python_version()}
    for name in ("dfp", "numpy", "scipy", "numba", "h5py"):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "not installed"
    return result
