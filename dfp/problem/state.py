"""States: where the parameters are at step 0: a point, a Gaussian, or a density on a grid."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from dfp_solvers import gaussian, matrices
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem import questions
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.parameters import either, listed, told
from dfp.problem.value import Value
from dfp.result import Result


class Ending(Protocol):
    """What ends in a state to go on from, as solutions do."""

    def state(self) -> "Density | StateMoments":
        """Return the law at the last step."""


def started(initial: Any, *, moments: bool = False) -> "State":
    """Return a state as it is, and of what ends in one, such as a ``Solution``, the law at its last step.

    Raises
    ------
    UnsupportedError
        If ``moments`` are asked for, and those of the state do not exist.
    """
    found: State = initial.state() if callable(getattr(initial, "state", None)) else initial
    if moments and isinstance(found, Density) and found.bulk is not found:
        why = found.warnings[0] if found.warnings else "mean or covariance of its law do not exist."
        raise UnsupportedError(
            f"initial: it has no moments, and so later steps have none: {why} Use dfp.solve(...) for densities, or "
            "start from dfp.Density(law.grid, law.values, law.outside), whose moments are those of its cells."
        )
    return found


class Joint(NamedTuple):
    """Moments of (θ, v), v the velocity of momentum."""

    mean: Array
    """Shape (2d,)."""
    covariance: Array
    """Shape (2d, 2d)."""

    @classmethod
    def unknown(cls, d: int) -> "Joint":
        """Return what says that they are not known, NaN."""
        return cls(np.full(2 * d, np.nan), np.full((2 * d, 2 * d), np.nan))

    def of(self, kept: list[int]) -> "Joint":
        """Return those of the parameters ``kept`` alone."""
        both = [*kept, *(i + len(self.mean) // 2 for i in kept)]
        return Joint(self.mean[both], self.covariance[np.ix_(both, both)])


class State(Value, ABC):
    """Where the parameters are at step 0, at rest unless ``joint`` says more: what every kind of state answers."""

    mean: Array
    """Shape (d,) [parameter]."""
    covariance: Array
    """Shape (d, d) [parameter^2]."""
    point: bool = False
    """Whether all mass is at one place."""
    gridded: "Density | None" = None
    """The state itself where it is given by values on a grid, else None."""
    joint: Joint | None = None
    """Moments of (θ, v); NaN where θ is not all that moves and the rest is not known; None at rest, v = 0."""
    moments_only: bool = False
    """Whether nothing but moments is known."""
    parameters: tuple[str, ...] | None = None
    """Names of the parameters, where it has any."""

    @property
    def bulk(self) -> "State":
        """The state with finite moments, by which boxes are found: those of its cells where its law has none."""
        return self

    @property
    def whole(self) -> bool:
        """Whether nothing that moves beside θ is unknown."""
        return self.joint is None or checks.finite(self.joint.covariance)

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of parameters d."""

    def characteristic(self, waves: Array) -> Any:
        """Return E e^{ik·θ} at the wave vectors ``waves`` (..., d), shape (...)."""
        from dfp_solvers import fourier

        return fourier.gaussian(waves, self.mean, self.covariance)

    @abstractmethod
    def quadrature(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Return points (m, d) and masses (m,) that integrate functions, smooth inside the box, over it."""

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Return ``count`` independent points, shape (count, d).

        Examples
        --------
        >>> print(law.draw(3, np.random.default_rng(0)).shape)
        (3, 1)
        """
        return self.sampler().draw(count, rng)

    @property
    def _root(self) -> Array:
        """F with F Fᵀ the covariance, (d, d), its last columns zero where that is singular."""
        root, d = matrices.square_root(self.covariance), self.dimension
        return np.pad(root, ((0, 0), (0, d - root.shape[1])))

    def sampler(self) -> Any:
        """Return the state as the kernels of Monte Carlo draw from it."""
        from dfp_solvers.trajectories.models import Start

        return Start(self.mean, self._root)

    def central_moments(self) -> list[Array]:
        """Return the central moment tensors of order 2, 3, 4, shapes (d,) * order."""
        covariance = self.covariance
        fourth = (
            np.einsum("ij,kl->ijkl", covariance, covariance)
            + np.einsum("ik,jl->ijkl", covariance, covariance)
            + np.einsum("il,jk->ijkl", covariance, covariance)
        )
        return [covariance, np.zeros((self.dimension,) * 3), fourth]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Gaussian(State):
    """A Gaussian state.

    Parameters
    ----------
    mean
        Shape (d,) or a number for d = 1 [parameter].
    covariance
        Shape (d, d), variances of shape (d,), or one variance [parameter^2]; positive semidefinite.

    Raises
    ------
    DFPError
        If shapes disagree, an entry is not finite, or the covariance is not positive semidefinite.

    Examples
    --------
    >>> import dfp
    >>> start = dfp.Gaussian(mean=[1.0, 0.0], covariance=[[0.2, 0.1], [0.1, 0.3]])
    >>> print(start.dimension, start.covariance.diagonal())
    2 [0.2 0.3]
    """

    mean: Array
    covariance: Array

    def __init__(self, mean: ArrayLike, covariance: ArrayLike) -> None:
        centre = checks.array("initial.mean", mean, dimensions=(0, 1)).reshape(-1)
        object.__setattr__(self, "mean", centre)
        object.__setattr__(self, "covariance", checks.covariance("initial.covariance", covariance, centre.size))

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.mean.size)

    def density(self, points: Array) -> Array:
        """Return the density at ``points`` (..., d), shape (...) [1 / parameter^d].

        Raises
        ------
        DFPError
            If the covariance is singular.
        """
        inverse = _whitening(self.covariance)
        z = (points - self.mean) @ inverse.T
        peak = inverse.diagonal().prod() * (2 * np.pi) ** (-self.dimension / 2)
        return peak * np.exp(-0.5 * np.sum(z * z, axis=-1))

    def on(self, grid: Grid) -> Array:
        """Return the density at the cell centres, shape ``grid.cells``; faster than ``density(grid.points)``.

        Raises
        ------
        DFPError
            If the covariance is singular.
        """
        return gaussian.on_grid(grid.axes, self.mean, _whitening(self.covariance))

    def quadrature(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Return Gauss–Legendre nodes of the part of the box within nine deviations.

        Raises
        ------
        DFPError
            If the covariance is singular.
        """
        from dfp_solvers import absorbing

        deviation = np.sqrt(np.diag(self.covariance))
        if np.linalg.eigvalsh(self.covariance)[0] <= 1e-24:
            raise DFPError("initial.covariance is singular: give a wider dfp.Gaussian, or a dfp.Point.")
        near = np.maximum(lower, self.mean - 9 * deviation), np.minimum(upper, self.mean + 9 * deviation)
        if np.any(near[0] >= near[1]):
            return np.empty((0, len(lower))), np.empty(0)
        _, points, weights = absorbing.legendre(*near, ({1: 120, 2: 48, 3: 24}[len(lower)],) * len(lower))
        return points, self.density(points) * weights


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Point(State):
    """All trajectories start at one parameter vector.

    Parameters
    ----------
    theta
        Shape (d,) or a number for d = 1 [parameter].

    Examples
    --------
    >>> import dfp
    >>> start = dfp.Point([1.0, -1.0])
    >>> print(start.mean, start.covariance.ravel())
    [ 1. -1.] [0. 0. 0. 0.]
    """

    theta: Array

    point = True

    def __init__(self, theta: ArrayLike) -> None:
        object.__setattr__(self, "theta", checks.array("initial.theta", theta, dimensions=(0, 1)).reshape(-1))

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.theta.size)

    @property
    def mean(self) -> Array:  # type: ignore[override]
        """The point itself, shape (d,)."""
        return self.theta

    @property
    def covariance(self) -> Array:  # type: ignore[override]
        """Zero, shape (d, d)."""
        return np.zeros((self.dimension, self.dimension))

    def quadrature(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Return the point."""
        return self.theta[None], np.ones(1)


@dataclass(frozen=True, eq=False, repr=False)
class StateMoments(State):
    """A state of which mean (d,), covariance (d, d) and perhaps the moments of (θ, v) are all that is known."""

    mean: Array
    covariance: Array
    joint: Joint | None = None

    moments_only = True

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.mean.size)

    def quadrature(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Refused: it is no law."""
        raise UnsupportedError("initial: its mean and covariance alone are known; start from a law, as dfp.Gaussian.")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Density(Result, State):
    """A density given by its values at the cell centres of a grid.

    Between the centres solvers read it by its waves, or by interpolation. Where it has jumps, as histograms have, every
    cell stands for a point at its centre, with the cell's mass, as soon as a step blurs it; what is still seen of such
    a comb counts as an error. Mass spread evenly over the cells would be another start: densities then differ, as far
    as has been measured, by up to 2e-3 in L1 where a step is as wide as a cell, and less where it is wider.

    Parameters
    ----------
    grid
        Where the values are.
    values
        Non-negative, shape ``grid.cells`` [1 / parameter^d]; with ``outside`` must integrate to one within 1e-6.
    outside
        Mass beyond the grid, in [0, 1), where it is known.
    error
        Estimated L1 error of the values, >= 0, where they were computed; 0 where they are given or exact.
    parameters
        What is on the axes, d names: labels alone; ``theta_1``, … if left out.
    warnings
        What to worry about, in words: cause, value, remedy.
    above
        Part of ``outside`` that is above the grid, d = 1, where the sides are known; None where they are not.
    unplaced
        Whether what is ``outside`` may have any value along the axes of the grid, as of marginals.

    Notes
    -----
    Laws with power-law tails need not have moments. Then, here and in solutions, a mean that does not exist is NaN, a
    variance is inf, for the mean square about every place is, and covariances with that parameter are NaN. ``warnings``
    say why.

    Raises
    ------
    DFPError
        If the shape differs from the grid's, a value is negative or not finite, or the mass is not one; use
        ``Density.normalised`` to rescale.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> grid = dfp.Grid(-4.0, 4.0, 80)
    >>> start = dfp.Density.normalised(grid, np.exp(-np.abs(grid.axes[0])))
    >>> print(abs(start.mean.round(6)), round(start.probability(-1.0, 1.0), 2))
    [0.] 0.64
    """

    grid: Grid
    values: Array
    outside: float
    error: float
    parameters: tuple[str, ...] = field(compare=False)
    warnings: tuple[str, ...]
    above: float | None
    unplaced: bool
    # Moments known better than by the cells, of θ and of (θ, v), with the grid and the values that they are of.
    _known: tuple[Grid, Array, Array, Array, Joint | None] | None = field(compare=False)
    _moments: tuple[float, Array, Array] = field(init=False)

    def __init__(
        self,
        grid: Grid,
        values: ArrayLike,
        outside: float = 0.0,
        error: float = 0.0,
        parameters: Sequence[str] = (),
        warnings: Sequence[str] = (),
        above: float | None = None,
        unplaced: bool = False,
        _known: Any = None,
    ) -> None:
        checks.instance("initial.grid", grid, Grid, "must be a dfp.Grid; give dfp.Grid(lower, upper, cells).")
        given = checks.array("initial.values", values, dimensions=(1, 2, 3))
        checks.matching("initial.values", given, grid.cells)
        if given.min() < 0:
            raise DFPError(f"initial.values has the entry {given.min():.3g}: a density must not be negative; clip it.")
        object.__setattr__(self, "parameters", either(parameters, grid.dimension))
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "values", given)
        object.__setattr__(self, "outside", checks.real("initial.outside", outside, at_least=0, below=1))
        object.__setattr__(self, "error", checks.real("initial.error", error, at_least=0))
        object.__setattr__(self, "warnings", tuple(map(str, warnings)))
        object.__setattr__(self, "above", None if above is None else self._part_above(above))
        object.__setattr__(self, "unplaced", checks.boolean("initial.unplaced", unplaced))
        moments, known = grid_moments(grid, given), None
        if _known is not None and _known[0] is grid and _known[1] is values:  # not of others that take their place
            moments, known = (moments[0], *_known[2:4]), (grid, given, *_known[2:])
        object.__setattr__(self, "_moments", moments)
        object.__setattr__(self, "_known", known)
        if not abs(self.mass + self.outside - 1) <= 1e-6:
            raise DFPError(f"initial.values integrates to {self.mass:.8g}: must be 1; use Density.normalised(...).")

    def _part_above(self, above: float) -> float:
        found = checks.real("initial.above", above, at_least=0)
        if self.grid.dimension > 1 or found > self.outside:
            raise DFPError(f"initial.above={found:g}: must be at most outside={self.outside:g}, for d = 1; lower it.")
        return found

    def _state(self) -> tuple[Any, ...]:
        return *super()._state(), self._moments, self.joint

    def __replace__(self, /, **changes: Any) -> "Density":
        """Return the same with other arguments, with the moments that are known if these are still its own."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        """Return cells, mean, what is outside, and how many warnings there are, in one line."""
        cells = "×".join(map(str, self.grid.cells))
        of = f" of {listed(self.parameters)}" if told(self.parameters) else ""
        mean = np.array2string(self.mean, precision=5)
        worries = f", {len(self.warnings)} warning(s)" if self.warnings else ""
        return f"<Density{of} on {cells} cells: mean {mean}, outside {self.outside:.1e}{worries}>"

    def __str__(self) -> str:
        """Return the line, and the warnings."""
        return "\n".join([repr(self), *(f"  ! {warning}" for warning in self.warnings)])

    @classmethod
    def _restored(
        cls,
        *,
        mean: Array | None,
        covariance: Array | None,
        joint: dict[str, Any] | None = None,
        above: float = np.nan,
        unplaced: float = 0.0,
        **given: Any,
    ) -> "Density":
        """Return what a file holds; those of earlier versions hold no moments."""
        found = cls(**given, above=None if np.isnan(above) else above, unplaced=bool(unplaced))
        if mean is None or covariance is None:
            return found
        known = joint is not None and joint["mean"] is not None
        better = found.with_moments(mean, covariance, Joint(**joint) if joint and known else None)
        return found if better == found else better

    @classmethod
    def normalised(cls, grid: Grid, values: ArrayLike, error: float = 0.0) -> Self:
        """Return the density proportional to ``values`` (shape ``grid.cells``), with an estimated L1 ``error``.

        Examples
        --------
        >>> grid = dfp.Grid(-4, 4, 64)
        >>> print(round(dfp.Density.normalised(grid, np.exp(-np.abs(grid.axes[0]))).mass, 12))
        1.0
        """
        given = checks.array("initial.values", values, dimensions=(1, 2, 3))
        mass = float(given.sum()) * grid.cell_volume
        if not mass > 0:
            raise DFPError(f"initial.values integrates to {mass:.3g}: must be positive; check the values.")
        return cls(grid, given / mass, error=error)

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.grid.dimension

    @property
    def joint(self) -> Joint | None:  # type: ignore[override]
        """Moments (2d,), (2d, 2d) of (θ, v) where it has momentum, NaN if they are not known; None at rest."""
        return None if self._known is None else self._known[4]

    def with_moments(self, mean: Array, covariance: Array, joint: Joint | None = None) -> "Density":
        """Return the density with moments (d,), (d, d) that are known better than by its cells, and those of (θ, v).

        They are NaN or infinite where they do not exist.

        Examples
        --------
        >>> print(law.with_moments(law.mean, np.array([[0.1]])).covariance)
        [[0.1]]
        """
        d = self.dimension
        first, second = np.array(mean, dtype=np.float64), np.array(covariance, dtype=np.float64)
        checks.matching("mean", first, (d,))
        checks.matching("covariance", second, (d, d))
        return replace(self, _known=(self.grid, self.values, first, second, joint))

    @property
    def bulk(self) -> "Density":
        """The density itself or, where its law lacks moments, with those of its cells, by which boxes are found.

        Examples
        --------
        >>> law.bulk is law
        True
        """
        if checks.finite(self.mean) and checks.finite(self.covariance):
            return self
        return replace(self, _known=None)

    @property
    def mass(self) -> float:
        """Integral of the values by the trapezoidal rule."""
        return self._moments[0]

    @property
    def mean(self) -> Array:  # type: ignore[override]
        """Mean, shape (d,) [parameter]."""
        return self._moments[1]

    @property
    def covariance(self) -> Array:  # type: ignore[override]
        """Covariance, shape (d, d) [parameter^2]."""
        return self._moments[2]

    @property
    def gridded(self) -> "Density":  # type: ignore[override]
        """The state itself."""
        return self

    def marginal(self, axes: questions.Axes) -> "Density":
        """Return the law of the parameters ``axes`` alone, by place from 0 or by name.

        Examples
        --------
        >>> print(plane.state().marginal([0]).dimension)
        1
        """
        kept = questions.kept_axes(axes, self.parameters)
        grid, values = questions.marginal(self.grid, self.values, kept)
        unplaced = self.unplaced or len(kept) < self.dimension
        above = None if unplaced else self.above
        names = [self.parameters[i] for i in kept]
        found = Density(grid, values, self.outside, self.error, names, self.warnings, above, unplaced)
        if self._known is None:
            return found
        joint = None if self.joint is None else self.joint.of(kept)
        return found.with_moments(self.mean[kept], self.covariance[np.ix_(kept, kept)], joint)

    def probability(self, lower: ArrayLike, upper: ArrayLike) -> float:
        """Return the probability of the box from ``lower`` to ``upper`` (d,), which may be infinite.

        What is outside the grid counts where it is known to be in the box: all of it in a box without ends, and what is
        on its side of a line. Where it is not known, the answer lacks at most a hundredth of itself, or 1e-6, or
        1e-12 on a line whose sides are known.

        Raises
        ------
        DFPError
            If a corner is malformed, or more than that may be missing.

        Examples
        --------
        >>> print(round(law.probability(-np.inf, 0.5), 4))
        0.9332
        """
        beyond = questions.Outside(self.outside, self.above, self.unplaced)
        return questions.probability(self.grid, self.values, lower, upper, beyond, steps=False)

    def quantile(self, q: ArrayLike, axis: int | str = 0) -> Any:
        """Return where the shares ``q`` in (0, 1) are below, along ``axis`` [parameter].

        A number for one share, an array (Q,) for a list: of the law where it is known how much of it is below the grid
        and how much above, on a line; else of what is on the grid.

        Raises
        ------
        DFPError
            If a share or the axis is malformed, or what is outside the grid is much of the tail that is asked for.

        Examples
        --------
        >>> print(law.quantile([0.25, 0.75]).round(4))
        [-0.2248  0.2248]
        """
        kept = questions.kept_axes(axis, self.parameters)
        beyond = questions.Outside(self.outside, self.above, self.unplaced)
        return questions.quantile(self.grid, self.values, q, kept, beyond, steps=False)

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return ``n`` independent points of what is on the grid, shape (n, d) [parameter].

        Examples
        --------
        >>> print(law.sample(1000, seed=1).shape)
        (1000, 1)
        """
        return questions.drawn(self.grid, self.values, n, seed, steps=False)

    def interpolate(self, points: ArrayLike) -> Array:
        """Return the density at ``points`` (..., d), shape (...), by quintic splines; zero outside the grid.

        Examples
        --------
        >>> print(law.interpolate([[0.0], [0.5]]).round(4))
        [1.1968 0.3886]
        """
        return questions.interpolated(self.grid, self.values, points, steps=False)

    def quadrature(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Return the centres of all cells.

        Examples
        --------
        >>> points, masses = law.quadrature(law.grid.lower, law.grid.upper)
        >>> print(round(float(masses @ points[:, 0] ** 2), 4))
        0.1111
        """
        return self.grid.points.reshape(-1, self.dimension), self.values.ravel() * self.grid.cell_volume

    def characteristic(self, waves: Array) -> Any:
        """Return it by interpolation of the discrete Fourier transform of the values.

        Examples
        --------
        >>> print(abs(law.characteristic(np.array([[0.0], [1.0]]))).round(4))
        [1.    0.946]
        """
        from dfp_solvers import fourier

        return fourier.gridded(self.values, self.grid.lower, self.grid.spacing, waves, separable=False)

    def sampler(self) -> Any:
        """Return the cells by their mass, uniform inside each.

        Examples
        --------
        >>> print(law.sampler().draw(3, np.random.default_rng(0)).shape)
        (3, 1)
        """
        from dfp_solvers.trajectories.models import Start

        cumulative = np.cumsum(self.values.ravel())
        none = np.zeros((self.dimension, self.dimension))
        place = self.grid.lower, self.grid.spacing, self.grid.cells
        return Start(self.mean, none, cumulative / cumulative[-1], *place)

    def central_moments(self) -> list[Array]:
        """Return them by the trapezoidal rule.

        Examples
        --------
        >>> print([tensor.shape for tensor in law.central_moments()])
        [(1, 1), (1, 1, 1), (1, 1, 1, 1)]
        """
        d, probability = self.dimension, (self.values * (self.grid.cell_volume / self.mass)).ravel()
        x = (self.grid.points - self.mean).reshape(-1, d)
        pairs = (x[:, :, None] * x[:, None, :]).reshape(-1, d * d)
        third = ((pairs * probability[:, None]).T @ x).reshape((d,) * 3)
        fourth = ((pairs * probability[:, None]).T @ pairs).reshape((d,) * 4)
        return [self.covariance, third, fourth]


def _whitening(covariance: Array) -> Array:
    try:
        return matrices.whitening(covariance)
    except np.linalg.LinAlgError:
        smallest = float(np.linalg.eigvalsh(covariance)[0])
        raise DFPError(
            f"covariance has the eigenvalue {smallest:.3g}: a density needs a positive definite covariance; "
            "widen the initial state, or look at steps where every direction has received noise."
        ) from None
