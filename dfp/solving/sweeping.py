"""``sweep``: a function at every point of a grid of parameters, on any executor, to the same bits, resumable."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.methods.workers import Workers
from dfp.result import call_of
from dfp.results.cube import DONE, Sweep, load_sweep
from dfp.results.writing import checked

# Seconds of work that a task should hold, members it may hold at most, and seconds between two writings of the cube.
_TASK, _MOST, _WRITE = 0.5, 1000, 2.0

Result = dict[str, Array] | str
"""Arrays by name, or why there are none."""


def sweep(
    function: Callable[..., Any],
    axes: Mapping[str, ArrayLike],
    executor: Any = None,
    *,
    save: str | Path | None = None,
    retries: int = 3,
    quiet: bool = False,
) -> Sweep:
    """Return ``function(**point)`` at every point of a grid of parameters.

    Parameters
    ----------
    function
        Called with one value per axis by name; returns a number, an array, a mapping of names to these, or what has a
        ``mean`` and a ``covariance`` (a solution, moments, a density). A ``DFPError`` counts as its answer: NaN, and
        the message is kept. For processes it must be at the top level of a module.
    axes
        Values by name, each of shape (P,): the dimensions of the result.
    executor
        Any ``concurrent.futures.Executor``, or a Dask ``Client``; one after the other, here, if None. The result does
        not depend on it, nor on the number of workers.
    save
        HDF5 file of the cube, written as it grows; if it is there already, only what it lacks is computed. It must be
        of the same function and axes; that the function has not changed nobody can check.
    retries
        How often members are tried anew whose worker died, >= 0.
    quiet
        Do not print the cost before, nor progress.

    Raises
    ------
    DFPError
        If an argument is malformed, results differ in names or shape, the file is of another sweep, or workers died
        more often than ``retries`` allows: what is finished stays in the file.

    Examples
    --------
    >>> import dfp
    >>> def variance(learning_rate):
    ...     sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate)
    ...     return dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.item()
    >>> found = dfp.sweep(variance, {"learning_rate": [0.1, 0.2, 0.4]}, quiet=True)
    >>> print(found.values["value"].round(4))
    [0.0526 0.1111 0.25  ]
    """
    if not callable(function):
        raise DFPError(f"function={checks.shown(function)}: must be callable; give a function of the axes.")
    checks.integer("retries", retries, at_least=0)
    grid = _axes(axes)
    job = _Job(
        _name(function), grid, None if save is None else checked(save, "save"), call_of(sweep, (function, grid), {})
    )
    left = job.left()
    if not left.size:
        return job.cube()
    _check_arguments(function, grid)
    seconds = 0.0
    for place in left[:2]:  # the first may compile and import: the second tells what all others take
        began = time.perf_counter()
        job.add(int(place), _member(function, job.point(int(place))))
        seconds = time.perf_counter() - began
    if not quiet:
        size = sum(array.nbytes for array in job.values.values())
        print(
            f"sweep: {left.size} of {job.finished.size} members, about {seconds * left.size:.3g} s of work in all, "
            f"{size:.3g} bytes",
            file=sys.stderr,
        )
    try:
        with _bar(left.size, quiet) as bar:
            bar.update(min(2, left.size))
            size = int(np.clip(_TASK / max(seconds, 1e-9), 1, _MOST))
            size = min(size, max(1, left.size // 16))
            chunks = [left[i : i + size] for i in range(2, left.size, size)]
            for chunk, results in _computed(function, job, chunks, executor, retries):
                for place, result in zip(chunk, results, strict=True):
                    job.add(int(place), result)
                bar.update(len(chunk))
                job.write(_WRITE)
    finally:
        job.write(0.0)
    return job.cube()


def _axes(axes: Mapping[str, ArrayLike]) -> dict[str, Array]:
    if not isinstance(axes, Mapping) or not axes:
        raise DFPError(
            f"axes={checks.shown(axes)}: must map names to values; give e.g. {{'learning_rate': [0.1, 0.2]}}."
        )
    for name in axes:
        if not isinstance(name, str) or not name.isidentifier() or name == DONE:
            raise DFPError(f"axes has the name {checks.shown(name)}: must be that of a parameter; rename it.")
    return {name: checks.array(f"axes[{name!r}]", values) for name, values in axes.items()}


def _check_arguments(function: Callable[..., Any], axes: Mapping[str, Array]) -> None:
    """Refuse axes that are not the arguments of the function, as far as it tells them."""
    try:
        signature(function).bind(**axes)
    except TypeError as mismatch:
        raise DFPError(
            f"axes={list(axes)}: {_name(function)} takes other arguments ({mismatch}); name them like the axes."
        ) from None
    except ValueError:  # of some builtins
        pass


def _name(function: Callable[..., Any]) -> str:
    inner = getattr(function, "func", function)  # of functools.partial
    return f"{getattr(inner, '__module__', '?')}.{getattr(inner, '__qualname__', type(inner).__name__)}"


def _bar(total: int, quiet: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc="sweep", file=sys.stderr, leave=False, disable=quiet or not sys.stderr.isatty())


class _Job:
    """The cube as it grows."""

    def __init__(
        self, function: str, axes: dict[str, Array], path: str | None, call: Callable[[], dict[str, Any]]
    ) -> None:
        self.function, self.axes, self._path, self._call = function, axes, path, call
        self.shape = tuple(len(values) for values in axes.values())
        self.finished: NDArray[np.bool_] = np.zeros(self.shape, dtype=bool)
        self.values: dict[str, Array] = {}
        self.failures: dict[int, str] = {}
        self._written, self._changed = time.perf_counter(), False
        if path is not None and Path(path).exists():
            self._take(load_sweep(path))

    def _take(self, found: Sweep) -> None:
        same = list(found.axes) == list(self.axes) and all(
            np.array_equal(found.axes[name], values) for name, values in self.axes.items()
        )
        if found.function != self.function or not same:
            raise DFPError(
                f"save={self._path}: holds a sweep of {found.function} over {', '.join(found.axes)}, with other values "
                "or of another function; name another file, or delete it."
            )
        self.finished, self.values, self.failures = found.finished, found.values, found.failures

    def left(self) -> NDArray[np.int64]:
        """Return the indices of members that are not finished."""
        return np.flatnonzero(~self.finished.ravel())

    def point(self, place: int) -> dict[str, float | int]:
        """Return the arguments of a member; whole numbers as integers."""
        index = np.unravel_index(place, self.shape)
        found = {name: float(values[i]) for (name, values), i in zip(self.axes.items(), index, strict=True)}
        whole = {name for name, values in self.axes.items() if np.all(values == np.round(values))}
        return {name: int(value) if name in whole else value for name, value in found.items()}

    def add(self, place: int, result: Result) -> None:
        """Put the result of a member into the cube."""
        self._changed = True
        index = np.unravel_index(place, self.shape)
        self.finished[index] = True
        if isinstance(result, str):
            self.failures[place] = result
            return
        if not self.values:
            total = 8.0 * self.finished.size * sum(array.size for array in result.values())
            checks.require_memory(f"axes: {self.finished.size} members", total, "take fewer points")
            clash = [name for name in result if name in self.axes or name == DONE]
            if clash:
                raise DFPError(f"function returns {clash[0]!r}, which is the name of an axis or taken; rename it.")
            self.values = {name: np.full((*self.shape, *array.shape), np.nan) for name, array in result.items()}
        inner = {name: array.shape[len(self.shape) :] for name, array in self.values.items()}
        given = {name: array.shape for name, array in result.items()}
        if inner != given:
            raise DFPError(
                f"function gave {given} at {self.point(place)}, and {inner} before: names and shapes must be the same "
                "at every point; return quantities on common axes."
            )
        for name, array in result.items():
            self.values[name][index] = array

    def write(self, after: float) -> None:
        """Write the file, if there is one and the last time was so many seconds ago."""
        if self._path is None or not self._changed or time.perf_counter() - self._written < after:
            return
        self.cube().save(self._path)
        self._written, self._changed = time.perf_counter(), False

    def cube(self) -> Sweep:
        found = Sweep(self.axes, self.values, self.finished, self.failures, self.function)
        found._remember(self._call)
        return found


def _member(function: Callable[..., Any], point: dict[str, Any]) -> Result:
    """Return what a member gave, as arrays by name, or the message of a ``DFPError``."""
    try:
        return _named(function(**point))
    except DFPError as error:
        return str(error) or type(error).__name__
    except Exception as error:
        error.add_note(f"dfp.sweep: raised by function at {', '.join(f'{k}={v}' for k, v in point.items())}")
        raise


def _named(given: Any) -> dict[str, Array]:
    if hasattr(given, "mean") and hasattr(given, "covariance") and not isinstance(given, np.ndarray):
        given = {"mean": given.mean, "covariance": given.covariance}
    if not isinstance(given, Mapping):
        given = {"value": given}
    try:
        if any(value is None for value in given.values()):  # NumPy takes it for NaN
            raise TypeError
        return {str(name): np.asarray(value, dtype=np.float64) for name, value in given.items()}
    except (TypeError, ValueError):
        kinds = ", ".join(type(value).__name__ for value in given.values())
        raise TypeError(f"function returned {kinds}: must be numbers, arrays, or a mapping of names to them.") from None


def _members(function: Callable[..., Any], points: list[dict[str, Any]]) -> list[Result]:
    """Return the results of a task: what workers run."""
    return [_member(function, point) for point in points]


def _computed(
    function: Callable[..., Any], job: _Job, chunks: list[NDArray[np.int64]], executor: Any, retries: int
) -> Iterator[tuple[NDArray[np.int64], list[Result]]]:
    """Yield the results of chunks as they are finished; those of workers that died are computed again."""
    tasks = [(function, [job.point(int(place)) for place in chunk]) for chunk in chunks]
    if executor is None:
        for chunk, task in zip(chunks, tasks, strict=True):
            yield chunk, _members(*task)
        return
    workers = Workers(executor, retries)
    try:
        for number, results in workers.results(_members, tasks):
            yield chunks[number], results
    finally:
        workers.close()
