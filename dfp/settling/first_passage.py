"""First passage: after how many steps the parameters leave a box, and with which probability at each step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from dfp_solvers import absorbing, markov, transfer
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse.linalg import LinearOperator, eigs, gmres, splu

from dfp import checks
from dfp.checks import Array
from dfp.equation import Equation
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.exact import check_problem
from dfp.laws.finite_sum import FiniteSumLaw
from dfp.methods import chain, transfer_lattice
from dfp.methods.transfer_laws import laws_of, widths
from dfp.state import Density, Gaussian, Grid, Point, State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Nodes per width of the kernel and the most in all (a dense matrix); cells per axis otherwise.
_NODES, _MOST = 2.7, 4500
_CELLS = {1: 512, 2: 96, 3: 32}
_SUM_CELLS = {1: 2048, 2: 96}
# Survival at which a law is long enough if its length is left open, and the longest then.
_ENOUGH, _LONGEST = 1e-3, 10_000


@dataclass(frozen=True)
class ExitSteps:
    """The law of N, the first step at which the parameters are outside.

    Attributes
    ----------
    steps
        0 … n, shape (n + 1,) [step].
    survival
        P(N > step), the probability of being inside from step 0 to this step, shape (n + 1,).
    mean
        E[N] [step], infinite if some never leave.
    decay
        Factor by which survival falls per step in the end: the leading eigenvalue of the restricted step.
    error
        Estimated absolute error of ``survival``, from a coarser grid.
    mean_error
        Estimated error of ``mean`` [step].
    """

    steps: NDArray[np.int64]
    survival: Array
    mean: float
    decay: float
    error: float
    mean_error: float

    @property
    def probability(self) -> Array:
        """P(N = step), shape (n + 1,); at step 0 what starts outside."""
        return -np.diff(self.survival, prepend=1.0)

    def quantile(self, share: float) -> float:
        """Return the first step by which a ``share`` in (0, 1) has left; extrapolated by ``decay`` beyond the last."""
        left = 1 - checks.real("share", share, above=0, below=1)
        done = np.flatnonzero(self.survival <= left)
        if done.size:
            return float(self.steps[done[0]])
        if not self.decay < 1:
            return np.inf
        return float(self.steps[-1] + np.ceil(np.log(left / self.survival[-1]) / np.log(self.decay)))

    def plot(self) -> "Figure":
        """Return a figure of survival and of the probability of leaving at each step."""
        from dfp.plot import exits

        return exits(self)

    def __str__(self) -> str:
        """Return the figures, one a line."""
        return "\n".join(
            [
                f"exit after {self.mean:.6g} steps on average (error {self.mean_error:.1g})",
                "  " + ", ".join(f"{share:.0%} by {self.quantile(share):.6g}" for share in (0.5, 0.9, 0.99)),
                f"  inside after {self.steps[-1]} steps: {self.survival[-1]:.4g} (error {self.error:.1g})",
                f"  in the end survival falls by the factor {self.decay:.8g} a step",
            ]
        )


class _Law(NamedTuple):
    survival: Callable[[int], Array]
    """P(N > 0), … P(N > n), of a number of steps n."""
    mean: float
    decay: float


def exit_steps(equation: Equation, domain: Any, initial: State, steps: int | None = None) -> ExitSteps:
    """Return the law of the number of steps after which the parameters first leave a box.

    Parameters
    ----------
    equation
        (T4): SGD leaves at the first step at which it is outside. (T6), (T7): the path in continuous time leaves when
        it touches a wall, n = τ/η. d <= 3 for generators; for (T4) as far as the box is not too many kernels wide.
    domain
        ``(lower, upper)``, corners of shape (d,) or numbers, or a ``dfp.Grid`` whose box is taken (and, for generators
        and finite sums, whose cells).
    initial
        State at step 0; what is outside has left at step 0.
    steps
        Last step of ``survival``; if left out, long enough for all but 1e-3 to leave, at most 10 000.

    Returns
    -------
    ExitSteps
        Survival, mean (from the resolvent, not from a cut sum), quantiles, final decay, and errors by refinement.

    Raises
    ------
    UnsupportedError
        For (T5), which is no positive operator: "the probability to be still inside" has no meaning for it.
    UnresolvedError
        If the kernel is too narrow for the box.
    DFPError
        If the domain is malformed or holds nothing of the initial state.
    """
    check_problem(equation, initial)
    if equation.number == "T5":
        raise UnsupportedError(
            f"the {equation.label} is not a positive operator: restricted to a box it has no probability of being "
            "still inside; use dfp.MasterEquation(sgd) or dfp.Langevin(sgd)."
        )
    if equation.dimension > 3:
        raise UnsupportedError(f"d = {equation.dimension}: first passage needs d <= 3; use dfp.MonteCarlo(...).")
    noise = equation.sgd.noise
    if equation.discrete and not (noise.gaussian or isinstance(noise, FiniteSumLaw)):
        raise UnsupportedError(
            f"the {equation.label} with gradient noise that is neither Gaussian nor a finite sum: its restricted step "
            "is not known here; count trajectories of dfp.MonteCarlo(...)."
        )
    lower, upper, cells = _box(domain, equation.dimension)
    last = None if steps is None else checks.integer("steps", steps)
    points, masses = _start(initial, lower, upper)
    if not masses.sum() > 0:
        raise DFPError(f"domain: {lower} … {upper} holds nothing of the initial state; widen it.")
    if not equation.discrete:
        return _by_chain(equation, lower, upper, cells, initial, float(masses.sum()), last)
    solve = _by_masses if isinstance(noise, FiniteSumLaw) else _by_nodes
    if isinstance(noise, FiniteSumLaw):
        counts = [cells or (_SUM_CELLS.get(equation.dimension, 0),) * equation.dimension]
        counts.append(tuple(n // 2 for n in counts[0]))
    else:
        counts = _node_counts(equation, lower, upper)
    laws = [solve(equation, lower, upper, c, points, masses) for c in counts]
    return _compared(laws, last, float(masses.sum()))


def _box(domain: Any, d: int) -> tuple[Array, Array, tuple[int, ...] | None]:
    if isinstance(domain, Grid):
        grid, cells = domain, domain.cells
    else:
        if not isinstance(domain, (tuple, list)) or len(domain) != 2:
            raise DFPError(f"domain={checks.shown(domain)}: must be (lower, upper) or a dfp.Grid.")
        lower, upper = (_corner(part, d) for part in domain)
        grid, cells = Grid(lower, upper, 8), ()
    if grid.dimension != d:
        raise DFPError(f"domain has {grid.dimension} axes: the landscape has {d}; make them equal.")
    return grid.lower, grid.upper, cells or None


def _corner(part: ArrayLike, d: int) -> Array:
    return checks.vector("domain", part, d)


def _start(initial: State, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Return points (m, d) inside the box and their masses (m,): a quadrature of the initial state."""
    points: Array
    masses: Array
    if isinstance(initial, Point):
        points, masses = initial.theta[None], np.asarray([1.0])
    elif isinstance(initial, Density):
        points = initial.grid.points.reshape(-1, initial.dimension)
        masses = initial.values.ravel() * initial.grid.cell_volume
    else:
        deviation = np.sqrt(np.diag(initial.covariance))
        if np.linalg.eigvalsh(initial.covariance)[0] <= 1e-24:
            raise DFPError("initial.covariance is singular: give a wider dfp.Gaussian, or a dfp.Point.")
        near = np.maximum(lower, initial.mean - 9 * deviation), np.minimum(upper, initial.mean + 9 * deviation)
        if np.any(near[0] >= near[1]):
            return np.empty((0, len(lower))), np.empty(0)
        points, weights = absorbing.legendre(*near, ({1: 120, 2: 48, 3: 24}[len(lower)],) * len(lower))
        masses = initial.density(points) * weights
    inside = np.all((points >= lower) & (points <= upper), axis=1)
    return points[inside], masses[inside]


