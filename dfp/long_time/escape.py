"""Escape from a well at finite learning rate: how SGD leaves, how long it takes, what Langevin makes of it (T24)."""

from typing import Any, NamedTuple

import numpy as np
from dfp_solvers.escape import line, quasipotential
from numpy.typing import ArrayLike
from scipy.optimize import root

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.long_time import first_passage_line, first_passage_numeric
from dfp.long_time.committor import Committor, committor_between
from dfp.long_time.escape_law import Escape
from dfp.long_time.first_passage import exit_steps
from dfp.problem.equations import Langevin, MasterEquation
from dfp.problem.grid import Grid
from dfp.problem.parameters import labelled
from dfp.problem.sgd import SGD
from dfp.problem.state import Density, Point
from dfp.result import remembered

# Relaxation times that a path of least action takes, and steps without noise after which a start has settled.
_RELAXED = 26.0
_FOLLOWED = 20_000
# A learning rate times the Hessian up to which steps follow the flow, and steps after which that is looked at.
_SHORT, _REGARDED = 0.02, 8
# Where a side is open, the box is widened until the mean changes by less than this, relatively; and how often.
_CUT, _WIDENED = {1: 1e-9, 2: 1e-5}, 12
# Where the next box is not resolved, what the last one changed is still an error, up to this share of the mean.
_LEFT = 0.02
# Which of these boxes holds a diffusion, whose steps do not overshoot: ten deviations.
_FAR_BOX = 4
_CELLS = 512


@remembered
def escape(sgd: SGD, start: ArrayLike, domain: Any) -> Escape:
    """Return how SGD leaves the well that ``start`` settles into: the path of least action, mean steps, committor.

    Parameters
    ----------
    sgd
        Plain SGD (one learning rate, no momentum, drawn with replacement) on any landscape with Gaussian noise, d = 1
        or 2.
    start
        A place in the well, shape (d,): SGD without noise settles from there at the bottom.
    domain
        ``(lower, upper)``, corners of shape (d,) or numbers: SGD has left at the first step at which it is outside.
        Sides may be infinite, but not all: ``(0, np.inf)`` for the right one of two wells.

    Returns
    -------
    Escape
        Action and path at this learning rate (T24) and in the Langevin limit, which mechanism, mean exit steps of (T4)
        and of (T6), the law before it leaves, and the committor to the well it falls into.

    Raises
    ------
    UnsupportedError
        If d > 2, SGD is not plain or its noise is not Gaussian.
    DFPError
        If ``start`` is outside, does not settle, or nothing leads out of the domain.

    Notes
    -----
    Noise of covariance εC leaves after exp(V/ε + o(1/ε)) steps, V the action at ε = 1. The mean is solved for, not
    estimated from V; ``prefactor`` is what it is beyond exp(V).

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> well = dfp.Landscape(lambda t: t**3 - t, 0.1, hessian=lambda t: 3 * t**2 - 1)
    >>> found = dfp.escape(dfp.SGD(well, 0.5), start=-1.0, domain=(-np.inf, 0.0))
    >>> print(found.mechanism, f"{found.mean_steps:.3g}", f"{found.langevin_mean_steps:.3g}")
    thrown across 2.43e+04 1.02e+05
    """
    _check(sgd)
    lower, upper = _corners(domain, sgd.dimension)
    well = _well(sgd, checks.vector("start", start, sgd.dimension), lower, upper)
    scale = float(getattr(sgd.landscape, "scale", 1.0))
    # Until the path is as near to the well as rounding tells: some numbers for each step.
    slowest = float(np.linalg.eigvalsh(sgd.local.hessian_at(well[None])[0])[0])
    count = _RELAXED / (sgd.learning_rate * slowest)
    checks.require_memory(
        f"learning_rate={sgd.learning_rate:g}: a path of some {count:.2g} steps", 128.0 * sgd.dimension * count,
        "raise it",
    )  # fmt: skip
    try:
        found, flow = quasipotential.least_exit(sgd.local, sgd.learning_rate, well, lower, upper, scale)
    except ValueError as failure:
        raise DFPError(f"domain={checks.shown(domain)}: {failure}; give walls on its open sides.") from None
    notes = [] if found.converged else ["the path of least action did not converge to rounding; its action is a bound."]
    exact, langevin = _means(sgd, well, lower, upper, notes)
    across = _beyond(sgd, found.path)
    between = None
    if across is not None and exact is not None:
        between = _committor(sgd, well, across, exact, notes)
    return Escape(
        learning_rate=sgd.learning_rate,
        well=well,
        across=across,
        action=found.action,
        langevin_action=flow.action,
        path=found.path,
        langevin_path=_every_step(flow, sgd.learning_rate),
        mechanism="thrown across" if quasipotential.thrown(found.path) else "climbs",
        mean_steps=np.nan if exact is None else exact.mean,
        mean_error=np.nan if exact is None else exact.error,
        langevin_mean_steps=langevin,
        quasi_stationary=None if exact is None or exact.law is None else labelled(exact.law, sgd),
        committor=between,
        warnings=tuple(notes),
        parameters=sgd.parameters or (),
    )


