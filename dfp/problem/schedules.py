"""Schedules: learning rates and batch sizes that change from step to step.

A schedule is any function of the step n = 0, 1, 2, …, an array with one entry per step, or one of the classes here,
which files can record.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from math import cos, pi
from typing import Any, ClassVar

import numpy as np

from dfp import checks
from dfp.checks import Array, foretell, require_memory
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.value import Value, shown

Rule = Callable[[int], Any]
"""A function of the step n >= 0."""


class Rules(Value):
    """Common face of the schedules of this module."""

    kind: ClassVar[str]
    """Its name in configuration files."""

    def record(self) -> dict[str, Any]:
        """Return the schedule as a table for files: its kind and parameters."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {"schedule": self.kind} | {k: recorded(v) for k, v in values.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Schedule(Rules):
    """One value for every step, said to be that: where a plain list could be one value for each parameter as well.

    Parameters
    ----------
    values
        Value at the steps 0, 1, …, shape (N,), >= 0.

    Examples
    --------
    >>> import dfp
    >>> bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
    >>> sgd = dfp.SGD(bowl, learning_rate=dfp.Schedule([0.4, 0.2, 0.1]))
    >>> print(dfp.moments(dfp.MasterEquation(sgd), dfp.Point(1.0), 3).mean.ravel().round(3))
    [1.    0.6   0.48  0.432]
    """

    values: Any

    kind = "values"

    def __post_init__(self) -> None:
        values = checks.array("values", self.values)
        if values.min() < 0:
            raise DFPError(f"values has the entry {values.min():.3g}: must be at least 0.")
        object.__setattr__(self, "values", values)

    def __call__(self, n: int) -> float:
        """Return the value at step ``n``."""
        if n >= len(self.values):
            raise DFPError(f"schedule has {len(self.values)} values: step {n} needs another; give one value per step.")
        return float(self.values[n])


