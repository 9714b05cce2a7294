"""First passage: after how many steps the parameters leave a box, and with which probability at each step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dfp_solvers.escape.line import LENGTH
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.long_time import first_passage_maps, first_passage_momentum
from dfp.long_time import first_passage_numeric as numeric
from dfp.long_time import first_passage_waves as waves
from dfp.long_time.exit_law import ExitLaw, ExitSteps, of_box
from dfp.long_time.first_passage_line import NarrowKernel, by_panels
from dfp.long_time.first_passage_sampled import LONGEST, Exits
from dfp.long_time.first_passage_splitting import SplitExits
from dfp.long_time.kept import carried
from dfp.long_time.recurrence import settled_moments
from dfp.methods.transfer.kernels import enumerated
from dfp.problem.arguments import check_problem
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Ending, State, started
from dfp.result import remembered
from dfp.results.keeper import Keeper

# How often a box with a missing wall is widened, and the change, of the mean relatively, at which its law stays.
_WIDENINGS, _SETTLED = 12, 1e-9


@remembered
def exit_steps(
    equation: Equation,
    domain: Any,
    initial: State | Ending,
    steps: int | None = None,
    *,
    trajectories: int | None = None,
    seed: int = 0,
    splitting: bool = False,
    checkpoint: str | Path | Keeper | None = None,
) -> ExitSteps:
    """Return the law of the number of steps after which the parameters first leave a box.

    Parameters
    ----------
    equation
        (T4): SGD leaves at the first step at which it is outside. (T6), (T7): the path in continuous time leaves when
        it touches a wall, n = τ/η. Any landscape; d <= 3 for generators; for (T4) as far as the box is not too many
        kernels wide (d = 1: 10⁵).
    domain
        ``(lower, upper)``, corners of shape (d,) or numbers, or a ``dfp.Grid`` whose box is taken (and, for generators
        and few minibatches, whose cells). Where there is no wall an entry is infinite or None, as in ``([-1, None], [1,
        None])``: boxes are widened until the law stays, and errors count what the last widening changed.
    initial
        State at step 0, or a ``Solution`` to go on from; what is outside has left at step 0.
    steps
        Last step of ``survival``; if left out, long enough for all but 1e-3 to leave, at most 10 000.
    trajectories
        Draw so many of SGD, >= 100, instead of computing the law: for (T4) with any momentum (T19), started at rest,
        schedules or any noise, in any dimension; corners may be infinite. Errors are then standard errors.
    seed
        Of what is drawn.
    splitting
        Whether trajectories that come near a wall go on as many lighter ones, so that exits rarer than anything that
        so many could meet are met (multilevel splitting, Huber and Kim 1996). ``trajectories`` is then how many walk at
        a time, some thousand; ``steps``, if left out, sixty relaxation times. Errors are the spread of twenty
        replicates. Not for noise so heavy that single steps leave from the middle.
    checkpoint
        HDF5 file that holds the law of the trajectories so far, written every few seconds. A call that finds it goes on
        from there, to the bits of an uninterrupted one; the finished law takes its place, and is returned if it is
        there. Ctrl-C leaves it. A law that is computed has nothing to go on from: it is kept once it is known.

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

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> law = dfp.exit_steps(dfp.MasterEquation(sgd), (-0.6, 0.6), dfp.Point(0.0))
    >>> print(round(law.mean, 1), law.quantile(0.5))
    29.5 21.0
    """
    initial = started(initial)
    initial = getattr(initial, "bulk", initial)  # a State, or refused in the next line
    check_problem(equation, initial)
    if not equation.process:
        raise UnsupportedError(
            f"the {equation.label} is not a positive operator: restricted to a box it has no probability of being "
            "still inside; use dfp.MasterEquation(sgd) or dfp.Langevin(sgd)."
        )
    last = None if steps is None else checks.integer("steps", steps)
    splitting = checks.boolean("splitting", splitting)
    lower, upper = _open_box(domain, equation.dimension)
    if trajectories is not None:
        checks.integer("trajectories", trajectories, at_least=100)
        checks.integer("seed", seed, at_least=0)
    elif splitting:
        raise DFPError("splitting=True: it is trajectories that are split; give trajectories=20_000 as well.")

    def find(keeper: Keeper | None) -> ExitSteps:
        if trajectories is None:
            law = _computed(equation, domain, initial, last)
        else:
            drawn = SplitExits if splitting else Exits
            law = drawn(equation, lower, upper, initial, last, trajectories, seed).law(keeper)
        return of_box(law, lower, upper, equation.parameters)

    # Lists and arrays are one problem.
    told = domain if isinstance(domain, Grid) else [lower.tolist(), upper.tolist()]
    asked = {"domain": told, "steps": last, "trajectories": trajectories, "seed": seed}
    if splitting:  # checkpoints without it say nothing of it
        asked["splitting"] = True
    return carried(checkpoint, "exit_steps", equation, initial, asked, LONGEST if last is None else last, find)


def _computed(equation: Equation, domain: Any, initial: State, last: int | None) -> ExitSteps:
    """Return the law that is computed, as far as one is."""
    pairs = equation.discrete and first_passage_momentum.supported(equation)
    if equation.discrete and not (equation.sgd.plain or pairs):
        raise UnsupportedError(
            f"SGD has {equation.sgd.features}: the law of its exits is not computed but sampled; give "
            "trajectories=100_000 (with replace=True), or use SGD without."
        )
    if equation.dimension > 3:
        raise UnsupportedError(
            f"d = {equation.dimension}: first passage needs d <= 3; project the landscape onto as many modes, or "
            f"{_sampling(equation)}."
        )
    sgd = equation.sgd
    sums = sgd.affine and sgd.noise.shuffles
    if equation.discrete and sgd.affine and not (sums or sgd.noise.gaussian):
        other = ", use dfp.Langevin(sgd), or give dfp.GaussianNoise of the same covariance" if sgd.noise.finite else ""
        raise UnsupportedError(
            f"the {equation.label} with gradient noise that is neither Gaussian nor a finite sum: its restricted step "
            f"is not known here; give trajectories=100_000 to sample it{other}."
        )
    if not equation.discrete and sgd.affine and not sgd.noise.finite:
        raise UnsupportedError(
            f"noise has no variance, and the {equation.label} knows it by its covariance alone; "
            "use dfp.MasterEquation(sgd) with trajectories=100_000."
        )
    if not isinstance(domain, Grid):
        corners = _open_box(domain, equation.dimension)
        if np.isinf(corners).any():
            return _open(equation, *corners, initial, last)
    return _law(equation, *_box(domain, equation.dimension), initial, last)


def _open(equation: Equation, lower: Array, upper: Array, initial: State, last: int | None) -> ExitSteps:
    """Return the law in a box of infinite corners (d,), from boxes wider each time, with what the last one changed."""
    if np.isinf(lower).all() and np.isinf(upper).all():
        raise DFPError("domain: (-inf, inf) has no wall to leave by; give a finite corner.")
    anchors, width = _reach(equation, lower, upper, initial)
    laws, changes, growth = list[ExitSteps](), [np.inf], 2.0 if equation.dimension == 1 else 1.4
    failure: UnresolvedError | None = None
    while len(laws) < _WIDENINGS and not _steady(changes):
        low = np.where(np.isinf(lower), anchors[1] - width, lower)
        high = np.where(np.isinf(upper), anchors[0] + width, upper)
        try:
            laws.append(_law(equation, low, high, None, initial, last))
        except UnresolvedError as error:
            failure = error
            break
        width *= growth
        if len(laws) > 1 and np.isfinite(laws[-1].mean):
            before, found = laws[-2:]
            shared = min(len(found.survival), len(before.survival))
            moved = float(np.abs(found.survival[:shared] - before.survival[:shared]).max())
            changes.append(abs(found.mean - before.mean))
            known = changes[-1] <= _SETTLED * found.mean + found.mean_error + before.mean_error
            if known and moved <= _SETTLED + found.error + before.error:
                return replace(found, error=found.error + moved, mean_error=found.mean_error + changes[-1])
    far = "give finite corners far away, whose error is what moving them changes"
    if failure is not None and equation.dimension > 1:
        raise UnresolvedError(
            f"domain: without walls the law needs a box as wide as {low} … {high}, and there: {failure} Or {far}."
        )
    raise UnresolvedError(
        f"domain: the law still changes in the box {low} … {high}: its mean is infinite, or tails are too heavy; "
        f"{far}, or {_sampling(equation)}."
    )


def _reach(equation: Equation, lower: Array, upper: Array, initial: State) -> tuple[tuple[Array, Array], Array]:
    """Return where far walls are measured from, above and below, and how far away they are at first, shapes (d,)."""
    sgd, mean, d = equation.sgd, initial.mean, equation.dimension
    spread = np.zeros(d) if initial.point else np.sqrt(initial.covariance.diagonal())
    noise = sgd.noise if sgd.affine else sgd.local
    kick = sgd.learning_rate * np.sqrt(np.reshape(noise.covariance(mean[None]), (d, d)).diagonal())
    anchors = np.where(np.isinf(lower), mean, lower), np.where(np.isinf(upper), mean, upper)
    apart = np.maximum(np.abs(mean - anchors[0]), np.abs(mean - anchors[1]))
    width = 2 * (apart + 8 * (spread + kick))
    settled = settled_moments(equation) if d > 1 and sgd.affine else None
    if settled is not None:  # each further box is dear
        far = np.maximum(np.abs(settled.mean - anchors[0]), np.abs(settled.mean - anchors[1]))
        width = np.maximum(apart + 8 * spread, far) + 6 * np.sqrt(settled.covariance.diagonal())
    return anchors, width


def _steady(changes: list[float]) -> bool:
    """Whether the mean grows like the logarithm of the width or the width itself, thrice: then there is none."""
    last = np.array([np.inf] * 4 + changes)[-4:]
    return bool(np.all(np.isfinite(last)) and np.all(abs(last[1:] - 1.7 * last[:-1]) < 0.8 * last[:-1]))


def _law(
    equation: Equation, lower: Array, upper: Array, cells: tuple[int, ...] | None, initial: State, last: int | None
) -> ExitSteps:
    """Return the law in a finite box."""
    sgd = equation.sgd
    sums = sgd.affine and sgd.noise.shuffles
    points, masses = _start(initial, lower, upper)
    if not masses.sum() > 0:
        raise DFPError(f"domain: {lower} … {upper} holds nothing of the initial state; widen it.")
    if equation.discrete and first_passage_momentum.supported(equation):
        laws = first_passage_momentum.by_pairs(equation, lower, upper, points, masses)
        return numeric.compared(laws, last, float(masses.sum()), 0.0)
    if sgd.affine and sgd.additive and not np.any(sgd.noise.constant):
        return first_passage_maps.without_noise(equation, lower, upper, points, masses, last)
    if equation.discrete and sums and enumerated(equation):
        return first_passage_maps.by_maps(equation, lower, upper, cells, points, masses, last)
    if not equation.discrete:
        return numeric.by_chain(equation, lower, upper, cells, initial, float(masses.sum()), last)
    if sums:
        return _by_sums(equation, lower, upper, points, masses, last)
    return numeric.compared(_by_kernels(equation, lower, upper, points, masses), last, float(masses.sum()))


def _by_sums(
    equation: Equation, lower: Array, upper: Array, points: Array, masses: Array, last: int | None
) -> ExitSteps:
    """Return the law of a finite sum with many minibatches: as they are, or else with Gaussian steps."""
    try:
        return waves.law(equation, lower, upper, points, masses, last)
    except NarrowKernel as failure:
        instead = f"of minibatches as they are, {failure}; of steps taken to be Gaussian, "
        laws = _by_kernels(equation, lower, upper, points, masses, instead)
        return numeric.compared(laws, last, float(masses.sum()), numeric.skewness(equation, lower, upper))


def _by_kernels(
    equation: Equation, lower: Array, upper: Array, points: Array, masses: Array, instead: str = ""
) -> list[ExitLaw]:
    """Return laws under Gaussian kernels, the finer first; a failure says ``instead`` of what they were tried."""
    try:
        if equation.dimension == 1:
            return [by_panels(equation, lower, upper, share * LENGTH, points, masses) for share in (1.0, 1.5)]
        counts = numeric.node_counts(equation, lower, upper)
        return [numeric.by_nodes(equation, lower, upper, n, points, masses) for n in counts]
    except NarrowKernel as failure:
        exponent = "" if equation.dimension > 2 else ", or ask dfp.escape(sgd, start, domain) for the mean's exponent"
        raise UnresolvedError(
            f"domain: {instead}{failure}; take a smaller box, a larger learning_rate or dfp.Langevin(sgd), give "
            f"trajectories=20_000, splitting=True to sample it{exponent}."
        ) from None


def _sampling(equation: Equation) -> str:
    sampled = "trajectories=100_000"
    return f"give {sampled} to sample it" if equation.discrete else f"sample dfp.MasterEquation(sgd) with {sampled}"


def _box(domain: Any, d: int) -> tuple[Array, Array, tuple[int, ...] | None]:
    if isinstance(domain, Grid):
        grid, cells = domain, domain.cells
    else:
        if not isinstance(domain, (tuple, list)) or len(domain) != 2:
            raise DFPError(f"domain={checks.shown(domain)}: must be (lower, upper) or a dfp.Grid.")
        lower, upper = (_corner(part, d) for part in domain)
        grid, cells = Grid(lower, upper, 8), ()
    checks.alike("domain", grid.dimension, d, f"give corners of {d} numbers")
    return grid.lower, grid.upper, cells or None


def _open_box(domain: Any, d: int) -> tuple[Array, Array]:
    """Return the corners of a box in any dimension, which may be infinite: where there is no wall, None as well."""
    if isinstance(domain, Grid) or not isinstance(domain, (tuple, list)) or len(domain) != 2:
        return _box(domain, d)[:2]
    corners = []
    for part, none in zip(domain, (-np.inf, np.inf), strict=True):
        entries = list(part) if isinstance(part, (tuple, list)) else part
        open_ended = [none if entry is None else entry for entry in entries] if isinstance(entries, list) else entries
        try:
            given = np.asarray(none if open_ended is None else open_ended, dtype=float)
        except (TypeError, ValueError):
            raise DFPError(
                f"domain={checks.shown(domain)}: corners must be numbers, or None where there is no wall; give e.g. "
                "([-1, None], [1, None])."
            ) from None
        finite = _corner(np.where(np.isinf(given), 0.0, given), d)
        corners.append(np.where(np.isinf(given), given, finite))
    lower, upper = corners
    if not np.all(lower < upper):
        raise DFPError(f"domain={checks.shown(domain)}: lower must be below upper; swap them, or give the box a width.")
    return lower, upper


def _corner(part: ArrayLike, d: int) -> Array:
    return checks.vector("domain", part, d)


def _start(initial: State, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Return points (m, d) inside the box and their masses (m,): a quadrature of the initial state."""
    points, masses = initial.quadrature(lower, upper)
    inside = np.all((points >= lower) & (points <= upper), axis=1)
    return points[inside], masses[inside]
