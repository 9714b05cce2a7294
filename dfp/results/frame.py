"""What a solver reports at one step."""

from typing import NamedTuple

from dfp.checks import Array


class Frame(NamedTuple):
    """What a solver reports at one step; central moments beyond the covariance and densities are optional."""

    mean: Array
    covariance: Array
    density: Array | None = None
    third: Array | None = None
    fourth: Array | None = None
    truncation: float = 0.0
    """Estimated L1 error of the density, from truncating a series or from the spacing of cells."""
    outside: float | None = None
    """Mass outside the grid, where the solver knows it."""
    gridded_moments: bool = False
    """Whether mean and covariance are those of the gridded density, so that a check need not sum them again."""
    errors: dict[str, Array] | None = None
    """Standard errors of the moments, where they are sampled."""
    warnings: tuple[str, ...] = ()
    """What to worry about beyond the figures: cause, value, remedy."""
    remedy: str = ""
    """What helps where the law is finer than any nodes, and more cells do not: why, and what to do."""
