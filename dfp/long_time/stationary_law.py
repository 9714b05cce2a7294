"""Stationary densities: where the dynamics settles, or the reason why it does not (theory page, sections 2–4)."""

import numpy as np
from dfp_solvers import modal, pearson
from scipy.special import ndtr

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, NoStationaryDensity, UnsupportedError
from dfp.exact.cumulants import second_order_polynomial
from dfp.exact.moments import Moments
from dfp.long_time import nonlinear_law
from dfp.long_time import stationary_numeric as numeric
from dfp.long_time.law_moments import told, with_exact_moments
from dfp.long_time.stationary_moments import stationary_moments
from dfp.methods.finite_difference import FiniteDifference
from dfp.methods.finite_volume import FiniteVolume
from dfp.methods.fourier.fourier import Fourier
from dfp.methods.grids import automatic
from dfp.methods.hermite import Hermite
from dfp.methods.solver import Solver
from dfp.methods.transfer.transfer import Transfer
from dfp.problem.arguments import check_equation, counted
from dfp.problem.averaged_equation import AveragedEquation, refuse
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.parameters import labelled
from dfp.problem.state import Density, Gaussian, Joint
from dfp.regimes.mode_report import modes
from dfp.result import remembered
from dfp.results.certificate import OUTSIDE_LIMIT

# Heavy tails are followed until this much mass is outside, or as far as the largest grid reaches.
_OUTSIDE = 1e-8
_CELLS = 2**16
_CELLS_PER_WIDTH = 12


@remembered
def stationary(
    equation: Equation | AveragedEquation, grid: Grid | int | None = None, solver: Solver | str = "auto"
) -> Density:
    """Return the stationary density of an equation.

    Parameters
    ----------
    equation
        Any equation, d <= 3; that of an ``ExponentialAverage`` under additive noise.
    grid
        Where it is returned; chosen to hold all but 1e-8 of the mass, as far as it can, if left out. An integer
        keeps that box, with so many cells per axis.
    solver
        ``"auto"``: a closed form where one is known, else the first of these that applies. Additive Gaussian noise:
        the Gaussian of (T10), with momentum that of θ in (T19), or its Langevin counterpart. (T5), (T6), (T7) in one
        dimension: Pearson's family, Student's t among them. (T4) in one dimension with Gaussian noise that depends on
        θ: its integral equation, with power-law tails. A solver instead asks for a numerical method:
        ``FiniteVolume()``, the null vector of the chain (T6, T7); ``Transfer()``, the fixed point of a step (T4,
        for d = 3 where boxes or kernels resolve it); ``Fourier()``, the infinite product of characteristic functions
        (T4, additive); ``Hermite()``, the limit of the series (d <= 2), for (T5) with d = 2 too;
        ``FiniteDifference()``, a late step (T5).

        Nonlinear landscapes, d <= 2: zero flux by quadrature for (T6), (T7) on a line, the fixed point of a step for
        (T4), null vectors of the chain for (T6), (T7) in the plane.

    Returns
    -------
    Density
        Its ``outside`` is the mass beyond the grid, exact even for power-law tails in one dimension, where ``above`` is
        the part above it; its ``error`` the estimated L1 error on the grid, 0 for closed forms. Its mean and covariance
        are those of the law, not of the grid; where power-law tails leave none, they are NaN or inf, as
        ``dfp.Density`` says, and ``warnings`` name the tail index κ. Such a law is known by its quantiles.

    Raises
    ------
    NoStationaryDensity
        If there is none: the message names the mode, its regime and the numbers that decide.
    UnsupportedError
        If no method is known: among others, for d > 1, laws whose variance is infinite.
    UnresolvedError, SeriesError
        If no affordable grid resolves it, or a series does not converge.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> law = dfp.stationary(dfp.MasterEquation(sgd))
    >>> print(law.covariance.round(4), round(law.probability(-1.0, 1.0), 4))
    [[0.1111]] 0.9973
    """
    grid = counted(grid)
    if isinstance(grid, int):
        return stationary(equation, stationary(equation, None, solver).grid.resized(grid), solver)
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    found = labelled(_law(equation, grid, solver), equation)
    if isinstance(equation, Equation):
        found = with_exact_moments(equation, found)
    if found.outside > OUTSIDE_LIMIT:
        wider = "give a wider grid=dfp.Grid(lower, upper, cells) for it"
        what = "error leaves" if process.sgd.affine else "error, mean and covariance leave"
        found = told(found, f"{found.outside:.2g} of the mass is outside the grid, which {what} out; {wider}.")
    joint = _joint(equation)
    return found if joint is None else found.with_moments(found.mean, found.covariance, joint)


