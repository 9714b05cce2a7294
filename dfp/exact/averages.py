"""Exact moments of averages of iterates, from those of the iterates (T20)."""

from collections.abc import Iterator

import numpy as np
from dfp_solvers import averages
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.problem.averages import Average
from dfp.problem.sgd import SGD


def factors(sgd: SGD, last: int) -> Iterator[Array]:
    """Yield the mean motion A of the state, θ or (θ, v), in the steps 0 … ``last`` − 1, (D, D) (T1, T19)."""
    hessian, eye, beta = sgd.hessian, np.eye(sgd.dimension), sgd.momentum
    rates = sgd.learning_rates.values(0, last)
    for rate in rates.tolist():
        if not beta:
            yield eye - rate * hessian
            continue
        # θ' = θ − ηv', or θ − η(Hθ + βv') with Nesterov; v' = Hθ + βv
        gradient, speed = (1 + beta, beta**2) if sgd.nesterov else (1.0, beta)
        yield np.block([[eye - rate * gradient * hessian, -rate * speed * eye], [hessian, beta * eye]])


def followed(average: Average, path: tuple[Array, Array], saved: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return means (S, d) and covariances (S, d, d) of m at the steps ``saved``, from the ``path`` of the iterates."""
    last, d = len(path[0]) - 1, average.dimension
    start = path[0][0, :d], path[1][0][:d, :d]
    wanted = set(saved.tolist())
    with np.errstate(over="ignore", invalid="ignore"):  # as the moments of unstable iterates
        run = averages.follow(factors(average.sgd, last), average.weights(last), *path, start)
        kept = [at for n, at in enumerate(run) if n in wanted]
    return np.array([mean for mean, _ in kept]), np.array([covariance for _, covariance in kept])
