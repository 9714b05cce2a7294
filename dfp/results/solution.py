"""Solutions: frames of density and moments on a grid, with a certificate and provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.grid import Grid
from dfp.results.certificate import Certificate

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Solution:
    """What ``dfp.solve`` returns.

    Attributes
    ----------
    equation
        Label of the equation, with its number.
    solver
        Name of the solver.
    reason
        Why this solver was used.
    steps
        Saved steps, shape (S,) [step].
    learning_rate
        η; slow time is τ = η · steps. NaN if it is a schedule.
    grid
        Where densities are; None if the solver has none.
    density
        Shape (S, n_1, …, n_d) [1 / parameter^d]: values at cell centres, or means over cells if sampled; or None.
    mean
        Shape (S, d) [parameter].
    covariance
        Shape (S, d, d) [parameter^2].
    third
        Third central moments, shape (S, d, d, d), or None.
    fourth
        Fourth central moments, shape (S, d, d, d, d), or None.
    errors
        Standard errors of ``mean``, ``covariance``, ``third``, ``fourth`` where they are sampled, by name.
    trajectories
        Number of sampled trajectories; 0 for deterministic solvers.
    certificate
        How accurate it is.
    provenance
        Configuration, versions, seed, wall time: what is needed to make it again.
    slow_time
        With a schedule, τ_n = Σ_{s<n} η_s of the saved steps, shape (S,); None otherwise.
    """

    equation: str
    solver: str
    reason: str
    steps: NDArray[np.int64]
    learning_rate: float
    grid: Grid | None
    density: Array | None
    mean: Array
    covariance: Array
    certificate: Certificate
    third: Array | None = None
    fourth: Array | None = None
    errors: dict[str, Array] = field(default_factory=dict)
    trajectories: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    slow_time: Array | None = None

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.mean.shape[1])

    @property
    def time(self) -> Array:
        """Slow time τ = ηn of the saved steps, or the sum of a schedule's η, shape (S,)."""
        return self.steps * self.learning_rate if self.slow_time is None else self.slow_time

    @property
    def sampled(self) -> bool:
        """Whether densities are histograms of sampled trajectories."""
        return self.trajectories > 0

    def at(self, steps: Sequence[int]) -> "Solution":
        """Return the solution at some of its saved steps.

        Raises
        ------
        DFPError
            If a step was not saved.
        """
        missing = [step for step in steps if step not in self.steps]
        if missing:
            raise DFPError(f"steps={missing}: were not saved; choose from {self.steps.tolist()}.")
        kept = [int(np.flatnonzero(self.steps == step)[0]) for step in steps]

        def part(values: Array | None) -> Array | None:
            return None if values is None else values[kept]

        return replace(
            self,
            steps=self.steps[kept],
            density=part(self.density),
            mean=self.mean[kept],
            covariance=self.covariance[kept],
            third=part(self.third),
            fourth=part(self.fourth),
            errors={name: values[kept] for name, values in self.errors.items()},
            certificate=self.certificate.at(kept),
            slow_time=part(self.slow_time),
        )

    def gridded(self) -> tuple[Grid, Array]:
        """Return grid and densities.

        Raises
        ------
        DFPError
            If the solver produced none.
        """
        if self.grid is None or self.density is None:
            raise DFPError(
                f"solver={self.solver} has no density; use dfp.Fourier(), dfp.Hermite() or dfp.MonteCarlo()."
            )
        return self.grid, self.density

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file that xarray opens as it is; the file appears complete or not at all.

        Parameters
        ----------
        path
            File name, usually ending in ``.h5``; an existing file is replaced.
        """
        from dfp.results import hdf5

        hdf5.save(self, path)

    def to_xarray(self) -> "xarray.Dataset":
        """Return a labelled ``xarray.Dataset`` with the variables, units and names of the file (extra ``xarray``)."""
        from dfp.results import hdf5

        return hdf5.to_xarray(self)

    def plot(self) -> "Figure":
        """Return a figure of the densities (d <= 2: curves or contours) or, without densities, of the moments."""
        from dfp.results import figures

        return figures.solution(self)

    def animate(self, path: str | Path, *, frames_per_second: int = 10) -> None:
        """Write the densities, one frame per saved step, as an animated GIF at ``path``."""
        from dfp.results import figures

        figures.animate(self, path, frames_per_second)

    def __repr__(self) -> str:
        """Return equation, solver, steps and grid in one line."""
        cells = "no grid" if self.grid is None else "×".join(map(str, self.grid.cells)) + " cells"
        state = "certificate passes" if self.certificate.ok else f"{len(self.certificate.warnings)} warning(s)"
        return f"<Solution of the {self.equation} by {self.solver}: {len(self.steps)} frames, {cells}, {state}>"