def _check(sgd: SGD) -> None:
    if not isinstance(sgd, SGD):
        raise DFPError(f"sgd={checks.shown(sgd)}: must be a dfp.SGD; give dfp.escape(sgd, start, domain).")
    if sgd.dimension > 2:
        raise UnsupportedError(f"d = {sgd.dimension}: paths of escape are searched for d <= 2; take one or two modes.")
    if not sgd.plain:
        raise UnsupportedError(f"SGD has {sgd.features}: the action of a path is known for plain SGD; use one without.")
    if not (sgd.noise.gaussian if sgd.affine else sgd.local.gaussian):
        raise UnsupportedError(
            "noise: the action of a path is known for Gaussian noise; give dfp.GaussianNoise of the same covariance."
        )


def _corners(domain: Any, d: int) -> tuple[Array, Array]:
    """Return the corners of a box, some of whose sides may be infinite."""
    if isinstance(domain, Grid):
        domain = (domain.lower, domain.upper)
    if not isinstance(domain, (tuple, list)) or len(domain) != 2:
        raise DFPError(f"domain={checks.shown(domain)}: must be (lower, upper) or a dfp.Grid.")
    lower, upper = (checks.corner(f"domain[{i}]", part, d) for i, part in enumerate(domain))
    if not np.all(lower < upper):
        raise DFPError(f"domain: lower {lower} must be below upper {upper} on every axis; swap them, and give no NaN.")
    if not np.any(np.isfinite([lower, upper])):
        raise DFPError("domain is all of space: nothing leaves it; give a wall, such as (0.0, np.inf).")
    return lower, upper


def _well(sgd: SGD, start: Array, lower: Array, upper: Array) -> Array:
    """Return the stable fixed point of SGD without noise that ``start`` settles into.

    Raises
    ------
    DFPError
        If ``start`` or the fixed point is outside, or it does not settle at this learning rate.
    """
    if not np.all((lower < start) & (start < upper)):
        raise DFPError(f"start={start}: must be inside the domain {lower} … {upper}.")
    well = _settled(sgd, start)
    if well is None:
        raise DFPError(
            f"start={start}: SGD without noise does not settle from there at learning_rate={sgd.learning_rate:g}; "
            "start nearer to a minimum, or lower learning_rate."
        )
    if not np.all((lower < well) & (well < upper)):
        raise DFPError(f"start={start} settles at {well}, outside the domain {lower} … {upper}; give one in a well.")
    return well


def _settled(sgd: SGD, start: Array) -> Array | None:
    """Return the stable fixed point that SGD without noise approaches from ``start``, or None."""
    local, theta, learning_rate = sgd.local, start[None].copy(), sgd.learning_rate
    rate = learning_rate
    for n in range(_FOLLOWED):
        if n % _REGARDED == 0:
            # Steps so short that they follow the flow are taken many at a time.
            rate = max(learning_rate, _SHORT / max(float(np.linalg.norm(local.hessian_at(theta))), 1e-300))
        with np.errstate(over="ignore", invalid="ignore"):
            step = rate * local.gradient_at(theta)
        theta = theta - step
        if not np.max(np.abs(theta)) < 1e30:
            return None
        if np.max(np.abs(step)) <= 1e-4 * local.scale * min(rate, 1.0):
            break
    polished = root(lambda at: local.gradient_at(at[None])[0], theta[0], jac=lambda at: local.hessian_at(at[None])[0])
    factor = np.eye(sgd.dimension) - learning_rate * local.hessian_at(polished.x[None])[0]
    near = np.linalg.norm(polished.x - theta[0]) < 0.1 * local.scale
    stable = bool(np.max(np.abs(np.linalg.eigvals(factor))) < 1)
    return polished.x if polished.success and near and stable else None


def _every_step(flow: quasipotential.Exit, learning_rate: float) -> Array:
    """Return a path in continuous time at whole steps before its end, shape (N + 1, d)."""
    times = flow.time * np.arange(1.0 - len(flow.path), 1.0)
    at = learning_rate * np.arange(-np.floor(-times[0] / learning_rate), 1.0)
    return np.stack([np.interp(at, times, axis) for axis in flow.path.T], axis=1)


class _Exact(NamedTuple):
    """Mean steps of (T4) with their error, the law before it leaves, and the box where open sides were cut."""

    mean: float
    error: float
    law: Density | None
    box: Grid


def _means(sgd: SGD, well: Array, lower: Array, upper: Array, notes: list[str]) -> tuple[_Exact | None, float]:
    """Return what (T4) says of the exit, if it is resolved, and the mean steps of (T6)."""
    try:
        exact = _by_master(sgd, well, lower, upper)
    except UnresolvedError as failure:
        notes.append(f"mean_steps is not known: {_remedied(failure)}")
        exact = None
    try:
        langevin = _by_langevin(sgd, well, lower, upper)
    except (UnresolvedError, UnsupportedError) as failure:
        notes.append(f"langevin_mean_steps is not known: {failure}")
        langevin = np.nan
    return exact, langevin


