"""The law of an average of SGD's iterates: what ``dfp.MasterEquation(average)`` is."""

from dataclasses import dataclass
from typing import Any, NoReturn

from dfp.errors import UnsupportedError
from dfp.problem.averages import Average
from dfp.problem.equation import Equation


@dataclass(frozen=True, eq=False)
class AveragedEquation:
    """The master equation of (θ, m), m an average of the iterates, read as the law of m (T20).

    It is no ``Equation``: m alone is no Markov process, so nothing that needs one takes it.
    """

    average: Average
    iterate: Equation
    """The master equation of the iterates."""

    label = "master equation of an average (T20)"

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.iterate.dimension

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """Names of the parameters, d; None where they have none."""
        return self.iterate.parameters

    @property
    def sgd(self) -> NoReturn:
        """Refused: whoever reads it would answer for the iterates."""
        refuse()

    def record(self, last: int) -> dict[str, Any]:
        """Return what it is, for steps up to ``last``, as entries of a file's provenance."""
        settings = {name: value for name, value in vars(self.average).items() if name != "sgd"}
        return {**self.iterate.record(last), "equation": self.label, "average": type(self.average).__name__, **settings}


def refuse() -> NoReturn:
    """Raise ``UnsupportedError`` where the process of an average is asked for."""
    raise UnsupportedError(
        "equation: an average of iterates is no Markov process; dfp.moments, dfp.stationary_moments, dfp.solve (with "
        "solver='auto', or dfp.MonteCarlo(...) without directions; without tolerance) and, for additive noise, "
        "dfp.stationary take it; for the rest use dfp.MasterEquation(average.iterate)."
    )
