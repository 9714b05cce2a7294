"""The tables of a configuration file, each a mirror of a class of ``dfp``; those of solvers: ``solver_tables.py``.

Shapes and whatever joins several keys are checked by those classes, so that a file and a script are held to the same
rules. Ranges of single numbers stand here too, so that one bad number does not hide the next.
"""

import ast
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

import dfp
from dfp import checks
from dfp.config.solver_tables import AutoTable, SolverTable
from dfp.config.table import BatchSize, Checked, Label, Numbers, Rate, Table
from dfp.errors import DFPError
from dfp.problem import schedules
from dfp.problem.additive import AdditiveNoise
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.noise import GaussianNoise
from dfp.problem.sgd import SGD
from dfp.problem.state import Gaussian, Point
from dfp.solving.stored_landscape import StoredLandscape


class NoiseTable(Table):
    """``[landscape.noise]``: Gaussian minibatch fluctuations, see ``dfp.GaussianNoise``."""

    gradient: Numbers = Field(examples=[[1.0, 1.0]])
    hessian: Numbers = 0.0
    basis: Literal["theta", "eigen"] = "theta"
    symmetric: bool = False


def _distribution(value: str) -> str:
    """Return the text of a distribution if it names one of ``scipy.stats`` with numbers as arguments."""
    parse_distribution(value)
    return value


def parse_distribution(text: str) -> Any:
    """Return the frozen distribution of ``scipy.stats`` that a text such as ``t(3, scale=0.5)`` stands for.

    Raises
    ------
    DFPError
        If it is not a name of a distribution with numbers in parentheses, or scipy refuses the numbers.
    """
    from scipy import stats

    advice = "must be a distribution of scipy.stats with its numbers, such as 'skewnorm(4)' or 't(3, scale=0.5)'"
    try:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        numbers = [float(ast.literal_eval(node)) for node in call.args]
        named = {str(node.arg): float(ast.literal_eval(node.value)) for node in call.keywords}
        law = getattr(stats, call.func.id)
        assert isinstance(law, stats.rv_continuous | stats.rv_discrete)
        return law(*numbers, **named)
    except (AssertionError, AttributeError, SyntaxError, TypeError, ValueError):
        raise DFPError(f"={checks.shown(text)}: {advice}; correct it.") from None


class AdditiveTable(Table):
    """``[landscape.additive]``: additive noise of other laws, see ``dfp.AdditiveNoise``."""

    laws: list[Annotated[str, AfterValidator(_distribution)]] = Field(min_length=1, examples=[["skewnorm(4)", "t(3)"]])
    basis: Literal["theta", "eigen"] = "theta"

    def build(self) -> AdditiveNoise:
        """Return the noise; a single law serves every axis."""
        laws = [parse_distribution(text) for text in self.laws]
        return AdditiveNoise(laws if len(laws) > 1 else laws[0], self.basis)


class QuadraticTable(Checked):
    """``[landscape]`` with ``kind = "quadratic"``; without noise, gradient descent."""

    kind: Literal["quadratic"]
    hessian: Numbers = Field(examples=[[1.0, 0.1]])
    gradient: Numbers = 0.0
    noise: NoiseTable | None = None
    additive: AdditiveTable | None = None
    parameters: list[str] | None = None

    def build(self, folder: Path = Path()) -> QuadraticLandscape:
        """Return the landscape."""
        if self.noise is not None and self.additive is not None:
            raise DFPError("additive: the noise is given twice; keep either [landscape.noise] or [landscape.additive].")
        if self.additive is not None:
            noise: AdditiveNoise | GaussianNoise = self.additive.build()
        else:
            noise = GaussianNoise(0.0) if self.noise is None else GaussianNoise(**self.noise.model_dump())
        return QuadraticLandscape(np.asarray(self.hessian), np.asarray(self.gradient), noise, self.parameters)


class DataTable(Table):
    """``[landscape]`` of data in a file beside the configuration; ``sha256``: the digest that it must have."""

    batch_size: int = Field(default=1, ge=1)
    sha256: str | None = None

    def _stored(self, key: str, folder: Path, **columns: Any) -> StoredLandscape:
        name = getattr(self, key)
        place = str(folder / name)
        try:
            return StoredLandscape(place, self.batch_size, self.sha256, **columns)
        except DFPError as error:
            raise DFPError(str(error).replace(f"path={place!r}", f"{key}={name!r}", 1)) from None


