"""Fields of a landscape as users write them: functions of one θ or of many, and covariances of any shape.

What a function takes and returns is found out once, by calling it at a few places; from then on it is a function of
points (N, d) that returns one array per point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.value import Value, shown

Field = Callable[[Array], Array]
# Two answers for one place agree to rounding of whatever the function does.
_SAME = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Vectorised(Value):
    """A field of points (N, d), made of what a user gave.

    Attributes
    ----------
    name
        For messages.
    given
        The function or array of the user.
    dimension, axes
        d, and how many axes of length d a value has: 1 for a gradient, 2 for a covariance or a Hessian.
    one
        Whether it takes one θ at a time.
    short
        How many of these axes values leave out: a matrix may be given as its diagonal, or as a number times I.
    """

    name: str
    given: Any
    dimension: int
    axes: int
    one: bool = False
    short: int = 0

    def __repr__(self) -> str:
        """Return the name of what was given."""
        return shown(self.given)

    def __call__(self, points: Array) -> Array:
        """Return the values at ``points`` (N, d), shape (N, d) or (N, d, d)."""
        if not callable(self.given):
            value = self._filled(np.asarray(self.given, dtype=np.float64)[None])
            return np.broadcast_to(value, self._shape(len(points)))
        if not len(points):
            return np.empty(self._shape(0))
        # Copies: a function may write into its argument.
        values = np.stack([self._asked(p.copy()) for p in points]) if self.one else self._asked(points.copy())
        expected = self._shape(len(points))[: 1 + self.axes - self.short]
        if values.shape != expected:
            raise DFPError(
                f"{self.name}: returned shape {values.shape} for points of shape {points.shape}: must be {expected}; "
                "write it for whole arrays of points (N, d), or for one θ (d,)."
            )
        return self._filled(values)

    def _shape(self, count: int) -> tuple[int, ...]:
        return (count, *(self.dimension,) * self.axes)

    def _asked(self, points: Array) -> Array:
        """Return what the function says, as an array of numbers; its exceptions say where they come from."""
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                found = self.given(points)
            # A copy: a function may return one buffer at every call.
            return np.array(np.ma.filled(found, np.nan), dtype=np.float64)
        except DFPError:
            raise
        except Exception as error:
            raise DFPError(
                f"{self.name}: raised {type(error).__name__} ({error}) for θ of shape {points.shape}; correct it, or "
                f"give dimension= if d is not {self.dimension}."
            ) from error

    def _filled(self, values: Array) -> Array:
        """Return matrices for diagonals or numbers (N, …), vectors for numbers where d = 1."""
        d = self.dimension
        if self.short == 0:
            return values
        if self.axes == 1:
            return values[:, None]
        if self.short == 2:
            return values[:, None, None] * np.eye(d)
        result = np.zeros((len(values), d, d))
        result[:, np.arange(d), np.arange(d)] = values
        return result


def vectorised(name: str, given: Any, dimension: int, axes: int, scale: float) -> Vectorised:
    """Return ``given`` as a field.

    Parameters
    ----------
    given
        A function of points (N, d), or of one θ (d,), whose values have the shape (d,) for ``axes`` = 1; for 2 (d, d),
        (d,) for a diagonal, or () for a multiple of the identity. Fields with two axes may be constant arrays.
    scale
        Length over which the landscape changes: places this far apart, times 1e-3, are looked at.

    Raises
    ------
    DFPError
        If it is neither, raises an exception, or returns another shape or what is not a number.
    """
    if isinstance(given, Vectorised):
        return given
    if not callable(given):
        if axes == 1:
            raise DFPError(f"{name}={checks.shown(given)}: must be a function of points (N, d); give one.")
        value = checks.array(name, given, dimensions=(0, 1, 2))
        checks.matching(name, value, (dimension,) * value.ndim)
        return Vectorised(name, value, dimension, axes, short=2 - value.ndim)
    # More places than parameters, so that no axis of a value can be taken for that of the points.
    count = dimension + 2
    places = 1e-3 * scale * np.sin(np.arange(1.0, count * dimension + 1)).reshape(count, dimension)
    places[0] = 0.0
    many, failure = _answer(Vectorised(name, given, dimension, axes), places)
    for short in _allowed(dimension, axes):
        if many is None or many.shape != (count, *(dimension,) * (axes - short)):
            continue
        found = Vectorised(name, given, dimension, axes, short=short)
        if _answers_alike(found, places, many):
            return found
    one, _ = _answer(Vectorised(name, given, dimension, axes), places[1])
    for short in _allowed(dimension, axes):
        if one is not None and one.shape == (dimension,) * (axes - short):
            return Vectorised(name, given, dimension, axes, True, short)
    if many is None and failure is not None:
        raise failure
    kinds = [("N", *(dimension,) * (axes - short)) for short in _allowed(dimension, axes)]
    shapes = " or ".join(str(kind).replace("'", "") for kind in kinds)
    shape = None if many is None else many.shape
    raise DFPError(
        f"{name}: returned shape {shape} for points of shape {places.shape}: must be {shapes} for N points, or without "
        f"N for one θ of shape ({dimension},); write it so, or give dimension= if d is not {dimension}."
    )


def _allowed(dimension: int, axes: int) -> tuple[int, ...]:
    if axes == 2:
        return (0, 1, 2)
    return (0, 1) if dimension == 1 else (0,)


def _answer(field: Vectorised, places: Array) -> tuple[Array | None, DFPError | None]:
    try:
        return field._asked(places.copy()), None
    except DFPError as error:
        return None, error


def _answers_alike(field: Vectorised, places: Array, many: Array) -> bool:
    """Tell whether a place gets the same answer alone as among others."""
    alone, _ = _answer(field, places[1:2])
    if alone is None or alone.shape != many[1:2].shape:
        return False
    size = float(np.max(np.abs(many), initial=0.0, where=np.isfinite(many)))
    both = np.isfinite(alone) & np.isfinite(many[1:2])
    return bool(np.all(np.abs(alone[both] - many[1:2][both]) <= _SAME * max(size, 1e-300)))
