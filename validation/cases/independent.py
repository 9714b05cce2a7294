"""Every equation is also computed by code that shares nothing with the library, and the two agree.

(T6), (T7) and (T7m) by py-pde's finite volumes, their stationary and transient covariances by SciPy; (T4) by plain
NumPy sampling and by a brute trapezoidal rule; (T5) by its literal stencil on a coarse grid in plain NumPy.

Source: Zwicker (2020), py-pde; SciPy; theory page (T4) to (T7m).

Tolerance: py-pde's explicit scheme of second order on 200 cells has errors below 6e-3 in L1; covariances by SciPy
agree to 1e-10; the trapezoidal rule to 1e-8; the stencil, exact in mean and covariance, to 1e-8 of what its walls
keep.

Control: (T6) in place of (T7) must fail against py-pde's (T7).
"""

from importlib.util import find_spec

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

import dfp
from dfp.checks import Array
from dfp.problem.equation import Equation
from validation.case import Case, Result, Verdict, at_most, sampled
from validation.sampling import ensemble, variance

ETA, STEPS = 0.2, 10
NOISE, CURVATURE_NOISE, TILT = 0.4, 0.3, 0.3
MISSING = "py-pde is not installed: (T6), (T7), (T7m) were compared with SciPy alone; pip install 'dfp[validation]'."


def landscape() -> dfp.QuadraticLandscape:
    """Return a tilted mode with noise of gradient and curvature."""
    return dfp.QuadraticLandscape([1.0], [TILT], dfp.GaussianNoise([NOISE], [CURVATURE_NOISE]))


def drift(theta: Array, kind: str) -> Array:
    """Return minus the drift of a generator, by hand."""
    gradient = theta + TILT
    factor = {"T6": 1.0, "T7": 1 + ETA / 2, "T7m": 1 + ETA / 2 + ETA**2 / 3}[kind]
    return factor * gradient


def diffusion(theta: Array, kind: str) -> Array:
    """Return the diffusion of a generator, by hand: C = D + Γθ², and (T7m)'s additions."""
    c = NOISE + CURVATURE_NOISE * theta**2
    if kind == "T7m":
        c = c + ETA / 2 * (2 * c + 2 * CURVATURE_NOISE * theta * (theta + TILT))
    return ETA * c


def run(quick: bool) -> Result:
    """Compare each equation with its stranger."""
    sgd, start = dfp.SGD(landscape(), ETA), dfp.Gaussian([0.8], [0.1])
    equations = {
        "T6": dfp.Langevin(sgd),
        "T7": dfp.ModifiedLangevin(sgd, matched=False),
        "T7m": dfp.ModifiedLangevin(sgd),
    }
    verdicts = [*_matrices(), *_master(sgd, start, 100_000 if quick else 4_000_000), _stencil(sgd, start)]
    verdicts += [_moments(name, equation, start) for name, equation in equations.items()]
    notes = []
    if find_spec("pde") is None:
        notes.append(MISSING)
    else:
        verdicts += [_py_pde(name, name, equation, start) for name, equation in equations.items()]
        verdicts.append(_py_pde("T7", "T6", equations["T6"], start, control=True))
    return Result(verdicts, notes=notes)


def _matrices() -> list[Verdict]:
    """Return verdicts on stationary covariances against SciPy's Lyapunov solvers, d = 3, HC ≠ CH."""
    hessian = np.array([[1.0, 0.2, 0.0], [0.2, 0.6, 0.1], [0.0, 0.1, 0.3]])
    noise = np.array([[0.5, 0.2, 0.1], [0.2, 0.4, 0.0], [0.1, 0.0, 0.3]])
    sgd = dfp.SGD(dfp.QuadraticLandscape(hessian, 0.0, dfp.GaussianNoise(noise)), 0.3)
    step = np.eye(3) - 0.3 * hessian
    strangers = {
        "T4": (dfp.MasterEquation(sgd), solve_discrete_lyapunov(step, 0.09 * noise)),
        "T5": (dfp.DiscreteFokkerPlanck(sgd), solve_discrete_lyapunov(step, 0.09 * noise)),
        "T6": (dfp.Langevin(sgd), solve_continuous_lyapunov(hessian, 0.3 * noise)),
    }
    found = []
    for name, (equation, truth) in strangers.items():
        ours = dfp.moments(equation, dfp.Point(np.zeros(3)), 2000, [2000]).covariance[0]
        what = (f"({name}), stationary, d = 3", "SciPy's Lyapunov solver", "largest difference")
        found.append(at_most(what, float(np.abs(ours - truth).max()), 1e-10))
    return found