class RegressionTable(DataTable):
    """``[landscape]`` with ``kind = "regression"``: columns of a CSV file, see ``dfp.StoredLandscape``."""

    kind: Literal["regression"]
    csv: str = Field(examples=["points.csv"])
    features: list[str] = Field(min_length=1, examples=[["x1", "x2"]])
    target: str = Field(examples=["y"])
    standardise: bool = False

    def build(self, folder: Path = Path()) -> QuadraticLandscape:
        """Return the landscape of the rows of the file, found relative to ``folder``."""
        given = {"features": self.features, "target": self.target, "standardise": self.standardise}
        return self._stored("csv", folder, **given)


class SamplesTable(DataTable):
    """``[landscape]`` with ``kind = "samples"``: arrays in an NPZ file, see ``dfp.StoredLandscape``."""

    kind: Literal["samples"]
    npz: str = Field(examples=["samples.npz"])

    def build(self, folder: Path = Path()) -> QuadraticLandscape:
        """Return the landscape of the samples of the file, found relative to ``folder``."""
        return self._stored("npz", folder)


class SGDTable(Table):
    """``[sgd]``, see ``dfp.SGD``."""

    learning_rate: Rate = Field(examples=[0.1])
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    replace: bool = True
    batch_size: BatchSize = None
    nesterov: bool = False
    preconditioner: Numbers | None = None
    temperature: float = Field(default=0.0, ge=0)

    def build(self, landscape: QuadraticLandscape) -> SGD:
        """Return SGD on ``landscape``."""
        given: dict[str, Any] = self.model_dump()
        given |= {key: schedules.read(given[key]) for key in ("learning_rate", "batch_size")}
        return SGD(landscape, **given)

    @model_validator(mode="after")
    def _builds(self) -> Self:
        # Whatever does not depend on the landscape is told before data files are read.
        any_data = QuadraticLandscape.from_samples(np.ones((1, 1, 1)), np.ones((1, 1)))
        alone = self.model_copy(update={"replace": True, "preconditioner": None})
        alone.build(any_data)
        return self


class GaussianTable(Checked):
    """``[initial]`` with ``kind = "gaussian"``."""

    kind: Literal["gaussian"]
    mean: Numbers = Field(examples=[[1.0, 1.0]])
    covariance: Numbers = Field(examples=[0.01])

    def build(self) -> Gaussian:
        """Return the state at step 0."""
        return Gaussian(np.asarray(self.mean), np.asarray(self.covariance))


class PointTable(Checked):
    """``[initial]`` with ``kind = "point"``."""

    kind: Literal["point"]
    theta: Numbers = Field(examples=[[1.0, 1.0]])

    def build(self) -> Point:
        """Return the state at step 0."""
        return Point(np.asarray(self.theta))


class EquationTable(Table):
    """``[[equation]]``: what every kind has in common."""

    name: Label | None = None
    tolerance: float | None = Field(default=None, gt=0, lt=1)
    solver: SolverTable = AutoTable()
    sgd: SGDTable | None = None
    """Of this equation alone, in place of that of the file."""
    steps: int | None = Field(default=None, ge=0)
    save: list[int] | None = None
    """The same: equal slow times are other steps at another learning rate."""

    def build(self, sgd: SGD) -> Equation:
        """Return the equation."""
        raise NotImplementedError


class MapTable(EquationTable):
    """``kind = "master"`` or ``"discrete_fokker_planck"``."""

    kind: Literal["master", "discrete_fokker_planck"]

    def build(self, sgd: SGD) -> Equation:
        """Return the equation."""
        return dfp.MasterEquation(sgd) if self.kind == "master" else dfp.DiscreteFokkerPlanck(sgd)


class LangevinTable(EquationTable):
    """``kind = "langevin"``; ``noise``: that of the place, or frozen at ``reference``; ``per_step``: (T6')."""

    kind: Literal["langevin"]
    noise: Literal["state", "frozen"] = "state"
    reference: Numbers | None = None
    per_step: bool = False

    def build(self, sgd: SGD) -> Equation:
        """Return the equation."""
        reference = None if self.reference is None else np.asarray(self.reference)
        return dfp.Langevin(sgd, self.noise, reference, self.per_step)


class ModifiedLangevinTable(EquationTable):
    """``kind = "modified_langevin"``, see ``dfp.ModifiedLangevin``."""

    kind: Literal["modified_langevin"]
    matched: bool = True
    positive: bool = False

    def build(self, sgd: SGD) -> Equation:
        """Return the equation."""
        return dfp.ModifiedLangevin(sgd, self.matched, self.positive)


class GridTable(Checked):
    """``[grid]``, see ``dfp.Grid``."""

    lower: Numbers = Field(examples=[[-1.0, -1.0]])
    upper: Numbers = Field(examples=[[1.0, 1.0]])
    cells: Numbers = Field(examples=[[128, 128]])

    def build(self) -> Grid:
        """Return the grid."""
        return Grid(np.asarray(self.lower), np.asarray(self.upper), self.cells)  # type: ignore[arg-type]
