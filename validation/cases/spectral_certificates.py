"""Spectral transfer (T22): certified errors are never below the true ones, and half of them within a factor of 3.

Random problems in the plane: Gaussian noise with tables of any size, finite sums, additive noise; starts a tenth to
twice as wide as the end; learning rates from .005 to .25.

Source: the same density in boxes 1.2 times as wide, with as many more nodes in a length, whose third moments are those
of the exact recursion.

Tolerance: no certified error below the true one by more than 5e-13, to which truths round; of true ones above 1e-11,
half within a factor of 3 and nine in ten within 4 for Gaussian noise, and within 10 for finite sums, where few
minibatches leave details whose waves fall unevenly; half within 3 where what is below counts as met; third moments of
the truths 1e-6 σ³, of what is left beyond the widest boxes, where they are certified to 1e-8.

Control: certificates a third as large must be caught.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

import dfp
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.solver import Problem
from dfp.methods.transfer.spectral import SpectralRun
from dfp.results.certificate import ROUNDING, SAFETY
from validation.case import Case, Result, Table, at_least, at_most

# Nodes of the truth that are affordable, and its width and nodes in a length over those of the run.
MOST, FINER = 6600, 1.2
# What truths round to, what certificates need not tell from it, and the truncation of truths that are held to moments.
TRUTH, SMALL, RESOLVED = 5e-13, 1e-11, 1e-8
KINDS = ("table", "finite sum", "additive")


@dataclass(frozen=True)
class Row:
    """One density beside its truth."""

    kind: str
    learning_rate: float
    steps: int
    true: float
    certified: float
    third: float
    """Largest error of the truth's third moments, in deviations; 0 where tails are too heavy for them."""


def problem(seed: int) -> tuple[str, dfp.MasterEquation, dfp.Gaussian, int] | None:
    """Return a random problem: kind, equation, start, steps; or None where second moments do not settle."""
    rng, kind, d = np.random.default_rng(seed), KINDS[seed % 3], 2
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    hessian = (axes * rng.uniform(0.2, 1.5, d)) @ axes.T
    rate = float(np.exp(rng.uniform(np.log(0.005), np.log(0.25))))
    if kind == "finite sum":
        x = rng.standard_normal((int(rng.integers(20, 120)), d)) * rng.uniform(0.5, 1.2, d) @ axes.T
        y = x @ rng.standard_normal(d) + rng.exponential(1.0, len(x)) - 1
        landscape = dfp.QuadraticLandscape.from_regression(x, y, batch_size=int(rng.choice([2, 4, 8, 32])))
    else:
        square = rng.standard_normal((d, d))
        table = rng.uniform(0, 0.6, (d, d)) * (kind == "table")
        noise = dfp.GaussianNoise(square @ square.T + 0.2 * np.eye(d), table)
        landscape = dfp.QuadraticLandscape((hessian + hessian.T) / 2, rng.uniform(-0.5, 0.5, d), noise)
    equation = dfp.MasterEquation(dfp.SGD(landscape, rate))
    try:
        settled = dfp.stationary_moments(equation)
    except dfp.NoStationaryDensity:
        return None
    width, steps = rng.uniform(0.1, 2), int(np.exp(rng.uniform(0, np.log(3 / rate))))
    away = rng.uniform(-1, 1, d) * np.sqrt(np.diag(settled.covariance))
    return kind, equation, dfp.Gaussian(settled.mean + away, width * settled.covariance), steps


def judged(seed: int) -> Row | None:
    """Return a density beside its truth, or None where either is refused or takes too long."""
    drawn = problem(seed)
    if drawn is None:
        return None
    kind, equation, start, steps = drawn
    asked = Problem.of(equation, start, np.array([steps]))
    try:
        run = SpectralRun(asked, None)
        if max(float(np.prod(box.cells)) for box, _ in run.boxes.plan) * FINER**4 > MOST:
            return None
        run.advance(steps)
        frame, truth = run.frame(), SpectralRun(asked, run.grid, FINER)
        truth.advance(steps)
        exact = truth.frame()
    except dfp.UnresolvedError:
        return None
    assert frame.density is not None and exact.density is not None and frame.outside is not None
    apart = np.abs(frame.density - exact.density).sum() * run.grid.cell_volume
    negative = -float(np.minimum(frame.density, 0).sum()) * run.grid.cell_volume
    certified = SAFETY * (frame.truncation + abs(frame.outside)) + negative + ROUNDING
    third = _third_error(truth, equation, start, steps) if exact.truncation < RESOLVED else 0.0
    return Row(kind, equation.learning_rate, steps, float(apart) + abs(frame.outside), certified, third)


def _third_error(truth: SpectralRun, equation: dfp.MasterEquation, start: dfp.Gaussian, steps: int) -> float:
    moving = HigherMoments(equation, start, 3)
    moving.advance(steps)
    frame = moving.frame()
    deviation = np.sqrt(np.diag(frame.covariance))
    apart = (truth.places - truth.mass @ truth.places) / deviation
    found = np.einsum("n,ni,nj,nk->ijk", truth.mass, apart, apart, apart, optimize=True)
    return float(np.max(np.abs(found - frame.third / np.einsum("i,j,k->ijk", *[deviation] * 3))))


def examined(seeds: Iterable[int]) -> list[Row]:
    """Return what was found on a range of seeds."""
    return [row for seed in seeds if (row := judged(seed)) is not None]


def run(quick: bool) -> Result:
    """Examine some seeds, or as many as make a hundred densities, of which thirty err by more than rounding."""
    rows = examined(range(30) if quick else range(120))
    true, certified = (np.array([getattr(row, name) for row in rows]) for name in ("true", "certified"))
    ratio, above = certified / true, true > SMALL
    met, summed = np.where(above, ratio, 1.0), np.array([row.kind == "finite sum" for row in rows])
    gaussian, sums = ratio[above & ~summed], ratio[above & summed]

    def covered(bounds: np.ndarray) -> float:
        return float(np.mean(true <= bounds + TRUTH))

    what, over, shares = "random problems of spectral transfer", "certified over true", (0, 10, 25, 50, 75, 90, 100)
    parts = (("all, rounding as one", met), ("Gaussian noise, above rounding", gaussian), ("finite sums", sums))
    return Result(
        [
            at_least((what, "densities", "number"), len(rows), 15 if quick else 80),
            at_most((what, over, "median, rounding counted as one"), float(np.median(met)), 3),
            at_most((what, over, "Gaussian noise, median"), float(np.median(gaussian)), 3),
            at_most((what, over, "Gaussian noise, 90 %"), float(np.percentile(gaussian, 90)), 4),
            at_most((what, over, "finite sums, median"), float(np.median(sums)), 3),
            at_most((what, over, "finite sums, 90 %"), float(np.percentile(sums, 90)), 10),
            at_least((what, "certificates", "share that bound the true error"), covered(certified), 1),
            at_most((what, "truths", "largest error of third moments"), max(row.third for row in rows), 1e-6),
            at_least(
                (what, "control: a third of it", "share that bound the true error"),
                covered(certified / 3), 1, control=True,
            ),
        ],
        {"true": true, "certified": certified},
        tables=[
            Table(
                "Certified over true L1 errors, percentiles.",
                ("", *(f"{q} %" for q in shares)),
                [[name, *(f"{np.percentile(part, q):.3g}" for q in shares)] for name, part in parts],
            )
        ],
    )  # fmt: skip


CASE = Case("spectral-certificates", __doc__, run)