def _node_counts(equation: Equation, lower: Array, upper: Array) -> list[tuple[int, ...]]:
    lattice = np.stack(np.meshgrid(*np.linspace(lower, upper, 9).T, indexing="ij"), axis=-1)
    points = np.concatenate([lattice.reshape(-1, len(lower)), np.clip(equation.sgd.critical_point, lower, upper)[None]])
    narrowest = np.min(widths(equation, points, np.ones(equation.dimension)), axis=0)
    with np.errstate(divide="ignore"):
        wanted = _NODES * (upper - lower) / narrowest + 16
    if not np.prod(wanted) <= _MOST:
        raise UnresolvedError(
            f"domain: it is {(upper - lower) / np.maximum(narrowest, 1e-300)} kernels wide, which takes "
            f"{np.prod(wanted):.3g} nodes, more than {_MOST}; take a smaller box, a larger learning_rate, "
            "dfp.Langevin(sgd), or count trajectories of dfp.MonteCarlo(...)."
        )
    return [tuple(int(n) for n in np.ceil(share * wanted)) for share in (1.0, 0.75)]


def _by_nodes(
    equation: Equation, lower: Array, upper: Array, counts: tuple[int, ...], points: Array, masses: Array
) -> _Law:
    """Return the law under Gaussian kernels between Gauss–Legendre nodes."""
    nodes, weights = absorbing.legendre(lower, upper, counts)

    def kernel(sources: Array) -> Array:
        moved = sources - sources @ equation.linear_drift.T - equation.constant_drift
        return absorbing.gaussian_kernel(nodes, moved, equation.diffusion(sources))

    matrix = kernel(nodes) * weights
    first = kernel(points) @ masses
    factors = lu_factor(np.eye(len(nodes)) - matrix)
    mean = float(masses.sum()) + float(weights @ lu_solve(factors, first))
    decay = _leading(lambda p: matrix @ p, first)

    def survival(n: int) -> Array:
        return absorbing.survival(lambda p: matrix @ p, weights, first, n, decay)

    return _Law(survival, mean if decay < 1 else np.inf, decay)


