"""What the tables of a configuration file are made of: their common face, and kinds of values they share."""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from dfp import checks
from dfp.errors import DFPError
from dfp.problem import schedules
from dfp.problem.schedules import PerStep
from dfp.results.schema import VARIABLES


def _numbers(value: object) -> object:
    """Return a number or (nested) list of finite numbers as given; errors start with the index."""
    if not isinstance(value, list):
        checks.real("", value)
        return value
    for i, entry in enumerate(value):
        try:
            _numbers(entry)
        except DFPError as error:
            raise DFPError(f"[{i}]{error}") from None
    if len({len(entry) if isinstance(entry, list) else -1 for entry in value}) > 1:
        raise DFPError(f"={checks.shown(value)}: rows differ in length; give every row the same number of entries.")
    return value


def _label(value: str) -> str:
    """Return a name that can also be the name of a group in a file."""
    if not re.fullmatch(r"\w([\w .+=-]{0,58}\w)?", value) or value in VARIABLES or value.startswith("theta_"):
        raise DFPError(
            f"={value!r}: must be up to 60 letters, digits, spaces and any of _-+=. between a letter or digit at each "
            "end, and not an output variable such as 'mean'; rename it."
        )
    return value


def _rate(value: object) -> object:
    """Return a learning rate as given: a number, a list with one entry per step, or the table of a schedule."""
    if isinstance(value, str):
        raise DFPError(f"={value!r}: must be a number, a list or a table; write it without quotes, e.g. 0.1.")
    if not isinstance(value, (list, dict)):
        checks.real("", value, above=0)
    PerStep("", schedules.read(value))
    return value


def _batch_size(value: object) -> object:
    """Return a batch size as given: a whole number, a list with one entry per step, or the table of a schedule."""
    if value is not None:
        PerStep("", schedules.read(value), whole=True)
    return value


Numbers = Annotated[object, AfterValidator(_numbers)]
Rate = Annotated[object, AfterValidator(_rate)]
BatchSize = Annotated[object, AfterValidator(_batch_size)]
Label = Annotated[str, AfterValidator(_label)]


class Table(BaseModel):
    """A table of the file: no unknown keys, no conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Checked(Table):
    """A table that can be checked on its own, by building what it describes."""

    def build(self) -> Any:
        """Return what the table describes."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _builds(self) -> Self:
        self.build()
        return self
