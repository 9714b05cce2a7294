"""The learning rate above which variances grow for ever, of any quadratic landscape."""

from dfp import checks
from dfp.exact.risk import threshold
from dfp.problem.gaussian_features import GaussianFeatures
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.sgd import SGD
from dfp.regimes.mode_report import modes


def largest_learning_rate(landscape: QuadraticLandscape, batch_size: int | None = None) -> float:
    """Return the learning rate above which second moments of plain SGD grow for ever (T16), of any quadratic landscape.

    Parameters
    ----------
    landscape
        Streaming least squares of any dimension, where κ of (T21) reaches 1 there, or any other; with momentum,
        weight decay or epochs ask ``dfp.modes(sgd).largest_stable_learning_rate``.
    batch_size
        B >= 1; the landscape's if left out.

    Returns
    -------
    float
        [parameter^2 / loss]; 0 where none is small enough, as at a saddle, and infinite where nothing moves but noise.

    Raises
    ------
    DFPError
        If no curvature of streaming least squares is positive, so that every learning rate is stable; or if the
        landscape is not quadratic.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> print(round(dfp.largest_learning_rate(dfp.QuadraticLandscape.from_regression(x, x[:, 0], batch_size=8)), 4))
    1.2942
    >>> print(round(dfp.largest_learning_rate(dfp.GaussianFeatures([1.0, 0.3, 0.1], batch_size=4)), 4))
    1.3135
    """
    if isinstance(landscape, GaussianFeatures):
        given = landscape.batch_size if batch_size is None else batch_size
        return threshold(landscape, checks.integer("batch_size", given, at_least=1))
    remedy = "must be a quadratic landscape; give landscape.expanded(at=θ) of another."
    checks.instance("landscape", landscape, QuadraticLandscape, remedy)
    # any learning rate: the largest does not depend on it
    return modes(SGD(landscape, 1.0, batch_size=batch_size)).largest_stable_learning_rate
