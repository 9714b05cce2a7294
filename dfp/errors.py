"""The errors dfp raises. Each message names the cause, the value that caused it, and what to do instead."""


class DFPError(ValueError):
    """Base of every error that dfp raises on purpose.

    Examples
    --------
    >>> import dfp
    >>> try:
    ...     dfp.Grid(lower=1.0, upper=0.0, cells=10)
    ... except dfp.DFPError as error:
    ...     print(error)
    grid.upper[0]=0: must exceed grid.lower[0]=1; swap them.
    """


class UnsupportedError(DFPError):
    """The chosen solver cannot solve this equation, noise law or dimension.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.1, momentum=0.9)
    >>> try:
    ...     dfp.moments(dfp.Langevin(sgd), dfp.Point(1.0), 10)
    ... except dfp.UnsupportedError as error:
    ...     print(str(error).split(":")[0])
    momentum=0.9
    """


class UnresolvedError(DFPError):
    """No affordable grid resolves the density.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.1)
    >>> solver = dfp.FiniteDifference(spacing=1e-4)  # finer than a step
    >>> try:
    ...     dfp.solve(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.1), 10, solver=solver)
    ... except dfp.UnresolvedError as error:
    ...     print(str(error).split(":")[0])
    spacing=[0.0001]
    """


class SeriesError(DFPError):
    """A Hermite series does not converge for this problem.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.6)
    >>> try:
    ...     dfp.solve(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.1), 20, solver=dfp.Hermite())
    ... except dfp.SeriesError as error:
    ...     print(str(error).split(":")[0])
    step 20
    """


class NoStationaryDensity(DFPError):
    """The dynamics has no stationary density; the message names the regime and the numbers that decide.

    Examples
    --------
    >>> import dfp
    >>> flat = dfp.SGD(dfp.QuadraticLandscape([0.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.1)
    >>> try:
    ...     dfp.stationary(dfp.MasterEquation(flat))
    ... except dfp.NoStationaryDensity as error:
    ...     print("diffusive" in str(error))
    True
    """


class FileFormatError(DFPError):
    """A file was not written by dfp, or by a version this one cannot read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import dfp
    >>> Path("notes.h5").touch()  # not a result
    >>> try:
    ...     dfp.load("notes.h5")
    ... except dfp.FileFormatError as error:
    ...     print(type(error).__name__)
    FileFormatError
    """
