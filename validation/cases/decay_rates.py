"""EXP 40: leading decay rates tell the generators apart at every η, where a matrix logarithm on a coarse grid cannot.

The rates −log(μ_k)/η of the master equation's eigenvalues μ_k are approached by (T6) at order 1, (T7) at order 2 and
(T7m) at order 3 for the slowest mode. The authors' grid is up to 16 kernel widths coarse, and their logarithm is
ill-conditioned.

Source: authors' experiment 40; theory page (T6), (T7), (T7m), section 4.

Tolerance: slopes over the three smallest learning rates within 0.15 of the order, what the next order bends at η =
0.03; rates agree to 1e-9 between two grids.

Control: the master equation on the authors' 61 points must fail the grid check.
"""

import numpy as np
from scipy.sparse.linalg import eigs

import dfp
from dfp.checks import Array
from dfp.methods import markov_chain
from validation.case import Case, Picture, Result, Table, at_most, close
from validation.figures import COLOURS, canvas, keys, label, ticks

RATES, SIGMA, PROBLEM = (0.1, 0.06, 0.03, 0.015), 0.35, "EXP 40"
LANDSCAPE = dfp.Landscape(
    lambda x: x + 0.2 * x**2 + 0.05 * x**3,
    lambda x: np.full((len(x), 1, 1), SIGMA**2),
    hessian=lambda x: (1 + 0.4 * x + 0.15 * x**2)[..., None],
)


def run(quick: bool) -> Result:
    """Compute the three slowest rates of all equations at the authors' learning rates."""
    exact = {eta: master_rates(eta, _box(eta), 0.5) for eta in RATES}
    finer = {eta: master_rates(eta, 1.2 * _box(eta), 0.35) for eta in RATES}
    names = ("T6", "T7", "T7m")
    found = {name: {eta: _generator_rates(name, eta) for eta in RATES} for name in names}
    errors = {name: [abs(found[name][eta][0] / exact[eta][0] - 1) for eta in RATES] for name in names}
    between = max(float(np.max(np.abs(exact[eta] / finer[eta] - 1))) for eta in RATES)
    coarse = max(abs(master_rates(eta, 2.5, None)[0] / exact[eta][0] - 1) for eta in RATES)
    verdicts = [
        at_most((PROBLEM, "(T4)", "rates on two grids, relative difference"), between, 1e-9),
        at_most(
            (PROBLEM, "control: 61 points on ±2.5", "slowest rate, relative difference"), coarse, 1e-9, control=True
        ),
    ]
    for order, name in enumerate(names, start=1):
        slope = float(np.polyfit(np.log(RATES[1:]), np.log(errors[name][1:]), 1)[0])
        verdicts.append(close((PROBLEM, f"({name})", "order of the slowest rate in η"), slope, order, 0.15))
    better = sum(b < a for a, b in zip(errors["T6"], errors["T7"], strict=True))
    verdicts.append(close((PROBLEM, "(T7) against (T6)", "learning rates at which it is better"), better, 4, 0.5))
    rows = [(eta, *exact[eta][:1], *(errors[name][k] for name in names), 2.5 * 2 / 60 / (eta * SIGMA))
            for k, eta in enumerate(RATES)]  # fmt: skip
    tables = [
        Table(
            "Slowest rate and relative errors of the generators. The authors find the corrected one better at 2 of 4 "
            "learning rates (gain 2.72): irreproducible on a grid so much coarser than the kernel; it is better at "
            "all.",
            ("η", "rate of (T4)", "error (T6)", "error (T7)", "error (T7m)", "authors' spacing / kernel width"),
            rows,
        )
    ]
    return Result(verdicts, {"eta": RATES, "errors": errors}, [_picture(errors)], tables)


def _box(eta: float) -> float:
    return 9 * SIGMA * float(np.sqrt(eta / 2))


def master_rates(eta: float, half: float, cells_per_width: float | None) -> Array:
    """Return the three slowest rates of the Gaussian kernel, by the trapezoidal rule on ±``half``."""
    width = eta * SIGMA
    count = 61 if cells_per_width is None else int(2 * half / (cells_per_width * width))
    x = np.linspace(-half, half, count)
    mean = x - eta * LANDSCAPE.gradient_at(x[:, None])[:, 0]
    kernel = np.exp(-0.5 * ((x[:, None] - mean) / width) ** 2) * (x[1] - x[0]) / (np.sqrt(2 * np.pi) * width)
    if cells_per_width is None:
        kernel /= np.maximum(kernel.sum(axis=0), 1e-18)
    values = np.sort(np.abs(np.linalg.eigvals(kernel)))[::-1]
    return -np.log(np.maximum(values[1:4], 1e-300)) / eta


def _generator_rates(name: str, eta: float) -> Array:
    """Return the three slowest rates of a generator: Richardson extrapolation of finite volumes on two grids."""
    sgd = dfp.SGD(LANDSCAPE, eta)
    equation = dfp.Langevin(sgd) if name == "T6" else dfp.ModifiedLangevin(sgd, matched=name == "T7m")
    first, second = (_eigenvalues(equation, _box(eta), cells) for cells in (500, 1000))
    return second + (second - first) / 3


def _eigenvalues(equation: dfp.Langevin | dfp.ModifiedLangevin, half: float, cells: int) -> Array:
    matrix, _ = markov_chain.generator(equation, dfp.Grid(-half, half, cells))
    # The shift lies to the right of all eigenvalues, so that the factorised matrix is regular.
    values = np.sort(-eigs(matrix.tocsc(), 4, sigma=0.1, return_eigenvectors=False).real)
    return np.asarray(values[1:4])


def _picture(errors: dict[str, list[float]]) -> Picture:
    figure, axes = canvas(1, 1, 6.5, 4.0)
    for colour, (name, values) in zip(COLOURS, errors.items(), strict=False):
        axes[0][0].loglog(RATES, values, "o-", color=colour, label=f"({name})")
    ticks(axes[0][0], RATES)
    label(axes[0][0], "learning rate η", "relative error of the slowest rate")
    keys(axes[0][0])
    return Picture("", "Relative error of the slowest decay rate: orders 1, 2 and 3, at every learning rate.", figure)


CASE = Case("exp-40", __doc__, run)
