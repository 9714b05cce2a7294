"""How long what is asked of a double well takes, once compiled: escapes, exits, stationary laws."""

from collections.abc import Callable

import numpy as np

import dfp
from validation.benchmarks.growth import seconds
from validation.benchmarks.verdict import Verdict


def _sgd(rate: float, noise: float) -> dfp.SGD:
    landscape = dfp.Landscape(lambda at: at**3 - at, noise, hessian=lambda at: 3 * at[:, 0] ** 2 - 1)
    return dfp.SGD(landscape, rate)


def _asked(rate: float) -> dict[str, Callable[[], object]]:
    """Return what is asked at a learning rate, for Kramers' exponent 10 out of the well."""
    quiet, start = _sgd(rate, 0.05 / rate), dfp.Point([1.0])
    return {
        "escape: path, action, committor": lambda: dfp.escape(quiet, 1.0, (0.0, np.inf)),
        "mean exit of (T4)": lambda: dfp.exit_steps(dfp.MasterEquation(quiet), (0.0, 2.2), start, 10),
        "mean exit of (T6)": lambda: dfp.exit_steps(dfp.Langevin(quiet), (0.0, 2.2), start, 10),
        "stationary law of (T4)": lambda: dfp.stationary(dfp.MasterEquation(_sgd(rate, 0.02))),
    }


def wells(*, quick: bool) -> list[Verdict]:
    """Return verdicts on a second for each, and on 0.3 s for exits of (T4) at η = 3e-4."""
    verdicts = []
    for rate in (0.4,) if quick else (0.1, 0.4, 0.5, 0.6, 0.7):
        for name, run in _asked(rate).items():
            verdicts.append(Verdict.at_most(f"double well, η = {rate}, {name}: within 1 s", seconds(run, 3), 1.0, "s"))
    run = _asked(3e-4)["mean exit of (T4)"]
    goal = "double well, η = 3e-4, mean exit of (T4): within 0.3 s"
    return [*verdicts, Verdict.at_most(goal, seconds(run, 3), 0.3, "s")]
