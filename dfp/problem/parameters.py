"""Names of parameters, in the order of their axes: labels alone, on which no number and no equality depends."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dfp import checks
from dfp.errors import DFPError

NUMBERED = re.compile(r"(?:(theta|u)_|direction )([1-9]\d*)")
"""Names of parameters that have none of their own, of those of preconditioned modes, and of directions."""
# Letters of a name that tables and figures show, and of its end where the middle is left out.
_SHOWN, _END = 18, 6
# Letters of several names in a line.
_LINE = 40
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def unnamed(count: int) -> tuple[str, ...]:
    """Return ``theta_1`` … of so many parameters without names of their own."""
    return tuple(f"theta_{i}" for i in range(1, count + 1))


def directions(count: int) -> tuple[str, ...]:
    """Return ``direction 1`` … of what is along so many directions."""
    return tuple(f"direction {i}" for i in range(1, count + 1))


def named(given: Any, count: int, label: str = "parameters") -> tuple[str, ...]:
    """Return names of ``count`` parameters; spaces around them are left out.

    Raises
    ------
    DFPError
        If their number differs, or one is no text, is empty, has characters that cannot be printed, or is there twice.
    """
    try:
        listed = None if isinstance(given, str | bytes) else list(given)
    except TypeError:
        listed = None
    if listed is None:
        raise DFPError(f"{label}={checks.shown(given)}: must be a list of names; give e.g. ['age', 'dose'].")
    for i, name in enumerate(listed):
        if not isinstance(name, str) or not name.strip() or not name.strip().isprintable():
            raise DFPError(f"{label}[{i}]={checks.shown(name)}: must be text that can be printed; give e.g. 'age'.")
    names = tuple(str(name).strip() for name in listed)
    if len(names) != count:
        raise DFPError(f"{label} has {len(names)} names: there are {count} parameters; give one for each.")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DFPError(f"{label}: the name {checks.shown(repeated[0])} is there twice; give every parameter its own.")
    return names


def either(given: Sequence[str], count: int) -> tuple[str, ...]:
    """Return names that are given, or theta_1 … theta_d for none."""
    return named(given, count) if len(given) else unnamed(count)


def check_order(what: str, given: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse the same names in another order: the axes of one would be taken for others of the other.

    Raises
    ------
    DFPError
        If they are so.
    """
    if tuple(given) != tuple(wanted) and sorted(given) == sorted(wanted):
        order = tuple(list(given).index(name) for name in wanted)
        raise DFPError(
            f"{what} is of {listed(given)}: must be of {listed(wanted)}, in this order; take its marginal({order})."
        )


def of_columns(table: Any) -> list[Any] | None:
    """Return the names that a data frame has for its columns; None of arrays, and where no name is text."""
    listed = list(getattr(table, "columns", ()))
    return listed if any(isinstance(name, str) for name in listed) else None


def told(names: Sequence[str]) -> bool:
    """Whether there is more to say than theta_1 … theta_d."""
    return tuple(names) != unnamed(len(names))


def symbol(name: str) -> str:
    """Return a parameter as tables and figures show it: θ₂, or its name, the middle of a long one left out."""
    numbered = NUMBERED.fullmatch(name)
    if numbered is None or numbered[1] is None:
        return name if len(name) <= _SHOWN else f"{name[: _SHOWN - _END - 1]}…{name[-_END:]}"
    return ("θ" if numbered[1] == "theta" else "u") + numbered[2].translate(_SUBSCRIPTS)


def listed(names: Sequence[str]) -> str:
    """Return what a line of text says of them, such as ``θ₂`` or ``age, dose``: as many as it has room for."""
    shown = [symbol(name) for name in names[:_LINE]]
    known = next(count for count in range(len(shown), 0, -1) if count == 1 or len(", ".join(shown[:count])) <= _LINE)
    return ", ".join([*shown[:known], *["…"] * (known < len(names))])


_Result = TypeVar("_Result")


def labelled(result: _Result, equation: Any) -> _Result:
    """Return a result with the names of the parameters of its equation, where these have any."""
    names, named = equation.parameters, result
    if names is not None:
        named = replace(result, parameters=names)  # type: ignore[type-var]
    return named
