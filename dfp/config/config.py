"""Configuration files: a TOML file becomes a problem to solve, or a list of everything that is wrong with it.

Every complaint names the key by its dotted path, the value given, and what to write instead. Entries of lists and
``[[equation]]`` tables count from 0.
"""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import numpy as np
from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from dfp import checks
from dfp.checks import Array
from dfp.config import problem_tables as tables
from dfp.config import solver_tables
from dfp.config.table import Numbers, Table
from dfp.errors import DFPError
from dfp.methods.solver import Solver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.sgd import SGD
from dfp.problem.state import State
from dfp.solving.along import columns

MAX_BYTES = 2**20

_LANDSCAPES = tables.QuadraticTable | tables.RegressionTable | tables.SamplesTable
_INITIALS = tables.GaussianTable | tables.PointTable
_EQUATIONS = tables.MapTable | tables.LangevinTable | tables.ModifiedLangevinTable


class Task(NamedTuple):
    """One ``[[equation]]``: what to solve, how, and under which name it is reported."""

    name: str
    equation: Equation
    solver: Solver | str
    tolerance: float | None
    steps: int
    save: list[int] | None


@dataclass(frozen=True, eq=False)
class Problem:
    """What a configuration describes, as objects of ``dfp``; the arguments of ``dfp.solve``."""

    sgd: SGD
    start: State | None
    steps: int
    save: list[int] | None
    grid: Grid | None
    tasks: list[Task]
    directions: Array | None = None

    @property
    def initial(self) -> State:
        """State at step 0; raises ``DFPError`` if the file has none."""
        if self.start is None:
            raise DFPError("initial: is missing; add the table [initial].")
        return self.start


class Config(Table):
    """A whole configuration file; ``model_dump()`` is what the provenance of a solution keeps."""

    steps: int = Field(ge=0, examples=[200])
    save: list[int] | None = None
    directions: Numbers | None = None
    landscape: Annotated[_LANDSCAPES, Field(discriminator="kind")]
    sgd: tables.SGDTable
    initial: Annotated[_INITIALS, Field(discriminator="kind")]
    equation: list[Annotated[_EQUATIONS, Field(discriminator="kind")]] = Field(min_length=1)
    grid: tables.GridTable | None = None
    _source: Path = PrivateAttr(default=Path("configuration"))

    @field_validator("save")
    @classmethod
    def _check_save(cls, value: list[int] | None, info: ValidationInfo) -> list[int] | None:
        if value is not None and "steps" in info.data:
            checks.step_list("", value, info.data["steps"])
        return value

    def build(self) -> Problem:
        """Return the problem; data files are found relative to the configuration file.

        Raises
        ------
        DFPError
            With the dotted path of every table that cannot be built.
        """
        try:
            landscape = self.landscape.build(self._source.parent)
        except DFPError as error:
            raise _listed(self._source, [_join("landscape", error, type(self.landscape).model_fields)]) from None
        try:
            sgd, initial = self.sgd.build(landscape), None if self.initial is None else self.initial.build()
        except DFPError as error:
            raise _listed(self._source, [_join("sgd", error, tables.SGDTable.model_fields)]) from None
        grid = None if self.grid is None else self.grid.build()
        problems, d = list[str](), sgd.dimension
        for key, given, remedy in (
            ("initial", initial, f"give a mean, or theta, of {d} numbers"),
            ("grid", None if self.directions is not None else grid, f"give lower and upper of {d} numbers"),
        ):
            try:
                checks.alike(key, d if given is None else given.dimension, d, remedy)
            except DFPError as error:
                problems.append(str(error))
        directions = None
        try:
            directions = None if self.directions is None else columns(np.asarray(self.directions), sgd.dimension)
        except DFPError as error:
            problems.append(str(error))
        tasks: list[Task] = []
        for i, table in enumerate(self.equation if not problems else []):
            path, fields = f"equation[{i}]", type(table).model_fields
            try:
                own = sgd if table.sgd is None else table.sgd.build(landscape)
                equation, solver = table.build(own), table.solver.build()
                steps, save = self.steps if table.steps is None else table.steps, table.save
                if save is not None:
                    checks.step_list("save", save, steps)
                elif table.steps is None:
                    save = self.save
                # The title alone: brackets and commas cannot be part of a group's name in a file.
                name = re.sub(r" \(.*\)|,", "", equation.label) if table.name is None else table.name
                taken = [k for k, task in enumerate(tasks) if task.name == name]
                if taken:
                    raise DFPError(f"name={name!r}: is also the name of equation[{taken[0]}]; give each its own name.")
                tasks.append(Task(name, equation, solver, table.tolerance, steps, save))
                if isinstance(solver, Solver) and initial is not None:
                    path += ".solver"
                    solver.require(equation, initial)
            except DFPError as error:
                problems.append(_join(path, error, fields))
        if problems:
            raise _listed(self._source, problems)
        return Problem(sgd, initial, self.steps, self.save, grid, tasks, directions)


