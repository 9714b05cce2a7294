"""Stationary laws of landscapes of any shape, d <= 2: zero flux on a line, fixed points of steps, null vectors."""

from typing import Any

import numpy as np
from dfp_solvers import currents, richardson, zero_flux
from dfp_solvers.arrays import Integers
from dfp_solvers.escape import line
from scipy.sparse.linalg import ArpackNoConvergence, eigs, expm_multiply

from dfp.checks import Array
from dfp.errors import NoStationaryDensity, UnresolvedError, UnsupportedError
from dfp.long_time import first_passage_line
from dfp.methods import markov_chain
from dfp.methods.grids import containing
from dfp.methods.transfer import landscape_waves
from dfp.methods.transfer import uniform as transfer_lattice
from dfp.problem.arguments import check_kernel
from dfp.problem.equation import Equation
from dfp.problem.equations import Langevin
from dfp.problem.grid import Grid
from dfp.problem.state import Density

# Where log P has fallen by this much nothing is left; places at which that is looked at, and how far boxes grow.
_NOTHING, _PLACES, _GROWTH = 46.0, 4001, 24
_CELLS, _STEP_CELLS = {1: 2048, 2: 160}, 96
# Most cells of a chain whose law is looked for.
_MOST_CELLS = 2**18
# What leaves the box of a step for good, per step, that counts as nothing, and as a law that does not last.
_KEPT, _LOST = 1e-13, 1e-7
# Rounding of the leading eigenvalue of a full matrix.
_ROUNDED = 1e-12


def stationary(equation: Equation, grid: Grid | None) -> Density:
    """Return the stationary density of an equation on a nonlinear landscape.

    Parameters
    ----------
    equation
        (T4), (T6), (T7), (T7m); d = 1 or 2.
    grid
        Where it is returned; all places with more than 1e-20 of the highest density if left out.

    Raises
    ------
    NoStationaryDensity
        If the density does not fall far out, or SGD diverges from the law again and again.
    UnsupportedError
        For (T5), and d > 2.
    """
    if equation.truncated:
        raise UnsupportedError(
            f"the {equation.label}: on a nonlinear landscape it is no positive operator and no closed form is known; "
            "use dfp.MasterEquation(sgd)."
        )
    _require_plane(equation)
    if equation.discrete and equation.sgd.local.characteristic is not None:
        return _step_of_waves(equation, grid)
    if equation.dimension == 1:
        return _step_on_line(equation, grid) if equation.discrete else _flow_on_line(equation, grid)
    if not equation.discrete:
        return _flow_on_plane(equation, grid)
    return _step_on_plane(equation, automatic_grid(equation) if grid is None else grid)


def _require_plane(equation: Equation) -> None:
    if equation.dimension > 2:
        raise UnsupportedError(
            f"d = {equation.dimension}: nonlinear landscapes need d <= 2; use dfp.solve of dfp.MasterEquation(sgd) "
            "to a late step, with dfp.MonteCarlo(...)."
        )


def automatic_grid(equation: Equation) -> Grid:
    """Return a grid that holds the stationary law: of the equation if it is a generator, of (T6) widened if a step."""
    _require_plane(equation)
    flow = Langevin(equation.sgd) if equation.discrete else equation
    find = _box_on_line if equation.dimension == 1 else _box_on_plane
    lower, upper = find(flow)
    if equation.discrete:
        middle, half = (lower + upper) / 2, (upper - lower) / 2
        lower, upper = middle - 1.25 * half, middle + 1.25 * half
    cells = _STEP_CELLS if equation.discrete and equation.dimension == 2 else _CELLS[equation.dimension]
    return Grid(lower, upper, cells)


def _coefficients(equation: Equation, places: Array) -> tuple[Array, Array]:
    points = places[:, None]
    drift, diffusion = equation.drift(points)[:, 0], equation.diffusion(points)[:, 0, 0]
    if not np.all(diffusion > 0):
        worst = float(places[np.argmin(diffusion)])
        raise NoStationaryDensity(
            f"the noise of the {equation.label} is {diffusion.min():.3g} at θ = {worst:.4g}: it vanishes or is "
            "negative there, where the law may collapse; add gradient noise."
        )
    return drift, diffusion