def _joint(equation: Equation | AveragedEquation) -> Joint | None:
    """Return the stationary moments of (θ, v), for what starts from the law; NaN where they are not known."""
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    sgd, average = process.sgd, process is not equation
    if not sgd.momentum and not average:
        return None
    if average or not (process.additive and sgd.noise.finite and sgd.replace and sgd.preconditioner is None):
        return Joint.unknown(process.dimension)
    values, vectors = sgd.modes
    noise = vectors.T @ sgd.noise.constant @ vectors
    pairs = modal.stationary_step(values, noise, sgd.learning_rate, sgd.momentum, sgd.nesterov)
    parts = vectors @ np.moveaxis(pairs, (2, 3), (0, 1)) @ vectors.T
    whole = np.block([[parts[a, b] for b in range(2)] for a in range(2)])
    return Joint(np.concatenate([sgd.critical_point, np.zeros(sgd.dimension)]), whole)


def _law(equation: Equation | AveragedEquation, grid: Grid | None, solver: Solver | str) -> Density:
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    check_equation(process, grid, waves=True)
    if process.dimension > 3 and process.sgd.affine:
        raise UnsupportedError(f"d = {process.dimension}: densities need d <= 3; use dfp.stationary_moments(equation).")
    if isinstance(equation, AveragedEquation):
        if solver != "auto":
            refuse()
        settled = stationary_moments(equation)
        law = Gaussian(settled.mean, settled.covariance)
        closed = process.additive and process.sgd.law.gaussian
        found = _gridded(law, grid) if closed else numeric.of_average(equation, law, grid)
        return found.with_moments(law.mean, law.covariance)
    if equation.sgd.affine and not equation.sgd.noise.finite:
        return _without_variance(equation, grid, solver)
    _require_noise(equation)
    if equation.dimension > 1 or (equation.discrete and not equation.truncated):
        _require_width(equation)
    if not equation.sgd.affine:
        if solver != "auto":
            raise UnsupportedError(f"solver={checks.shown(solver)}: nonlinear landscapes have one method; use 'auto'.")
        return nonlinear_law.stationary(equation, grid)
    if solver != "auto":
        return _asked_for(equation, grid, solver)
    if equation.dimension == 1 and (equation.truncated or not equation.discrete):
        return _one_dimensional(equation, grid)
    if equation.additive and not equation.truncated and (not equation.discrete or equation.sgd.noise.gaussian):
        return _gaussian(equation, grid)
    return _computed(equation, grid)


def _without_variance(equation: Equation, grid: Grid | None, solver: Solver | str) -> Density:
    """Return the law under gradient noise that has no variance: a product of characteristic functions (T4)."""
    if equation.truncated or not equation.discrete:
        raise UnsupportedError(
            f"noise has no variance, and the {equation.label} knows it by its covariance alone; use "
            "dfp.MasterEquation(sgd)."
        )
    if solver != "auto" and not isinstance(solver, Fourier):
        raise UnsupportedError(f"solver={checks.shown(solver)}: noise has no variance; use 'auto' or dfp.Fourier().")
    _require_contraction(equation)
    return numeric.by_late_step(equation, grid)


