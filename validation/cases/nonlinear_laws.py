"""Stationary laws of landscapes that are no parabolas: closed forms of Langevin, fixed points of SGD, a known current.

On a line (T6) and (T7) have P ∝ C⁻¹ exp(∫ 2f/(ηC)) in closed form, and (T4) is sampled, cell by cell. In the plane a
double well across a quartic, turned by 29°, has the product of two laws on lines; with the drift turned by ωJ, (T6)
keeps its law exp(−2U/(ηD)) and has the current −ωJ∇U P.

Source: zero flux on a line (Risken 1989, section 5.2); theory page, section 6.

Tolerance: closed forms 1e-10 of the highest density; the largest of some hundred z-scores of cells below 4.8, which one
correct sample in 5000 exceeds; laws in the plane within the error that they state; currents within 1 %, what cells of
a seventh of a deviation leave.

Control: the laws of (T6) and (T7m) must be told from the sample, those of (T6) from the closed form of (T7).
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy.interpolate import make_interp_spline

import dfp
from validation.case import Case, Picture, Result, Verdict, at_least, at_most, close
from validation.figures import COLOURS, canvas, keys, label

RATE, LEVEL, SLOPE, LIMIT = 0.2, 0.3, 0.2, 4.8
_TURN, _NOISE = 0.8, (0.5, 0.25)
_ROTATION = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
_KINDS: dict[str, Callable[[dfp.SGD], Any]] = {
    "(T4)": dfp.MasterEquation,
    "(T6)": dfp.Langevin,
    "(T7)": lambda sgd: dfp.ModifiedLangevin(sgd, matched=False),
    "(T7m)": dfp.ModifiedLangevin,
}


def run(quick: bool) -> Result:
    """Compare laws with closed forms, with samples, and with products of laws on lines."""
    sgd = dfp.SGD(_well(LEVEL, SLOPE), RATE)
    verdicts = _closed_forms(sgd)
    sampled, picture = _against_samples(sgd, 1_000_000 if quick else 10_000_000)
    verdicts += sampled + _in_the_plane() + _current()
    return Result(verdicts, {"rate": RATE}, [picture])


def _well(level: float, slope: float) -> dfp.Landscape:
    return dfp.Landscape(
        lambda at: at**3 - at, lambda at: level + slope * at[:, 0] ** 2, hessian=lambda at: 3 * at[:, 0] ** 2 - 1
    )


def _closed(theta: np.ndarray, correction: float) -> np.ndarray:
    """Return C⁻¹ exp(−∫ 2ḡ(1 + cH)/(ηC)), c = ``correction``: by polynomial division in u = θ², C linear in u."""
    noise = np.array([SLOPE, LEVEL])
    quotient, rest = np.polydiv(np.polymul([1.0, -1.0], [3 * correction, 1 - correction]), noise)
    square = theta**2
    exponent = np.polyval(np.polyint(quotient), square) + rest[-1] / SLOPE * np.log(np.polyval(noise, square))
    density = np.exp((exponent.min() - exponent) / RATE) / np.polyval(noise, square)
    return np.asarray(density / density.sum())


def _closed_forms(sgd: dfp.SGD) -> list[Verdict]:
    verdicts = []
    for name, correction in (("(T6)", 0.0), ("(T7)", RATE / 2)):
        law = dfp.stationary(_KINDS[name](sgd))
        found = law.values / law.values.sum()
        for other, control in ((correction, False), (RATE / 2 - correction, True)):
            wanted = _closed(law.grid.axes[0], other)
            error = float(np.max(np.abs(found - wanted)) / wanted.max())
            what = ("line", "control: the other's" if control else name, f"{name} from its closed form")
            verdicts.append(at_most(what, error, 1e-10, control=control))
    return verdicts


@numba.njit(parallel=True)
def _ends(runs, blocks, steps, rate, level, slope):  # type: ignore[no-untyped-def]
    """Return where independent runs from either well are after ``steps``, each block from a seed of its own."""
    result = np.empty((blocks, runs // blocks))
    for block in numba.prange(blocks):
        np.random.seed(block)  # noqa: NPY002 (all that compiled code has)
        for r in range(result.shape[1]):
            theta = 1.0 if r % 2 else -1.0
            for _ in range(steps):
                noise = np.sqrt(level + slope * theta * theta) * np.random.standard_normal()  # noqa: NPY002
                theta -= rate * (theta**3 - theta + noise)
            result[block, r] = theta
    return result.ravel()


def _against_samples(sgd: dfp.SGD, runs: int) -> tuple[list[Verdict], Picture]:
    # Runs begin in both wells alike, so that what settles slowest is settled; the rest is, to 1e-7, after 60 steps.
    drawn = _ends(runs, 100, 60, RATE, LEVEL, SLOPE)
    edges = np.linspace(-2.6, 2.6, 131)
    counts = np.histogram(drawn, edges)[0]
    verdicts, figure = list[Verdict](), canvas(1, 1, 7.0, 4.2)
    axis = figure[1][0][0]
    for (name, kind), colour in zip(_KINDS.items(), COLOURS, strict=False):
        law = dfp.stationary(kind(sgd), dfp.Grid(edges[0], edges[-1], 130 * 32))
        mass = (law.values * law.grid.cell_volume).reshape(130, 32).sum(axis=1)
        expected = runs * mass
        seen = expected > 50  # where counts are nearly Gaussian
        z = ((counts - expected) / np.sqrt(expected * (1 - mass)))[seen]
        axis.plot(((edges[1:] + edges[:-1]) / 2)[seen], z, ".-", color=colour, label=name)
        subject = name if name == "(T4)" else f"control: {name}"
        what = ("line", subject, f"largest z of {seen.sum()} cells, {runs} samples")
        verdicts.append(at_most(what, float(np.max(np.abs(z))), LIMIT, control=name != "(T4)"))
    axis.set_yscale("symlog", linthresh=5)
    label(axis, "θ [parameter]", "z of the samples in a cell [1]", "Which law do samples of SGD have?")
    keys(axis)
    caption = (
        "Samples of SGD in the double well against four stationary laws, cell by cell: only that of (T4) has them."
    )
    return verdicts, Picture("", caption, figure[0])


def _in_the_plane() -> list[Verdict]:
    """Compare laws of the turned product with products of laws on lines."""
    lines = [
        dfp.Landscape(lambda at: at**3 - at, _NOISE[0], hessian=lambda at: 3 * at[:, 0] ** 2 - 1),
        dfp.Landscape(lambda at: at + at**3, _NOISE[1], hessian=lambda at: 1 + 3 * at[:, 0] ** 2),
    ]
    plane, verdicts, laws = turned_product(), [], {}
    for name, kind in _KINDS.items():
        law = laws[name] = dfp.stationary(kind(dfp.SGD(plane, RATE)))
        places, wanted = law.grid.points @ _ROTATION, np.ones(law.grid.cells)
        for i, line in enumerate(lines):
            known = dfp.stationary(kind(dfp.SGD(line, RATE)), dfp.Grid(-4.0, 4.0, 4000))
            inside = np.clip(places[..., i], -3.99, 3.99)
            wanted *= np.where(
                inside == places[..., i], make_interp_spline(known.grid.axes[0], known.values)(inside), 0
            )
        error = float(np.abs(law.values - wanted).sum() * law.grid.cell_volume)
        cells = "×".join(map(str, law.grid.cells))
        verdicts.append(
            at_most(("plane", name, f"L1 error on {cells} cells, against what it states"), error, law.error)
        )
        verdicts.append(at_most(("plane", name, "L1 error that it states"), law.error, 1e-4))
        if name == "(T4)":
            exact = law.grid, wanted
    other = dfp.stationary(dfp.Langevin(dfp.SGD(plane, RATE)), exact[0])
    apart = float(np.abs(other.values - exact[1]).sum() * exact[0].cell_volume)
    verdicts.append(at_most(("plane", "control: (T6)", "L1 distance from the law of (T4)"), apart, 1e-4, control=True))
    return verdicts


def turned_product() -> dfp.Landscape:
    """Return a double well across a quartic, turned so that no axis is special, with noise of a full covariance."""

    def gradient(at: np.ndarray) -> np.ndarray:
        u = at @ _ROTATION
        return np.asarray(np.stack([u[:, 0] ** 3 - u[:, 0], u[:, 1] + u[:, 1] ** 3], axis=1) @ _ROTATION.T)

    def hessian(at: np.ndarray) -> np.ndarray:
        u, result = at @ _ROTATION, np.zeros((len(at), 2, 2))
        result[:, 0, 0], result[:, 1, 1] = 3 * u[:, 0] ** 2 - 1, 1 + 3 * u[:, 1] ** 2
        return np.asarray(_ROTATION @ result @ _ROTATION.T)

    return dfp.Landscape(gradient, _ROTATION @ np.diag(_NOISE) @ _ROTATION.T, 2, hessian)


def _current() -> list[Verdict]:
    """Compare the current of a drift that turns, and what it produces, with closed forms."""
    matrix = np.eye(2) + _TURN * np.array([[0.0, -1.0], [1.0, 0.0]])

    def slope(at: np.ndarray) -> np.ndarray:
        return np.stack([at[..., 0] ** 3 - at[..., 0], at[..., 1]], axis=-1)

    landscape = dfp.Landscape(lambda at: slope(at) @ matrix.T, 0.5, 2)
    equation = dfp.Langevin(dfp.SGD(landscape, RATE))
    found: Any = dfp.probability_current(equation)
    grid = found.density.grid
    x, y = np.moveaxis(grid.points, -1, 0)
    law = np.exp(-2 * (x**4 / 4 - x**2 / 2 + y**2 / 2 + 0.25) / (RATE * 0.5))
    law /= law.sum() * grid.cell_volume
    wanted = -_TURN * np.stack([-y, x**3 - x], axis=-1) * law[..., None]
    verdicts = []
    for subject, sign in (("(T6)", 1), ("control: the other way round", -1)):
        error = float(np.abs(found.values - sign * wanted).sum() / np.abs(wanted).sum())
        what = ("drift that turns", subject, "L1 error of its current, relatively")
        verdicts.append(at_most(what, error, 0.01, control=sign < 0))
    produced = 2 * _TURN**2 * float(np.sum(law * (y**2 + (x**3 - x) ** 2))) * grid.cell_volume / (RATE * 0.5)
    entropy = dfp.entropy_production(equation).value
    verdicts.append(close(("drift that turns", "(T6)", "entropy production"), entropy, produced, 0.01 * produced))
    still = dfp.entropy_production(dfp.Langevin(dfp.SGD(turned_product(), RATE))).value
    verdicts.append(at_least(("drift that turns", "(T6)", "times the production of a drift that does not"),
                             entropy / max(still, 1e-12), 1e4))  # fmt: skip
    return verdicts


CASE = Case("nonlinear-laws", __doc__, run)
