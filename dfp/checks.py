"""Checks at the edge of the library: turn user input into arrays, or say what is wrong and what to give instead."""

import logging
import math
import numbers
import os
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
from dfp_solvers import matrices
from dfp_solvers.arrays import Array as Array
from dfp_solvers.arrays import Complex as Complex
from numpy.typing import NDArray

from dfp.errors import DFPError

TINY = float(np.finfo(np.float64).tiny)
"""Smallest positive normal number: what quotients are kept from dividing by."""
LITTLE = 2.0**27
"""Bytes that are not worth a look at how many are there."""
# Memory in bytes, where the system does not tell.
_UNKNOWN = 8 * 2**30
# Share of it that one result may take.
_SHARE = 0.8


def shown(value: object) -> str:
    """Return a short rendering of a rejected value."""
    value = value.item() if isinstance(value, np.generic) else value
    text = " ".join((np.array2string(value, threshold=6) if isinstance(value, np.ndarray) else repr(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."


def instance(name: str, value: object, kind: type | UnionType, advice: str) -> None:
    """Raise ``DFPError``, with what it must be and what to give as ``advice``, unless ``value`` is of this kind."""
    if not isinstance(value, kind):
        raise DFPError(f"{name}={shown(value)}: {advice}")


def real(
    name: str, value: object, *, above: float = -np.inf, at_least: float = -np.inf, below: float = np.inf
) -> float:
    """Return ``value`` as a finite float inside the stated range.

    Raises
    ------
    DFPError
        If it is not a real number, not finite, or out of range.
    """
    if type(value) is not float:  # abstract classes are slow to ask
        value = scalar(value)
        if _is_boolean(value) or not isinstance(value, numbers.Real):
            raise DFPError(f"{name}={shown(value)}: must be a real number; give a float.")
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    number: float = value
    if not math.isfinite(number):
        raise DFPError(f"{name}={number}: must be finite; give a finite float.")
    if not (number > above and number >= at_least and number < below):
        low = f"above {above:g}" if above > -np.inf else f"at least {at_least:g}" if at_least > -np.inf else ""
        high = f"below {below:g}" if below < np.inf else ""
        wanted = " and ".join(part for part in (low, high) if part)
        raise DFPError(f"{name}={number:g}: must be {wanted}; give a value in that range.")
    return number


def integer(name: str, value: object, *, at_least: int = 0, at_most: int = 2**62) -> int:
    """Return ``value`` as an int inside the stated range.

    Raises
    ------
    DFPError
        If it is not an integer (booleans and floats are not) or out of range.
    """
    value = scalar(value)
    if type(value) is not int and (_is_boolean(value) or not isinstance(value, numbers.Integral)):
        meant = f"a whole number such as {max(at_least, 1)}"
        if isinstance(value, float | np.floating) and float(value).is_integer() and value >= at_least:
            meant = f"a whole number, {int(value)} without a point"
        raise DFPError(f"{name}={shown(value)}: must be an integer; give {meant}.")
    number = int(value)
    if number < at_least:
        raise DFPError(f"{name}={value}: must be at least {at_least}; give a larger integer.")
    if number > at_most:
        raise DFPError(f"{name}={value}: must be at most {at_most}; give a smaller integer.")
    return number


def scalar(value: Any) -> Any:
    """Return the number in an array without axes; anything else as it is."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def choice(name: str, value: object, options: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``options``.

    Raises
    ------
    DFPError
        If it is not; the message lists the options.
    """
    if not isinstance(value, str) or value not in options:
        raise DFPError(f"{name}={shown(value)}: must be one of {', '.join(map(repr, options))}; give one of these.")
    return value


def boolean(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False.

    Raises
    ------
    DFPError
        If it is anything else.
    """
    if not _is_boolean(value):
        raise DFPError(f"{name}={shown(value)}: must be True or False; give one of the two.")
    return bool(value)


# Entries up to which a loop of Python takes half as long as a call of NumPy.
_FEW = 4
# What most arguments are: these hide neither masks nor booleans.
_PLAIN = (np.ndarray, float, int)


def array(name: str, value: object, *, dimensions: tuple[int, ...] = (1,)) -> Array:
    """Return ``value`` as a finite float64 array with one of the allowed numbers of dimensions.

    Raises
    ------
    DFPError
        If it is not numeric, has masked, NaN or infinite entries, is empty, or has another number of dimensions.
    """
    hidden = 0 if type(value) in _PLAIN else _masked(value)
    if hidden:
        raise DFPError(
            f"{name} has {hidden} masked {'entry' if hidden == 1 else 'entries'}: a mask hides values that are not "
            "data; leave those rows out, or fill them, e.g. with numpy.ma.filled."
        )
    try:
        given: NDArray[Any] = np.asarray(value)
        if given.dtype.kind not in "iuf" or (type(value) not in _PLAIN and _has_booleans(value)):
            raise TypeError
        result = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DFPError(f"{name}={shown(value)}: must be an array of real numbers; give a float64 array.") from None
    if result.ndim not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise DFPError(f"{name} has shape {result.shape}: must have {wanted} dimensions; reshape it.")
    if result.size == 0:
        raise DFPError(f"{name} has shape {result.shape}: must not be empty; give at least one value.")
    if not finite(result):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        place = list(where) if where else ""
        raise DFPError(f"{name}{place}={result[where]}: must be finite; remove NaN and infinite entries.")
    return result


def every(conditions: NDArray[np.bool_]) -> bool:
    """Tell whether all entries are true; counting takes less time than ``all`` for the small arrays of a problem."""
    return int(np.count_nonzero(conditions)) == conditions.size


def finite(values: Array) -> bool:
    """Tell whether no entry is NaN or infinite."""
    if values.size <= _FEW:
        return all(map(math.isfinite, values.ravel().tolist()))
    return every(np.isfinite(values))


def _has_booleans(value: object) -> bool:
    """Tell whether nested lists hold a boolean, which NumPy would take for a number."""
    if isinstance(value, np.ndarray):
        return False  # its type says so
    if isinstance(value, (list, tuple)):
        return any(map(_has_booleans, value))
    return _is_boolean(value)


def _is_boolean(value: object) -> bool:
    return isinstance(value, (bool, np.bool_))


def _masked(value: object) -> int:
    """Count the masked entries of an array, also inside lists, where ``asarray`` would take what is behind the mask."""
    if isinstance(value, (list, tuple)):
        return sum(map(_masked, value))
    return int(np.sum(np.ma.getmaskarray(value))) if isinstance(value, np.ma.MaskedArray) else 0


def matching(name: str, value: Array, shape: tuple[int, ...], per: str = "parameter") -> Array:
    """Return ``value`` if its shape is ``shape``; ``per`` says what there is one entry for.

    Raises
    ------
    DFPError
        If the shape differs.
    """
    if value.shape != shape:
        raise DFPError(f"{name} has shape {value.shape}: must be {shape} here; give one entry per {per}.")
    return value


def vector(name: str, value: object, dimension: int) -> Array:
    """Return ``value`` as a vector of shape (d,); a scalar is repeated."""
    given = array(name, value, dimensions=(0, 1))
    return np.full(dimension, float(given)) if given.ndim == 0 else matching(name, given, (dimension,))


def corner(name: str, value: object, dimension: int) -> Array:
    """Return a corner of a box, shape (d,), whose entries may be infinite; a scalar is repeated.

    Raises
    ------
    DFPError
        If it is of anything but real numbers, or of too few or too many.
    """
    try:
        given = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.zeros((0, 0))
    if given.ndim and given.shape != (dimension,):
        raise DFPError(f"{name}={shown(value)}: must have one number per parameter; give {dimension}.")
    return np.broadcast_to(given, (dimension,)).copy()


def alike(name: str, given: int, wanted: int, remedy: str, whose: str = "the landscape") -> None:
    """Raise ``DFPError``, with what to give as ``remedy``, unless two have the same number of parameters."""
    if given != wanted:
        raise DFPError(f"{name} has {given} parameter{'s' * (given != 1)}: {whose} has {wanted}; {remedy}.")


def square(name: str, given: Array, dimension: int) -> Array:
    """Return a matrix of shape (d, d) from one entry for the whole diagonal, the diagonal (d,) or all (d, d)."""
    if given.ndim > 0:
        matching(name, given, (dimension,) * given.ndim)
    if given.ndim == 2:
        return given
    return given.reshape(1, 1) if dimension == 1 else np.eye(dimension) * given


def covariance(name: str, value: object, dimension: int) -> Array:
    """Return a covariance matrix of shape (d, d) from a scalar, variances (d,) or a matrix (d, d).

    Raises
    ------
    DFPError
        If it is not symmetric or not positive semidefinite.
    """
    given = array(name, value, dimensions=(0, 1, 2))
    square(name, given, dimension)  # its shape first
    return square(name, semidefinite(name, given), dimension)


def semidefinite(name: str, value: object) -> Array:
    """Return a covariance of any dimension as it is given: a scalar, variances (d,) or a matrix (d, d).

    Raises
    ------
    DFPError
        If it is not square, not symmetric or not positive semidefinite.
    """
    given = array(name, value, dimensions=(0, 1, 2))
    if given.ndim == 2:
        given = symmetric(name, matching(name, given, (len(given), len(given))))
    values = matrices.eigenvalues(given) if given.ndim == 2 else np.sort(given, axis=None)
    if values[0] < -1e-10 * max(abs(values[-1]), TINY):
        raise DFPError(
            f"{name} has the eigenvalue {values[0]:.3g}: must be positive semidefinite; "
            "check signs, or project it with numpy.linalg.eigh."
        )
    return given


def symmetric(name: str, matrix: Array) -> Array:
    """Return the symmetric matrix ``matrix`` (d, d), with rounding differences averaged away.

    Raises
    ------
    DFPError
        If it differs from its transpose by more than 2e-6 of its largest entry.
    """
    skew = matrix - matrix.T
    if not np.count_nonzero(skew):
        return matrix
    difference = float(np.abs(skew).max())
    # Hessians of automatic differentiation in single precision differ by a few of its units, 1.2e-7.
    if difference > 2e-6 * float(np.abs(matrix).max()):
        raise DFPError(f"{name} differs from its transpose by {difference:.3g}: must be symmetric; use (M + M.T) / 2.")
    return matrix / 2 + matrix.T / 2


def last_step(value: object, *, at_least: int = 0) -> int:
    """Return ``value``, the argument ``steps``, as an int.

    Raises
    ------
    DFPError
        If it is not an integer, or too small; of several steps it says where they go.
    """
    if isinstance(value, list | tuple | range | np.ndarray) and np.ndim(value) == 1 and len(value):
        raise DFPError(
            f"steps={shown(value)}: must be the last step alone; give steps={value[-1]} and the others as save=."
        )
    return integer("steps", value, at_least=at_least)


def step_list(name: str, value: object, last: int) -> NDArray[np.int64]:
    """Return sorted, distinct step numbers between 0 and ``last``.

    Raises
    ------
    DFPError
        If an entry is not an integer, is negative or exceeds ``last``, or if the list is not increasing.
    """
    if isinstance(value, range):  # a list of it, a copy, and differences
        require_memory(f"{name}: {len(value)} steps", 32.0 * len(value), "save fewer")
    if isinstance(value, (range, np.ndarray)):
        whole = np.asarray(value)
        listed = whole.dtype.kind == "i" and whole.ndim == 1 and whole.size > 0
        if listed and whole[0] >= 0 and whole[-1] <= last and np.all(np.diff(whole) > 0):
            return whole.astype(np.int64)  # at once, for there may be millions
    try:
        entries = list(value)  # type: ignore[call-overload]
    except TypeError:
        raise DFPError(f"{name}={shown(value)}: must be a list of steps; give e.g. [0, {last}].") from None
    steps = [integer(f"{name}[{i}]", entry, at_least=0, at_most=last) for i, entry in enumerate(entries)]
    if not steps:
        raise DFPError(f"{name}=[]: must name at least one step; give e.g. [0, {last}].")
    if any(b <= a for a, b in pairwise(steps)):
        raise DFPError(f"{name}={shown(steps)}: must increase; sort it and remove repeated steps.")
    return np.array(steps, dtype=np.int64)


def available_memory() -> int:
    """Return the bytes that can be had now, by the system and by the limits of this process."""
    found = [_UNKNOWN]
    try:
        found = [
            int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvail" in line
        ]
    except (OSError, ValueError, IndexError):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [limit] if limit != resource.RLIM_INFINITY else []
    except ImportError:  # there are none on this system
        pass
    return min(found or [_UNKNOWN])


def require_memory(what: str, needed: float, remedy: str) -> None:
    """Raise ``DFPError`` if ``what`` takes more bytes than there are.

    Parameters
    ----------
    what
        With the name and the value that ask for them.
    needed
        Bytes.
    remedy
        What to do instead.
    """
    if needed < LITTLE:
        return
    room = available_memory()
    if not needed <= _SHARE * room:
        raise DFPError(f"{what} takes {needed / 2**30:.3g} GiB, and {room / 2**30:.3g} GiB are there; {remedy}.")


def places_of(steps: object, saved: NDArray[np.int64]) -> list[int]:
    """Return where one of the ``saved`` steps is, or several in a list."""
    wanted = np.atleast_1d(np.asarray(steps)).tolist()
    missing = [step for step in wanted if step not in saved]
    if missing:
        raise DFPError(f"steps={missing}: were not saved; choose from {saved.tolist()}.")
    return [int(np.flatnonzero(saved == step)[0]) for step in wanted]


TELLING = 120.0
"""Seconds of a forecast that is told to someone who sees no progress."""


def foretell(what: str, seconds: float, remedy: str = "progress=... shows how far it is") -> bool:
    """Tell, in the log, of work that takes long; return whether it does."""
    if seconds > TELLING:
        logging.getLogger("dfp").warning("%s will take some %s; %s.", what, duration(seconds), remedy)
    return seconds > TELLING


def duration(seconds: float) -> str:
    """Return a time in words."""
    for unit, length in (("years", 3.15e7), ("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} s"