def _require_noise(equation: Equation) -> None:
    """Raise ``NoStationaryDensity`` where steps are the same every time and lead to a point."""
    sgd = equation.sgd
    if not (sgd.affine and sgd.additive and sgd.noise.finite) or np.any(sgd.noise.constant):
        return
    try:
        end = stationary_moments(equation).mean
    except DFPError:  # where it leads elsewhere, others say where
        return
    raise NoStationaryDensity(
        f"there is no noise: every start ends in the point {_shown(end)}, which has no density; add gradient noise, "
        "dfp.GaussianNoise(gradient=...), or use dfp.stationary_moments(equation)."
    )


def _require_width(equation: Equation) -> None:
    """Raise ``NoStationaryDensity`` where all minibatches have the same minimum, at least along a mode."""
    if not equation.sgd.affine or equation.additive or not equation.sgd.plain:
        return
    for mode in modes(equation.sgd):
        if mode.collapsing:
            end = "collapses onto it and has no density" if mode.regime == "interpolating" else f"is {mode.regime}"
            raise NoStationaryDensity(
                f"the mode of curvature {mode.curvature:.4g} has no gradient noise where every minibatch has the same "
                f"minimum, θ = {_shown(equation.sgd.critical_point)}, and the law {end} "
                f"(ℓ = {mode.lyapunov_exponent:.4g}, ρ₂ = {mode.growth:.4g}); add gradient noise, or use dfp.solve or "
                "dfp.moments for the law at a given step."
            )


def _computed(equation: Equation, grid: Grid | None) -> Density:
    """Return it by the method that fits, where no closed form is known."""
    if equation.truncated:
        if equation.dimension == 3:
            return numeric.by_steps(equation, grid, FiniteDifference())
        return numeric.by_series(equation, grid, Hermite(degree=24))
    if not equation.discrete:
        return numeric.by_chain(equation, grid, FiniteVolume())
    if equation.additive:
        _require_contraction(equation)
        return numeric.by_fourier(equation, grid, Fourier())
    if equation.dimension == 1 and equation.sgd.noise.gaussian and not np.any(equation.sgd.noise.cross(np.ones(1))):
        return numeric.by_kesten(equation, grid)
    return numeric.by_transfer(equation, grid, Transfer())


def _asked_for(equation: Equation, grid: Grid | None, solver: Solver | str) -> Density:
    if equation.additive:
        _require_contraction(equation)
    able = [kind for kind in numeric.BY_SOLVER if equation.number in numeric.EQUATIONS.get(kind, kind.equations)]
    able = [kind for kind in able if kind is not Fourier or equation.additive]
    chosen = next((kind for kind in able if kind is type(solver)), None)
    if chosen is None:
        names = ", ".join(f"dfp.{kind.__name__}()" for kind in able)
        raise UnsupportedError(
            f"solver={checks.shown(solver)}: has no stationary density of the {equation.label}; use 'auto' or {names}."
        )
    return numeric.BY_SOLVER[chosen](equation, grid, solver)


def _require_contraction(equation: Equation) -> None:
    """Raise ``NoStationaryDensity`` unless every mode of an equation with additive noise contracts."""
    values = equation.sgd.modes_of_map[0]
    for curvature, rate in zip(values, equation.mode_rates(values) * values, strict=True):
        if not (0 < rate < 2 if equation.discrete else rate > 0):
            raise NoStationaryDensity(
                f"the mode of curvature {curvature:.4g} "
                f"{_regime(equation.sgd.learning_rate * curvature, equation.discrete)}; use dfp.solve "
                "or dfp.moments for its law at a given step, or change learning_rate or weight_decay."
            )


def _gaussian(equation: Equation, grid: Grid | None) -> Density:
    """Return the Gaussian of a linear equation with additive noise; every mode must contract."""
    if not equation.sgd.commutes:
        settled = stationary_moments(equation)
        return _gridded(Gaussian(settled.mean, settled.covariance), grid)
    if equation.sgd.momentum:
        return _with_momentum(equation, grid)
    values, vectors = equation.sgd.modes
    _require_contraction(equation)
    rates = equation.mode_rates(values) * values
    noise = vectors.T @ equation.diffusion(np.zeros(equation.dimension)) @ vectors
    pair = rates[:, None] + rates[None, :] - (np.outer(rates, rates) if equation.discrete else 0.0)
    offset = equation.mode_rates(values) * (vectors.T @ equation.sgd.gradient)
    return _gridded(Gaussian(vectors @ (-offset / rates), vectors @ (noise / pair) @ vectors.T), grid)


