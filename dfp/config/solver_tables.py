"""The tables ``[equation.solver]`` of a configuration file, each a mirror of a solver of ``dfp``."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

import dfp
from dfp.config.table import Checked, Numbers, Table
from dfp.methods.solver import Solver


class AutoTable(Table):
    """``[equation.solver]`` with ``kind = "auto"``: dfp chooses and says why."""

    kind: Literal["auto"] = "auto"

    def build(self) -> str:
        """Return the word that ``dfp.solve`` understands."""
        return "auto"


class FourierTable(Checked):
    """``[equation.solver]`` with ``kind = "fourier"``."""

    kind: Literal["fourier"]

    def build(self) -> Solver:
        """Return the solver."""
        return dfp.Fourier()


class HermiteTable(Checked):
    """``[equation.solver]`` with ``kind = "hermite"``."""

    kind: Literal["hermite"]
    degree: int = Field(default=16, ge=4, le=40)
    tolerance: float = Field(default=2e-2, gt=0, lt=1)

    def build(self) -> Solver:
        """Return the solver."""
        return dfp.Hermite(self.degree, self.tolerance)


class FiniteDifferenceTable(Checked):
    """``[equation.solver]`` with ``kind = "finite_difference"``."""

    kind: Literal["finite_difference"]
    scheme: Literal["spectral", "fourth", "second", "matched"] = "spectral"
    tolerance: float = Field(default=1e-2, gt=0, lt=1)
    spacing: Numbers | None = None

    def build(self) -> Solver:
        """Return the solver."""
        spacing = None if self.spacing is None else np.asarray(self.spacing)
        return dfp.FiniteDifference(self.scheme, self.tolerance, spacing)


class FiniteVolumeTable(Checked):
    """``[equation.solver]`` with ``kind = "finite_volume"``."""

    kind: Literal["finite_volume"]
    boundary: Literal["reflecting", "absorbing"] = "reflecting"
    tolerance: float = Field(default=1e-6, gt=0, lt=0.1)
    cells: int | list[int] | None = None

    def build(self) -> Solver:
        """Return the solver."""
        return dfp.FiniteVolume(self.boundary, self.tolerance, self.cells)


class TransferTable(Checked):
    """``[equation.solver]`` with ``kind = "transfer"``."""

    kind: Literal["transfer"]

    def build(self) -> Solver:
        """Return the solver."""
        return dfp.Transfer()


class MomentRecursionTable(Checked):
    """``[equation.solver]`` with ``kind = "moment_recursion"``."""

    kind: Literal["moment_recursion"]
    highest: int | None = Field(default=None, ge=2, le=4)

    def build(self) -> Solver:
        """Return the solver."""
        return dfp.MomentRecursion(self.highest)


class MonteCarloTable(Checked):
    """``[equation.solver]`` with ``kind = "monte_carlo"``."""

    kind: Literal["monte_carlo"]
    trajectories: int = Field(examples=[1000000])
    seed: int = Field(default=0, ge=0)
    look_ahead: bool = False

    def build(self) -> Solver:
        """Return the solver."""
        return dfp.MonteCarlo(self.trajectories, self.seed, look_ahead=self.look_ahead)


SolverTable = Annotated[
    AutoTable
    | FourierTable
    | HermiteTable
    | FiniteDifferenceTable
    | FiniteVolumeTable
    | TransferTable
    | MomentRecursionTable
    | MonteCarloTable,
    Field(discriminator="kind"),
]