def load(path: str | Path, *, partial: bool = False) -> Config:
    """Return the configuration in the TOML file at ``path``.

    Parameters
    ----------
    path
        At most 1 MiB of UTF-8 text.
    partial
        Whether steps, state and equations may be left out.

    Raises
    ------
    DFPError
        If the file cannot be read or is not TOML (with the line), or with all that is wrong in it at once.
    """
    source = Path(path)
    data = parsed(source)
    problems = [*_unfit(data)]
    if problems:
        raise _listed(source, problems)
    try:
        config = (Partial if partial else Config).model_validate(data)
    except ValidationError as error:
        raise _listed(source, [explained(item) for item in error.errors()]) from None
    config._source = source
    return config


class Partial(Config):
    """A configuration of which a part is used: what the others need may be left out."""

    steps: int = Field(default=2**62, ge=0)
    initial: Annotated[_INITIALS, Field(discriminator="kind")] | None = None  # type: ignore[assignment]
    equation: list[Annotated[_EQUATIONS, Field(discriminator="kind")]] = Field(default=[])


def parsed(path: Path) -> dict[str, Any]:
    """Return what the TOML file at ``path`` holds, unchecked."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DFPError(f"{path}: cannot be read ({error.strerror}); give the name of a TOML file.") from None
    if len(content) > MAX_BYTES:
        raise DFPError(f"{path}: is larger than {MAX_BYTES} bytes; keep data in CSV or NPZ files next to it.")
    try:
        text = content.decode("utf-8-sig")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DFPError(f"{path}, line {line}: is not UTF-8 text; save the file as UTF-8.") from None
    except RecursionError:
        raise DFPError(f"{path}: is nested too deep; write it flat.") from None
    except ValueError as error:
        reason = str(error).replace("at end of document", f"at line {len(text.splitlines())}, the end of the file")
        raise DFPError(f"{path}: is not valid TOML: {reason}; correct that line.") from None


def _unfit(value: object, path: str = "", depth: int = 0) -> Iterator[str]:
    """Yield what no key may hold: integers beyond the 64 bits of TOML, and towers of tables."""
    if depth > 10:
        yield f"{path[:40]}...: is nested more than 10 deep; write it flat."
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _unfit(entry, f"{path}.{_quoted(key)}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            yield from _unfit(entry, f"{path}[{i}]", depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        shown = str(value) if value.bit_length() < 100 else hex(value)[:18] + "..."
        yield f"{path}={shown}: must fit into 64 bits; give a smaller number."


def _listed(source: Path, problems: list[str]) -> DFPError:
    if len(problems) == 1:
        return DFPError(f"{source}: {problems[0]}")
    return DFPError("\n  ".join([f"{source}: {len(problems)} problems", *problems]))


def _join(path: str, error: object, keys: Collection[str] = ()) -> str:
    """Put the path of a table before a message of the object it describes, without naming a key twice."""
    message = str(error)
    first = re.match(r"\w*", message)[0]  # type: ignore[index]
    if not path or message.startswith(("=", "[", ".")):
        return path + message
    if first == _unnumbered(path).rpartition(".")[2]:
        return path + message[len(first) :]
    return f"{path}.{message}" if first in keys else f"{path}: {message}"


def _unnumbered(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path)


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[\w-]{1,60}", key) else checks.shown(key)


def _by_kind(union: Any) -> dict[str, type[Table]]:
    return {kind: table for table in get_args(union) for kind in get_args(table.model_fields["kind"].annotation)}


_KINDS = {
    "landscape": _by_kind(_LANDSCAPES),
    "initial": _by_kind(_INITIALS),
    "equation": _by_kind(_EQUATIONS),
    "solver": _by_kind(get_args(solver_tables.SolverTable)[0]),
}


def _table(names: list[str]) -> type[Table] | None:
    """Return the class of the table at ``names``, the keys and kinds that lead to it."""
    match names:
        case []:
            return Config
        case [*_, "sgd"]:
            return tables.SGDTable
        case ["grid"]:
            return tables.GridTable
        case ["landscape", _, "noise"]:
            return tables.NoiseTable
        case ["landscape", _, "additive"]:
            return tables.AdditiveTable
        case [*_, key, kind] if key in _KINDS:
            return _KINDS[key].get(kind)
    return None


_HEADERS: dict[str, type[Table]] = {
    "at the top of the file, before the first [table]": Config,
    "in [sgd]": tables.SGDTable,
    "in [grid]": tables.GridTable,
    "in [landscape.noise]": tables.NoiseTable,
    "in [landscape.additive]": tables.AdditiveTable,
}
_REMEDIES = {
    "float_type": "must be a number; write it without quotes, e.g. 0.1.",
    "finite_number": "must be finite; give a finite number.",
    "int_type": "must be a whole number; write it without quotes, point or exponent, e.g. 200.",
    "bool_type": "must be true or false; write one of them without quotes.",
    "string_type": "must be text; write it in quotes.",
    "list_type": "must be a list; write it in brackets, e.g. [0, 200].",
    "too_short": "must not be empty; give at least one entry.",
    "greater_than": "must be above {gt:g}; give a larger number.",
    "greater_than_equal": "must be at least {ge:g}; give a larger number.",
    "less_than": "must be below {lt:g}; give a smaller number.",
    "less_than_equal": "must be at most {le:g}; give a smaller number.",
    "literal_error": "must be {expected}; give one of these.",
}


def explained(error: ErrorDetails) -> str:
    """Return one line for an error of pydantic: dotted path, value, remedy."""
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    path, after_tag = "", False
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += "" if after_tag else f".{_quoted(part)}".removeprefix("" if path else ".")
            after_tag = part in _KINDS and not after_tag
    names = [part for part in loc if isinstance(part, str)]
    given = f"{path}={checks.shown(error['input'])}"
    if kind == "value_error":
        table = _table(names)
        return _join(path, context["error"], table.model_fields if table else ())
    if kind == "missing":
        return _missing(path, names)
    if kind == "extra_forbidden":
        return f"{given}: {_unknown(names)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        options = ", ".join(map(repr, _KINDS[names[-1]]))
        value = error["input"].get("kind")
        shown = "" if value is None else f"={checks.shown(value)}"
        near = difflib.get_close_matches(str(value), _KINDS[names[-1]], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "give one of these."
        return f"{path}.kind{shown}: must be one of {options}; {hint}"
    if kind in ("model_attributes_type", "model_type") or names == ["equation"]:
        header = "[[equation]]" if path.startswith("equation") and len(names) == 1 else f"[{_unnumbered(path)}]"
        return f"{given}: must be a table; write the header {header} and its keys below it."
    return f"{given}: {_REMEDIES[kind].format(**context) if kind in _REMEDIES else error['msg'] + '; correct it.'}"


def _missing(path: str, names: list[str]) -> str:
    table = _table(names[:-1])
    examples = table.model_fields[names[-1]].examples if table else None
    if not examples:
        header = f"[[{path}]]" if path == "equation" else f"[{path}]"
        return f"{path}: is missing; add the table {header}."
    example = str(examples[0]).replace("'", '"')
    return f"{path}: is missing; add e.g. {names[-1]} = {example}."


def _unknown(names: list[str]) -> str:
    if names == ["sweep"]:
        return "is what dfp sweep FILE varies, and this is one problem; run that, or take the table out."
    table = _table(names[:-1])
    known = list(table.model_fields) if table else []
    near = difflib.get_close_matches(names[-1], known, n=1, cutoff=0.6)
    homes = [where for where, other in _HEADERS.items() if names[-1] in other.model_fields]
    hint = f"did you mean {near[0]!r}?" if near else f"it belongs {homes[0]}." if homes else "remove it."
    return f"is not a known key; {hint} Known here: {', '.join(known)}."