def _with_momentum(equation: Equation, grid: Grid | None) -> Density:
    """Return the Gaussian of θ where (θ, v) settles (T19); the matrix of every mode must contract."""
    sgd = equation.sgd
    values, vectors = sgd.modes
    limit = modal.largest_decay(sgd.momentum, sgd.nesterov)
    for curvature in values:
        decay = sgd.learning_rate * curvature
        if not 0 < decay < limit:
            raise NoStationaryDensity(
                f"the mode of curvature {curvature:.4g} is {'diffusive' if decay in (0, limit) else 'unstable'} with "
                f"momentum={sgd.momentum:g} (ηλ = {decay:.4g}, stable between 0 and {limit:.4g}); use dfp.solve or "
                "dfp.moments for its law at a given step, or change learning_rate, momentum or weight_decay."
            )
    noise = vectors.T @ sgd.noise.constant @ vectors
    covariance = modal.stationary_step(values, noise, sgd.learning_rate, sgd.momentum, sgd.nesterov)[:, :, 0, 0]
    return _gridded(Gaussian(sgd.critical_point, vectors @ covariance @ vectors.T), grid)


def _shown(vector: Array) -> str:
    """Return a vector in few digits, zeros without a sign."""
    return checks.shown([float(f"{entry + 0.0:.4g}") for entry in vector])


def _gridded(state: Gaussian, grid: Grid | None) -> Density:
    values, vectors = np.linalg.eigh(state.covariance)
    if not values[0] > 1e-13 * values[-1]:
        raise NoStationaryDensity(
            f"the noise leaves out the direction {_shown(vectors[:, 0])} (the covariance has the eigenvalue "
            f"{max(values[0], 0.0):.3g}): along it the law is a point, that of θ = {_shown(state.mean)}, and has no "
            "density; add gradient noise there, or use dfp.stationary_moments(equation)."
        )
    exact = Moments(np.zeros(1, dtype=np.int64), state.mean[None], state.covariance[None])
    chosen = automatic(exact) if grid is None else grid
    density = state.on(chosen)
    missing = 1.0 - float(density.sum()) * chosen.cell_volume
    if grid is not None:
        _check_given(grid, state, density, missing)
    return Density(chosen, density, outside=max(0.0, missing))


def _check_given(grid: Grid, state: Gaussian, density: Array, missing: float) -> None:
    """Refuse cells that do not resolve the density of which so much is ``missing``; cells chosen by it do."""
    deviation = np.sqrt(np.diag(state.covariance))
    tails = ndtr((grid.lower - state.mean) / deviation) + ndtr((state.mean - grid.upper) / deviation)
    # A box leaves out as much as one axis does at least, and as all do at most; a sum over cells errs by
    # Δ²/24 of the density's slope at walls that cut it, 0.242/σ² at most.
    slack = min(1e-6 + 0.02 * float(np.sum((grid.spacing / deviation) ** 2)), 1e-2)
    numeric.check_cells(density, min(max(missing, tails.max()), tails.sum()), grid, slack)


def _regime(step: float, discrete: bool) -> str:
    if step == 0:
        return "is diffusive (λ = 0): its variance grows without bound"
    if step < 0:
        return f"is unstable (ηλ = {step:.4g} < 0)"
    if discrete and abs(step - 2) <= 2e-14:
        return "is diffusive (ηλ = 2: it alternates and its variance grows without bound)"
    return f"is unstable (ηλ = {step:.4g} > 2)"