def _by_masses(
    equation: Equation, lower: Array, upper: Array, cells: tuple[int, ...], points: Array, masses: Array
) -> _Law:
    """Return the law under the affine maps of a finite sum, on cells."""
    grid = Grid(lower, upper, cells)
    middle = Gaussian((lower + upper) / 2, np.diag(((upper - lower) / 8) ** 2))
    carry = transfer_lattice.prepare(equation, middle, grid)

    def step(mass: Array) -> Array:
        return transfer.step(np.ascontiguousarray(mass).ravel(), carry.laws, grid.cells)[0]

    first = transfer.step(masses, laws_of(equation, grid, points), grid.cells)[0]
    size = len(first)
    resolvent = LinearOperator((size, size), matvec=lambda p: np.ravel(p) - step(p), dtype=float)
    solved, failed = gmres(resolvent, first, rtol=1e-9, restart=60, maxiter=20)
    decay = _leading(step, first)
    mean = np.inf if failed or not decay < 1 else float(masses.sum()) + float(solved.sum())
    return _Law(lambda n: absorbing.survival(step, np.ones(size), first, n, decay), mean, decay)


def _leading(step: Callable[[Array], Array], start: Array) -> float:
    """Return the leading eigenvalue of a restricted step."""
    if not np.any(start):
        return 0.0
    operator = LinearOperator((len(start), len(start)), matvec=lambda p: step(np.ravel(p)), dtype=float)
    value = eigs(operator, k=1, v0=start, which="LM", tol=1e-12, return_eigenvectors=False)[0]
    return float(min(np.abs(value), 1.0))


def _length(last: int | None, decay: float) -> int:
    if last is not None:
        return last
    wanted = np.log(_ENOUGH) / np.log(decay) if 0 < decay < 1 else 1.0 if decay <= 0 else np.inf
    return int(min(np.ceil(wanted) + 10, _LONGEST))


def _compared(laws: list[_Law], last: int | None, inside: float) -> ExitSteps:
    """Return the finer law, with errors from the coarser one."""
    n = _length(last, laws[0].decay)
    fine, rough = (np.append(inside, law.survival(n)) for law in laws)
    fine = np.minimum.accumulate(np.clip(fine, 0.0, 1.0))
    with np.errstate(invalid="ignore"):
        mean_error = abs(laws[0].mean - laws[1].mean) if np.isfinite(laws[0].mean) else 0.0
    error = float(np.max(np.abs(fine - rough)))
    return ExitSteps(np.arange(n + 1), fine, laws[0].mean, laws[0].decay, error, mean_error)


def _by_chain(
    equation: Equation,
    lower: Array,
    upper: Array,
    cells: tuple[int, ...] | None,
    initial: State,
    inside: float,
    last: int | None,
) -> ExitSteps:
    """Return the law in continuous time, on cells with absorbing walls, extrapolated from three grids."""
    d, eta = equation.dimension, equation.sgd.learning_rate
    counts = tuple(int(np.ceil(n / 4) * 4) for n in (cells or (_CELLS[d],) * d))
    grids = chain.halved(Grid(lower, upper, tuple(max(n, 16) for n in counts)))
    starts = [inside * part.ravel() for part in chain.start(initial, grids)]
    matrices = [chain.generator(equation, grid, absorbing=True)[0] for grid in grids]
    rates = [_slowest(matrix) for matrix in matrices]
    n = _length(last, float(np.exp(-eta * rates[0])))
    tables = [absorbing.chain_survival(m, p, eta, n, r) for m, p, r in zip(matrices, starts, rates, strict=True)]
    means = [float(-splu(m.tocsc()).solve(p).sum()) / eta for m, p in zip(matrices, starts, strict=True)]
    survival, error = _extrapolated(tables)
    mean, mean_error = _extrapolated([np.array([m]) for m in means])
    rate = _extrapolated([np.array([r]) for r in rates])[0]
    survival = np.minimum.accumulate(np.clip(survival, 0.0, 1.0))
    survival[0] = inside
    return ExitSteps(np.arange(n + 1), survival, float(mean[0]), float(np.exp(-eta * rate[0])), error, mean_error)


def _slowest(matrix: Any) -> float:
    """Return the smallest rate of decay of an absorbing generator."""
    start = np.ones(matrix.shape[0])
    shift = 1e-10 * markov.fastest(matrix)
    value = eigs(matrix.tocsc(), k=1, sigma=shift, which="LM", v0=start, return_eigenvectors=False)[0]
    return float(max(-value.real, 0.0))


def _extrapolated(levels: list[Array]) -> tuple[Array, float]:
    """Return values free of errors of order two, from three grids, and the largest error left, estimated."""
    first = levels[0] + (levels[0] - levels[1]) / 3
    second = levels[1] + (levels[1] - levels[2]) / 3
    return first, float(np.max(np.abs(first - second))) / 3