@dataclass(frozen=True, eq=False, repr=False)
class StepSchedule(Rules):
    """Multiply by a factor every so many steps: initial · factor^⌊n / every⌋.

    Parameters
    ----------
    initial
        Value at step 0, > 0. As a batch size: a whole number, with a whole ``factor`` (Smith et al. 2018).
    every
        Steps between changes, >= 1.
    factor
        > 0; above 1 it grows.

    Examples
    --------
    >>> import dfp
    >>> schedule = dfp.StepSchedule(0.4, every=100, factor=0.5)
    >>> print(schedule(99), schedule(100), schedule(200))
    0.4 0.2 0.1
    """

    initial: float
    every: int
    factor: float = 0.1

    kind = "step"

    def __post_init__(self) -> None:
        checks.real("initial", self.initial, above=0)
        checks.integer("every", self.every, at_least=1)
        checks.real("factor", self.factor, above=0)

    def __call__(self, n: int) -> float:
        """Return the value at step ``n``."""
        return self.initial * self.factor ** (n // self.every)


@dataclass(frozen=True, eq=False, repr=False)
class CosineSchedule(Rules):
    """Half a cosine from ``initial`` at step 0 to ``final`` at step ``steps``, constant afterwards.

    Parameters
    ----------
    initial, final
        First and last value, > 0 and >= 0.
    steps
        Length, >= 1.

    Notes
    -----
    Loshchilov and Hutter 2017, without restarts.

    Examples
    --------
    >>> import dfp
    >>> schedule = dfp.CosineSchedule(0.2, steps=100)
    >>> print(schedule(0), round(schedule(50), 3), schedule(100))
    0.2 0.1 0.0
    """

    initial: float
    steps: int
    final: float = 0.0

    kind = "cosine"

    def __post_init__(self) -> None:
        checks.real("initial", self.initial, above=0)
        checks.integer("steps", self.steps, at_least=1)
        checks.real("final", self.final, at_least=0)

    def __call__(self, n: int) -> float:
        """Return the value at step ``n``."""
        return self.final + (self.initial - self.final) * (1 + cos(pi * min(n / self.steps, 1.0))) / 2


@dataclass(frozen=True, eq=False, repr=False)
class WarmUp(Rules):
    """Grow linearly to the first value of another schedule, then follow that schedule from its step 0.

    Parameters
    ----------
    steps
        Length of the warm-up, >= 1: step n < ``steps`` has the fraction (n + 1) / ``steps`` (Goyal et al. 2017).
    then
        A number or a function of the step.

    Examples
    --------
    >>> import dfp
    >>> schedule = dfp.WarmUp(4, dfp.StepSchedule(0.4, every=100))
    >>> print([round(schedule(n), 2) for n in (0, 1, 3, 4, 104)])
    [0.1, 0.2, 0.4, 0.4, 0.04]
    """

    steps: int
    then: float | Rule

    kind = "warm_up"

    def __post_init__(self) -> None:
        checks.integer("steps", self.steps, at_least=1)
        if not callable(self.then):
            checks.real("then", self.then, above=0)

    def __call__(self, n: int) -> float:
        """Return the value at step ``n``."""
        after = max(n - self.steps, 0)
        value = float(self.then(after)) if callable(self.then) else float(self.then)
        return value * min((n + 1) / self.steps, 1.0)


def recorded(value: Any) -> Any:
    """Return a number, a list or a schedule as files keep it; a function that is none of this module by its name."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, Rules):
        return value.record()
    if callable(value):
        return {"schedule": getattr(value, "__qualname__", type(value).__qualname__)}
    return np.asarray(value).tolist()


def read(record: Any) -> Any:
    """Return what ``recorded`` was given: a number or list as it is, a table as its schedule.

    Raises
    ------
    DFPError
        If the table names no schedule, lacks a key or has an unknown one, or a value is out of range.
    """
    if not isinstance(record, dict):
        return record
    kinds: dict[str, Any] = {kind.kind: kind for kind in (Schedule, StepSchedule, CosineSchedule, WarmUp)}
    name = record.get("schedule")
    if not isinstance(name, str) or name not in kinds:
        raise DFPError(f".schedule={checks.shown(name)}: must be one of {', '.join(kinds)}; give one of these.")
    known, given = fields(kinds[name]), {key: value for key, value in record.items() if key != "schedule"}
    for key in given:
        if key not in [f.name for f in known]:
            raise DFPError(f".{key}: is not a known key here; give {', '.join(f.name for f in known)}.")
    for f in known:
        if f.default is MISSING and f.name not in given:
            raise DFPError(f".{f.name}: is missing; add it to the table.")
    values = {}
    for key, value in given.items():
        try:
            values[key] = read(value)
        except DFPError as error:
            raise DFPError(f".{key}{error}") from None
    try:
        return kinds[name](**values)
    except DFPError as error:
        raise DFPError(f".{error}") from None


@dataclass(frozen=True, eq=False, repr=False)
class PerStep(Value):
    """A quantity of every step, as the user gave it: a number, one entry per step, or a function of the step.

    Parameters
    ----------
    name
        What error messages call it.
    given
        What the user gave.
    whole
        Whether it counts samples: whole numbers >= 1; otherwise real, >= 0.
    """

    name: str
    given: Any
    whole: bool = False
    _known: dict[int, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        given = self.given
        if callable(given):
            self.at(0)
        elif isinstance(given, (list, tuple, np.ndarray)):
            values = checks.array(self.name, given)
            for n, value in enumerate(given.tolist() if isinstance(given, np.ndarray) else given):
                self._checked(f"{self.name}[{n}]", value)
            object.__setattr__(self, "given", values)
        else:
            object.__setattr__(self, "given", self._checked(self.name, given))

    def _checked(self, label: str, value: object) -> Any:
        return checks.integer(label, value, at_least=1) if self.whole else checks.real(label, value, at_least=0)

    @property
    def constant(self) -> bool:
        """Whether it is one number."""
        return isinstance(self.given, int | float)

    @property
    def value(self) -> Any:
        """The number, if it is one.

        Raises
        ------
        UnsupportedError
            If it changes from step to step.
        """
        if not self.constant:
            raise UnsupportedError(
                f"{self.name} is a schedule: it has no one value; ask sgd.at(n) for the step n, or give a number."
            )
        return self.given

    def at(self, n: int) -> Any:
        """Return the value at step ``n``.

        Raises
        ------
        DFPError
            If a list has no entry for it, or a function returns something else than a number in range.
        """
        if self.constant:
            return self.given
        if not callable(self.given):
            if n >= len(self.given):
                raise DFPError(
                    f"{self.name} has {len(self.given)} entries: step {n} needs another; give one entry per step or a "
                    "function of the step."
                )
            return int(self.given[n]) if self.whole else float(self.given[n])
        if n not in self._known:
            self._known[n] = self._checked(f"{self.name} at step {n}", self.given(n))
        return self._known[n]

    def values(self, first: int, last: int) -> Array:
        """Return the values at the steps ``first`` … ``last`` − 1, shape (last − first,)."""
        if self.constant:
            return np.full(last - first, float(self.given))
        count, what = last - first, f"{self.name}: its values at {last - first} steps"
        require_memory(what, 40.0 * count, "take fewer steps")  # a list, and an array
        foretell(what, 1e-6 * count, "take fewer steps")  # a microsecond for each call
        return np.array([self.at(n) for n in range(first, last)], dtype=np.float64)

    def record(self, steps: int) -> Any:
        """Return what was given, in the form files keep; other functions with their values at ``steps`` steps."""
        result = recorded(self.given)
        if callable(self.given) and not isinstance(self.given, Rules):
            result["values"] = self.values(0, steps).tolist()
        return result

    def __repr__(self) -> str:
        """Return what was given, long lists by their shape."""
        return shown(self.given)

    def __str__(self) -> str:
        """Return the number, or the words for a schedule."""
        return f"{self.given:g}" if self.constant else "a schedule"