def _box_on_line(equation: Equation) -> tuple[Array, Array]:
    """Return the ends between which log P is within reach of its maximum, looked for from around the origin."""
    reach, seen = 6.0 * equation.sgd.local.scale, False
    for _ in range(_GROWTH):
        places = np.linspace(-reach, reach, _PLACES)
        logarithm = zero_flux.log_density(lambda at: _coefficients(equation, at), places)
        held = np.flatnonzero(logarithm > -_NOTHING)
        if held[0] > 0 and held[-1] < _PLACES - 1:
            if seen:  # nothing new further out
                margin = 2 * (places[1] - places[0])
                box = np.array([places[held[0]] - margin]), np.array([places[held[-1]] + margin])
                # What is narrow on this scale is looked at again on its own.
                return box if held[-1] - held[0] > 100 else _refined(equation, *box)
            seen = True
        reach *= 1.5
    raise NoStationaryDensity(
        f"the density of the {equation.label} has not fallen by e^-{_NOTHING:g} at θ = ±{reach:.3g}: the loss does not "
        "grow fast enough there; use dfp.solve for its law at a given step, or add weight_decay."
    )


def _refined(equation: Equation, lower: Array, upper: Array) -> tuple[Array, Array]:
    places = np.linspace(float(lower[0]), float(upper[0]), _PLACES)
    logarithm = zero_flux.log_density(lambda at: _coefficients(equation, at), places)
    held = np.flatnonzero(logarithm > -_NOTHING)
    return places[held[:1]], places[held[-1:]]


def _flow_on_line(equation: Equation, grid: Grid | None) -> Density:
    """Return P ∝ Q⁻¹ exp(∫ 2f/Q), each cell's exponent by quadrature to rounding."""
    lower, upper = _box_on_line(equation)
    if grid is None:
        grid = Grid(lower, upper, _CELLS[1])
    # The same spacing over the whole law, so that what is beyond the grid is known.
    below, above = (
        int(np.ceil(max(float(gap), 0.0) / grid.spacing[0]))
        for gap in (grid.lower[0] - lower[0], upper[0] - grid.upper[0])
    )
    if below + above + grid.cells[0] > 2**22:
        raise UnresolvedError(
            "grid: its cells are too small to find the mass beyond it; give fewer of them, or a wider box."
        )
    first = grid.axes[0][0] - below * grid.spacing[0]
    places = first + grid.spacing[0] * np.arange(below + above + grid.cells[0])
    values = np.exp(zero_flux.log_density(lambda at: _coefficients(equation, at), places))
    values /= values.sum() * grid.spacing[0]
    inside = values[below : below + grid.cells[0]]
    outside = max(1 - float(inside.sum()) * grid.cell_volume, 0.0)
    return Density(grid, inside, outside=min(outside, 1 - 1e-12) if outside > 1e-13 else 0.0, error=1e-12)


def _step_on_line(equation: Equation, grid: Grid | None) -> Density:
    """Return the fixed point of a step on panels of nodes: no mass is subtracted, so rare wells keep their digits."""
    box = automatic_grid(equation)
    lower, upper = float(box.lower[0]), float(box.upper[0])
    lost = np.inf
    for _ in range(8):
        try:
            step, nodes, _ = first_passage_line.restricted(equation, lower, upper, line.LENGTH)
        except first_passage_line.NarrowKernel as failure:
            raise UnresolvedError(
                f"learning_rate={equation.sgd.learning_rate:g}: the law's box {failure}; raise it, use "
                "dfp.Langevin(sgd), or dfp.solve to a late step."
            ) from None
        before = lost
        law, lost = step.quasi_stationary
        if lost < _KEPT or lost > 0.5 * before:
            break
        middle, half = (lower + upper) / 2, (upper - lower) / 2
        lower, upper = middle - 1.2 * half, middle + 1.2 * half
    _check_kept(lost)
    if grid is None:
        grid = Grid(lower, upper, _CELLS[1])
    moved, deviation = first_passage_line.kernel(equation, nodes)
    values = line.arrived(grid.axes[0], law, moved, deviation)
    outside = 1 - float(law @ line.between(float(grid.lower[0]), float(grid.upper[0]), moved, deviation))
    defect = float(values.sum()) * grid.cell_volume + outside - 1
    if not abs(defect) < 1e-6:
        raise UnresolvedError(
            f"grid.cells={grid.cells}: too few for the density (its sum is off by {defect:.2g}); give "
            f"dfp.Grid({grid.lower}, {grid.upper}, cells) with more cells."
        )
    return Density(grid, values, outside=outside if outside > 1e-13 else 0.0, error=min(1e-11 + 1e3 * lost, 2.0))