def _one_dimensional(equation: Equation, grid: Grid | None) -> Density:
    drift, offset = float(equation.linear_drift.item()), float(equation.constant_drift.item())
    if equation.truncated:
        _require_mean(equation)
    coefficients = second_order_polynomial(equation)[0, 0]
    diffusion = float(coefficients[0, 0]), 2 * float(coefficients[0, 1]), float(coefficients[1, 1])
    law = (drift, offset, diffusion)
    _check_law(equation, *law)
    centre, width = pearson.mode(*law), pearson.scale(*law)
    total = pearson.mass(-np.inf, np.inf, *law)

    def above(place: float) -> float:
        return pearson.mass(place, np.inf, *law) / total

    def outside(lower: float, upper: float) -> float:
        return pearson.mass(-np.inf, lower, *law) / total + above(upper)

    if grid is None:
        reach = 8.0 * width
        while outside(centre - reach, centre + reach) > _OUTSIDE and reach < width * _CELLS / _CELLS_PER_WIDTH / 4:
            reach *= 1.5
        cells = int(np.clip(2 * reach / width * _CELLS_PER_WIDTH, 256, _CELLS))
        grid = Grid(centre - reach, centre + reach, cells)
    theta = grid.axes[0]
    top = pearson.log_density(np.array(centre), *law)
    values: Array = np.exp(pearson.log_density(theta, *law) - top) / total
    beyond = outside(float(grid.lower[0]), float(grid.upper[0]))
    numeric.check_cells(values, beyond, grid)
    return Density(grid, values, outside=beyond, above=above(float(grid.upper[0])))


def _require_mean(equation: Equation) -> None:
    """Raise where a fixed point of (T5) is none that it tends to: for ηλ >= 2 it drives the mean away from θ*."""
    curvature = float(equation.sgd.hessian.item())
    step = equation.sgd.learning_rate * curvature
    if step >= 2 * (1 - 1e-14):
        raise NoStationaryDensity(
            f"the mode of curvature {curvature:.4g} {_regime(step, discrete=True)}: the {equation.label} has a Student "
            f"t as a fixed point, but no start tends to it (its mean moves by the factor {1 - step:.4g} a step); lower "
            "learning_rate."
        )


def _check_law(equation: Equation, drift: float, offset: float, diffusion: tuple[float, float, float]) -> None:
    curvature = float(equation.sgd.hessian.item())
    q0, q1, q2 = diffusion
    if not (q0 > 0 and (q1 == q2 == 0 or 4 * q0 * q2 > q1**2 * (1 + 1e-12))):
        _refuse_vanishing(equation, drift, offset, diffusion)
    index = pearson.tail_index(drift, diffusion)
    if not index > 0:
        regime = "diffusive" if curvature == 0 else "unstable"
        raise NoStationaryDensity(
            f"the mode of curvature {curvature:.4g} is {regime} in the {equation.label}: its tails would fall like "
            f"x^(-κ) with κ = {index:.3g} <= 0, which has no finite mass; change learning_rate or weight_decay."
        )


def _refuse_vanishing(equation: Equation, drift: float, offset: float, diffusion: tuple[float, float, float]) -> None:
    """Raise where the diffusion is not positive everywhere: what is lost depends on the drift at that place."""
    q0, q1, q2 = diffusion
    noise = (
        f"the noise of the {equation.label} vanishes or is negative somewhere (Q = {q0:.3g} + {q1:.3g} θ + {q2:.3g} θ²)"
    )
    place = -q1 / (2 * q2) if q2 > 0 else 0.0
    touches = q2 > 0 and abs(4 * q0 * q2 - q1**2) <= 1e-12 * (4 * abs(q0) * q2 + q1**2)
    where = f", at θ = {place + 0.0:.4g}" * touches
    if touches and abs(drift * place + offset) > 1e-12 * (abs(drift * place) + abs(offset)):
        raise UnsupportedError(
            f"{noise}{where}, which the drift leaves: the law lives on one side of it, and no closed form "
            "is computed here; use dfp.solve for a late step, or add gradient noise."
        )
    remedy = ", or use dfp.ModifiedLangevin(sgd, positive=True)" if equation.indefinite else ""
    raise NoStationaryDensity(f"{noise}{where}: the law may collapse onto that point; add gradient noise{remedy}.")
