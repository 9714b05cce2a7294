"""Twenty random problems of every kind of result, each made again from its file: to the bits.

Every result is saved, and solved again by ``dfp.rerun`` from what the file holds, and again from the file of that.
Problems differ in dimension, Hessian, law of noise (Gaussian in either form, Student's, minibatches), learning rate,
momentum, start, steps, solver and seed.

Source: reliability of files and runs, as the library promises it.

Tolerance: none; all bits.

Control: a result whose last bit is another must not count as the same.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import dfp
from dfp.config.rerun import same_bits
from validation.case import Case, Result, Table, Verdict, close

PROBLEMS, SEED = 20, 0


class Drawn:
    """One random problem, and the results that are asked of it."""

    def __init__(self, number: int, seed: int) -> None:
        self.rng = np.random.default_rng([seed, number])
        self.number, self.seed = number, int(self.rng.integers(2**31))

    def landscape(self, d: int, *, minibatches: bool = True) -> dfp.QuadraticLandscape:
        """Return a random bowl with noise of a random law."""
        rng, kind = self.rng, self.rng.integers(4 if minibatches else 2)
        if kind == 3:
            x = rng.standard_normal((12, d))
            return dfp.QuadraticLandscape.from_regression(x, x.sum(axis=1) + rng.standard_normal(12), batch_size=4)
        turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
        hessian = turn @ np.diag(rng.uniform(0.4, 1.5, d)) @ turn.T
        spread = rng.uniform(0.1, 1.0, d)
        if kind == 2:
            return dfp.QuadraticLandscape(hessian, noise=dfp.StudentNoise(spread, rng.uniform(3, 9)))
        curved = 0.0 if kind == 0 else rng.uniform(0.0, 0.2, d)
        return dfp.QuadraticLandscape(hessian, rng.normal(size=d), dfp.GaussianNoise(spread, curved))

    def sgd(self, landscape: dfp.QuadraticLandscape, **options: Any) -> dfp.SGD:
        """Return SGD of a random learning rate on it."""
        return dfp.SGD(landscape, float(self.rng.uniform(0.02, 0.3)), **options)

    def line(self) -> dfp.SGD:
        """Return SGD in one parameter under Gaussian noise."""
        return self.sgd(self.landscape(1, minibatches=False))

    def start(self, d: int) -> dfp.Gaussian:
        """Return a random start."""
        return dfp.Gaussian(self.rng.normal(size=d), float(self.rng.uniform(0.02, 0.3)))

    def steps(self) -> int:
        """Return how many."""
        return int(self.rng.integers(2, 30))

    def solution(self) -> dfp.Solution:
        """Return a density by whatever solver suits, or samples."""
        d = int(self.rng.integers(1, 3))
        sgd = self.sgd(self.landscape(d, minibatches=self.number % 2 == 0))
        solver: Any = dfp.MonteCarlo(3000, seed=self.seed) if self.number % 3 == 0 else "auto"
        kind = (
            dfp.MasterEquation if self.number % 2 == 0 else (dfp.Langevin, dfp.ModifiedLangevin)[self.number % 4 // 2]
        )
        return dfp.solve(kind(sgd), self.start(d), self.steps(), solver=solver)

    def schedule(self) -> dfp.OptimalSchedule:
        """Return the best one of random features."""
        features = dfp.GaussianFeatures(self.rng.uniform(0.1, 1.0, 4), noise=0.3, batch_size=4)
        return dfp.optimal_schedule(features, self.steps(), float(self.rng.uniform(0.5, 2.0)))

    def risk(self) -> dfp.RiskCurve:
        """Return the risk of random features."""
        features = dfp.GaussianFeatures(self.rng.uniform(0.1, 1.0, 4), noise=0.3, batch_size=4)
        return dfp.risk_curve(self.sgd(features), float(self.rng.uniform(0.5, 2.0)), self.steps())

    def phases(self) -> dfp.PhaseDiagram:
        """Return a small diagram."""
        rates, noises = np.sort(self.rng.uniform(0.1, 2.0, 3)), np.sort(self.rng.uniform(0.0, 3.0, 4))
        axes = {"learning_rate": rates}, {"curvature_noise": noises}
        return dfp.phase_diagram(*axes, curvature=float(self.rng.uniform(0.3, 2.0)), gradient_noise=0.3)

    def loss(self) -> dfp.LossLaw:
        """Return the law of the loss, closed or sampled."""
        equation = dfp.MasterEquation(self.sgd(self.landscape(2)))
        return dfp.loss_law(equation, self.start(2), self.steps(), samples=1000, seed=self.seed)

    def kinds(self) -> dict[str, Callable[[], Any]]:
        """Return what makes each kind."""
        return {
            "solution": self.solution,
            "density": lambda: dfp.stationary(dfp.MasterEquation(self.line())),
            "moments": lambda: dfp.moments(
                dfp.MasterEquation(self.sgd(self.landscape(3), momentum=0.5)), self.start(3), self.steps()
            ),
            "exit steps": lambda: dfp.exit_steps(dfp.MasterEquation(self.line()), (-3.0, 3.0), dfp.Point([0.0]), 30),
            "spectrum": lambda: dfp.spectrum(dfp.MasterEquation(self.line()), 3),
            "stationary moments": lambda: dfp.stationary_moments(dfp.MasterEquation(self.sgd(self.landscape(2)))),
            "modes": lambda: dfp.modes(self.sgd(self.landscape(2)), lyapunov_steps=200, seed=self.seed),
            "phase diagram": self.phases,
            "optimal schedule": self.schedule,
            "risk curve": self.risk,
            "loss law": self.loss,
        }


def run(quick: bool, seed: int = SEED) -> Result:
    """Make twenty of every kind, and each of them twice again."""
    counts, verdicts, sample = dict[str, list[int]](), list[Verdict](), None
    with tempfile.TemporaryDirectory() as folder:
        for number in range(PROBLEMS):
            for name in Drawn(number, seed).kinds():
                first = Drawn(number, seed).kinds()[name]()
                path, again = Path(folder) / "first.h5", Path(folder) / "again.h5"
                first.save(path)
                second = dfp.rerun(path)
                second.save(again)
                alike = same_bits(first, second) and same_bits(first, dfp.rerun(again))
                total = counts.setdefault(name, [0, 0])
                total[0], total[1] = total[0] + 1, total[1] + alike
                sample = first if name == "moments" else sample
    what = f"{PROBLEMS} random problems of every kind"
    for name, (made, same) in counts.items():
        verdicts.append(close((what, name, "made again to the bits"), same, made, 0.0))
    assert sample is not None
    other = same_bits(sample, replace(sample, mean=np.nextafter(sample.mean, np.inf)))
    verdicts.append(
        close((what, "control: last bits changed", "counts as the same"), float(other), 1.0, 0.0, control=True)
    )
    rows = [(name, *count) for name, count in counts.items()]
    return Result(verdicts, tables=[Table("Results made again from their files", ("kind", "made", "same bits"), rows)])


CASE = Case("made-again", __doc__, run)