def _step_of_waves(equation: Equation, grid: Grid | None) -> Density:
    """Return the fixed point of a step whose noise is known by its characteristic function (T22)."""
    box, lost = automatic_grid(equation), np.inf
    for _ in range(8):
        before = lost
        frame, lost = landscape_waves.settled(equation, box, box if grid is None else grid)
        if lost < _ROUNDED or lost > 0.5 * before:
            break
        half = 0.6 * (box.upper - box.lower)
        box = Grid((box.lower + box.upper) / 2 - half, (box.lower + box.upper) / 2 + half, box.cells)
    _check_kept(lost)
    assert frame.density is not None
    outside = max(frame.outside or 0.0, 0.0)
    error = min(frame.truncation + 1e3 * max(lost, 0.0), 2.0)
    return Density(box if grid is None else grid, np.maximum(frame.density, 0.0), outside=outside, error=error)


def _check_kept(lost: float) -> None:
    if lost > _LOST:
        raise NoStationaryDensity(
            f"SGD leaves for good from its law with the probability {lost:.2g} a step (θ overshoots further and "
            "further): it has no stationary law at this learning_rate; lower it, or use dfp.exit_steps."
        )


def _box_on_plane(equation: Equation) -> tuple[Array, Array]:
    """Return the corners of the box that holds the law, from null vectors on ever better boxes."""
    half = 4.0 * equation.sgd.local.scale * np.ones(2)
    lower, upper = -half, half
    for _ in range(_GROWTH):
        grid = Grid(lower, upper, 64)
        density = null_vector(equation, grid)
        held = density > 1e-14 * density.max()
        spans = [np.flatnonzero(held.any(axis=1 - i)) for i in range(2)]
        ends = np.array([[span[0], span[-1]] for span in spans])
        touching = np.array([[ends[i, 0] == 0, ends[i, 1] == 63] for i in range(2)])
        wide = ends[:, 1] - ends[:, 0] > 24
        if not touching.any() and wide.all():
            return lower + (ends[:, 0] - 1) * grid.spacing, lower + (ends[:, 1] + 2) * grid.spacing
        size = upper - lower
        lower, upper = (
            np.where(touching[:, 0], lower - 0.5 * size, lower + (ends[:, 0] - 2) * grid.spacing),
            np.where(touching[:, 1], upper + 0.5 * size, lower + (ends[:, 1] + 3) * grid.spacing),
        )
    raise NoStationaryDensity(
        f"the law of the {equation.label} is still at the edge of the box {lower} … {upper}: the loss grows too "
        "slowly there; use dfp.solve for its law at a given step, or add weight_decay."
    )


def null_vector(equation: Equation, grid: Grid) -> Array:
    """Return the stationary probabilities of the cells of a generator's chain, shape ``grid.cells``."""
    matrix = markov_chain.generator(equation, grid)[0].tocsc()
    drift, diffusion = markov_chain.coefficients(equation, grid.points.reshape(-1, grid.dimension))
    # Solved from a cell where the drift is weak, which is where the law is: elsewhere it may underflow.
    size = np.einsum("ni,ni->n", drift, drift) / np.maximum(np.einsum("nii->n", diffusion), 1e-300)
    return currents.stationary(matrix, int(np.argmin(size))).reshape(grid.cells)