def _master(sgd: dfp.SGD, start: dfp.Gaussian, runs: int) -> list[Verdict]:
    def step(theta: Array, rng: np.random.Generator) -> Array:
        h, g = rng.standard_normal((2, *theta.shape))
        curvature, gradient = 1 + np.sqrt(CURVATURE_NOISE) * h, TILT + np.sqrt(NOISE) * g
        return theta - ETA * (curvature * theta + gradient)

    ours = dfp.solve(dfp.MasterEquation(sgd), start, STEPS, [STEPS], dfp.Transfer(), dfp.Grid(-4.0, 4.0, 800))
    begin = 0.8 + np.sqrt(0.1) * np.random.default_rng(0).standard_normal(runs)
    drawn = variance(ensemble(begin, step, [STEPS], seed=13)[0])
    x = ours.gridded()[0].axes[0]
    h = x[1] - x[0]
    deviation = ETA * np.sqrt(NOISE + CURVATURE_NOISE * x**2)
    kernel = (
        np.exp(-0.5 * ((x[:, None] - x + ETA * (x + TILT)) / deviation) ** 2) / (np.sqrt(2 * np.pi) * deviation) * h
    )
    density = np.exp(-0.5 * (x - 0.8) ** 2 / 0.1) / np.sqrt(2 * np.pi * 0.1)
    for _ in range(STEPS):
        density = kernel @ density
    apart = float(np.abs(ours.gridded()[1][-1] - density).sum() * h)
    return [
        at_most(("(T4), curvature noise", "trapezoidal rule in NumPy", "L1 difference of densities"), apart, 1e-8),
        sampled(("(T4), curvature noise", "NumPy sampling", "variance"), *drawn, ours.covariance.item()),
    ]


def _stencil(sgd: dfp.SGD, start: dfp.Gaussian) -> Verdict:
    """Return the verdict on (T5) by its literal stencil, on cells no finer than a step."""
    ours = dfp.moments(dfp.DiscreteFokkerPlanck(sgd), start, STEPS, [STEPS])
    x = np.arange(-60, 61) * 0.2
    gradient = x + TILT
    raw = NOISE + CURVATURE_NOISE * x**2 + gradient**2
    # Far out, where weights would be negative, nothing arrives in ten steps from a start of two cells.
    right, left = (ETA**2 * raw / 0.08 - s * ETA * gradient / 0.4 for s in (1, -1))
    inside = np.abs(x) < 8
    right, left = right * inside, left * inside
    weights = np.exp(-0.5 * (x - 0.8) ** 2 / 0.1)
    p = weights / weights.sum()
    for _ in range(STEPS):
        p = p * (1 - right - left) + np.roll(p * right, 1) + np.roll(p * left, -1)
    mean = p @ x
    error = abs(p @ (x - mean) ** 2 - ours.covariance.item()) / ours.covariance.item()
    return at_most(
        ("(T5), curvature noise", "literal stencil in NumPy", "covariance, relative difference"), float(error), 1e-6
    )


def _moments(name: str, equation: Equation, start: dfp.Gaussian) -> Verdict:
    """Return the verdict on transient moments by SciPy's integrator, from the drift and diffusion by hand."""

    def rate(_: float, y: Array) -> Array:
        mean, second = y
        factor = drift(np.array(1.0), name) - drift(np.array(0.0), name)
        offset = drift(np.array(0.0), name)
        q0, q1 = diffusion(np.array(0.0), name), (diffusion(np.array(1.0), name) - diffusion(np.array(-1.0), name)) / 2
        q2 = diffusion(np.array(1.0), name) - q0 - q1
        return np.array(
            [-factor * mean - offset, -2 * factor * second - 2 * offset * mean + q0 + q1 * mean + q2 * second]
        )

    end = solve_ivp(rate, (0, ETA * STEPS), [0.8, 0.8**2 + 0.1], method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    ours = dfp.moments(equation, start, STEPS, [STEPS])
    error = max(abs(ours.mean.item() - end[0]), abs(ours.covariance.item() - end[1] + end[0] ** 2))
    return at_most(
        (f"({name}), curvature noise", "SciPy's integrator", "mean and covariance, difference"), float(error), 1e-10
    )


def _py_pde(kind: str, name: str, equation: Equation, start: dfp.Gaussian, *, control: bool = False) -> Verdict:
    """Return the verdict on the density against py-pde, which is given the equation ``kind`` as text."""
    import pde

    factor = {"T6": 1.0, "T7": 1 + ETA / 2, "T7m": 1 + ETA / 2 + ETA**2 / 3}[kind]
    c = f"({NOISE} + {CURVATURE_NOISE} * x**2)"
    if kind == "T7m":
        c = f"({c} * (1 + {ETA}) + {ETA * CURVATURE_NOISE} * x * (x + {TILT}))"
    half, text = ETA / 2, f"{factor} * (x + {TILT})"
    grid = pde.CartesianGrid([[-4, 4]], 200)
    state = pde.ScalarField.from_expression(grid, f"exp(-0.5 * (x - 0.8)**2 / 0.1) / sqrt(0.2 * {np.pi})")
    right = f"d_dx({text} * p) + laplace({half} * {c} * p)"
    solver = pde.PDE({"p": right}, bc={"value": 0})
    result = solver.solve(state, t_range=ETA * STEPS, dt=1e-3, tracker=None, backend="numpy")
    ours = dfp.solve(equation, start, STEPS, [STEPS], dfp.FiniteVolume(), dfp.Grid(-4.0, 4.0, 1600))
    theirs, x = np.asarray(result.data), np.asarray(grid.axes_coords[0])
    values = np.interp(x, ours.gridded()[0].axes[0], ours.gridded()[1][-1])
    apart = float(np.abs(values - theirs).sum() * (x[1] - x[0]))
    subject = "control: py-pde's (T7)" if control else "py-pde"
    return at_most((f"({name}), curvature noise", subject, "L1 difference of densities"), apart, 6e-3, control=control)


CASE = Case("independent", __doc__, run)