def _boxes(sgd: SGD, well: Array, lower: Array, upper: Array) -> "list[tuple[Array, Array]]":
    """Return boxes whose open sides are ever further out, beginning at some deviations of the law in the well."""
    curvature = np.abs(np.diag(sgd.local.hessian_at(well[None])[0]))
    noise = np.diag(sgd.local.covariance_at(well[None])[0])
    deviation = np.sqrt(sgd.learning_rate * noise / np.maximum(curvature, 1e-3))
    walls = np.array([lower, upper])
    apart = np.where(np.isfinite(walls), np.abs(walls - well), 0.0).max()
    if np.all(np.isfinite(walls)):
        return [(lower, upper)]
    reach = np.maximum(4 * deviation, 0.7 * apart) if sgd.dimension == 1 else 4 * deviation
    factors = 1.25 ** np.arange(_WIDENED)
    return [
        (np.where(np.isfinite(lower), lower, well - f * reach), np.where(np.isfinite(upper), upper, well + f * reach))
        for f in factors
    ]


def _by_master(sgd: SGD, well: Array, lower: Array, upper: Array) -> _Exact:
    """Return the mean exit steps of (T4), with open sides so far out that they do not matter."""
    open_sides = not np.all(np.isfinite([lower, upper]))
    solve = _on_line if sgd.dimension == 1 else _on_plane
    found: _Exact | None = None
    for low, high in _boxes(sgd, well, lower, upper):
        try:
            mean, rough, law, box = solve(sgd, well, low, high)
        except UnresolvedError:
            if found is not None and found.error < _LEFT * found.mean:
                return found
            raise
        cut = abs(mean - found.mean) if found is not None else mean if open_sides else 0.0
        found = _Exact(mean, abs(mean - rough) + cut, law, box)
        if cut <= _CUT[sgd.dimension] * mean:
            return found
    raise UnresolvedError("the law reaches ever further out at the open sides of the domain; give walls there.")


def _on_line(sgd: SGD, well: Array, low: Array, high: Array) -> tuple[float, float, Density, Grid]:
    equation, means = MasterEquation(sgd), []
    for share in (1.5, 1.0):
        step, nodes, weights = first_passage_line.restricted(
            equation, float(low[0]), float(high[0]), share * line.LENGTH
        )
        first = line.arrivals(nodes, weights, *first_passage_line.kernel(equation, well))
        means.append(1 + float(first[0] @ step.expected(np.ones(len(nodes)))))
    grid = Grid(low, high, _CELLS)
    # One more step takes the law from the nodes to anywhere.
    values = line.arrived(grid.axes[0], step.quasi_stationary[0], *first_passage_line.kernel(equation, nodes))
    return means[1], means[0], Density.normalised(grid, values), grid


def _on_plane(sgd: SGD, well: Array, low: Array, high: Array) -> tuple[float, float, Density | None, Grid]:
    equation = MasterEquation(sgd)
    counts = first_passage_numeric.node_counts(equation, low, high)
    laws = [first_passage_numeric.by_nodes(equation, low, high, n, well[None], np.ones(1)) for n in counts]
    return laws[0].mean, laws[1].mean, None, Grid(low, high, 64)


def _by_langevin(sgd: SGD, well: Array, lower: Array, upper: Array) -> float:
    """Return the mean exit steps of (T6), with open sides so far out that they do not matter."""
    low, high = _boxes(sgd, well, lower, upper)[-1 if np.all(np.isfinite([lower, upper])) else _FAR_BOX]
    grid = Grid(low, high, {1: 1024, 2: 96}[sgd.dimension])
    return exit_steps(Langevin(sgd), grid, Point(well), steps=0).mean


def _beyond(sgd: SGD, path: Array) -> Array | None:
    """Return the well that is reached without noise from just beyond the end of a path, or None."""
    outward = path[-1] - path[0]
    for share in (1e-3, 1e-2, 0.1, 0.3):
        found = _settled(sgd, path[-1] + share * outward)
        if found is not None and np.linalg.norm(found - path[0]) > 1e-6 * np.linalg.norm(outward):
            return found
    return None


def _committor(sgd: SGD, well: Array, across: Array, exact: _Exact, notes: list[str]) -> Committor | None:
    try:
        return committor_between(sgd, well, across, exact.box)
    except UnresolvedError as failure:
        notes.append(f"committor is not known: {_remedied(failure)}")
        return None


def _remedied(failure: UnresolvedError) -> str:
    """Return why a number is missing, with what can be done about a kernel that is too narrow."""
    narrow = isinstance(failure, first_passage_line.NarrowKernel)
    return f"{failure}; raise learning_rate or the noise, or go by the action." if narrow else str(failure)