def _flow_on_plane(equation: Equation, grid: Grid | None) -> Density:
    """Return the law on a grid that holds it, as far as it is on the one that is given."""
    box = automatic_grid(equation)
    around, inside = (box, ...) if grid is None else containing(grid, box)
    if np.prod(around.cells) > _MOST_CELLS:
        raise UnresolvedError(
            f"grid.cells={around.cells} of its size hold the law: too many to find the mass beyond it; give "
            "dfp.Grid(lower, upper, cells) with fewer cells, or a wider box."
        )
    levels = [np.maximum(null_vector(equation, g) / g.cell_volume, 0.0) for g in markov_chain.halved(around)]
    values, error = richardson.best(levels, 0.0)
    values = np.maximum(values, 0.0)
    error = min(error * float(np.prod(around.upper - around.lower)), 2.0)
    whole = Density.normalised(around, values, error=error)
    if grid is None:
        return whole
    held = whole.values[inside]
    return Density(grid, held, outside=max(1 - float(held.sum()) * grid.cell_volume, 0.0), error=error)


def _step_on_plane(equation: Equation, grid: Grid) -> Density:
    """Return the leading eigenvector of a step on cells; what leaves the box a step must be nothing."""
    fine, lost = _leading(equation, grid)
    coarse = grid.with_cells(tuple(3 * n // 4 for n in grid.cells))
    rough = _leading(equation, coarse)[0]
    if lost > _LOST:
        raise NoStationaryDensity(
            f"SGD leaves the box {grid.lower} … {grid.upper} with the probability {lost:.2g} a step; give a "
            "wider one, dfp.Grid(lower, upper, cells), or lower learning_rate if it diverges."
        )
    error = float(np.abs(richardson.regridded(fine, coarse.cells) - rough).sum()) * coarse.cell_volume
    return Density.normalised(grid, np.maximum(fine, 0.0), error=min(error + 1e3 * lost, 2.0))


def _leading(equation: Equation, grid: Grid) -> tuple[Array, float]:
    operator: Any = transfer_lattice.step_operator(equation, grid)
    start = np.maximum(null_vector(Langevin(equation.sgd), grid).ravel(), 1e-300)
    try:
        value, vector = eigs(operator, k=1, v0=start, which="LM", tol=1e-10, ncv=40)
    except ArpackNoConvergence as failure:
        raise UnresolvedError(
            f"grid.cells={grid.cells}: the fixed point does not converge ({failure}); give "
            "dfp.Grid(lower, upper, cells) with fewer cells, or use dfp.solve to a late step."
        ) from None
    mass = np.real(vector[:, 0] / vector[:, 0].sum())
    return (mass / grid.cell_volume).reshape(grid.cells), max(1 - float(np.real(value[0])), 0.0)


def autocorrelation(equation: Equation, lags: Integers) -> Array:
    """Return the correlations of θ_i at step s + n with θ_j at step s in the stationary law, at ``lags`` (S,).

    Shape (S, d, d), by the chain between cells: first order in what a kernel narrower than a cell makes of it.
    """
    check_kernel(equation)
    grid = automatic_grid(equation)
    if grid.dimension == 1:
        grid = grid.with_cells((512,))
    law = stationary(equation, grid)
    points = grid.points.reshape(-1, grid.dimension)
    masses = law.values.ravel() * grid.cell_volume
    masses = masses / masses.sum()
    centred = points - masses @ points
    carried = masses[:, None] * centred
    if equation.discrete:
        operator: Any = transfer_lattice.step_operator(equation, grid)
        found, done = [], 0
        for lag in lags.tolist():
            for _ in range(done, lag):
                carried = np.stack([operator.matvec(column) for column in carried.T], axis=1)
            done = lag
            found.append(centred.T @ carried)
    else:
        matrix = markov_chain.generator(equation, grid)[0].tocsc()
        times = equation.learning_rate * np.asarray(lags, dtype=float)
        found = [centred.T @ (carried if time == 0 else expm_multiply(matrix * time, carried)) for time in times]
    deviation = np.sqrt(np.diag(centred.T @ (masses[:, None] * centred)))
    return np.stack(found) / np.outer(deviation, deviation)
