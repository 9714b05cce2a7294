"""Remedies in the words of a configuration file: where errors name calls, a file has tables and keys."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Commands by the functions that they call.
_COMMANDS = {
    "solve": "solve",
    "compare": "compare",
    "modes": "modes",
    "stationary": "stationary",
    "stationary_moments": "stationary without --output",
    "spectrum": "spectrum",
    "exit_steps": "exit",
    "phase_diagram": "phase",
    "sweep": "sweep",
    "rerun": "rerun",
    "load": "plot",
}
_EQUATIONS = {
    "MasterEquation": "master",
    "DiscreteFokkerPlanck": "discrete_fokker_planck",
    "Langevin": "langevin",
    "ModifiedLangevin": "modified_langevin",
}
_SOLVERS = {
    "Fourier": "fourier",
    "Hermite": "hermite",
    "FiniteDifference": "finite_difference",
    "FiniteVolume": "finite_volume",
    "Transfer": "transfer",
    "MomentRecursion": "moment_recursion",
    "MonteCarlo": "monte_carlo",
    "moments": "moment_recursion",
}
_STARTS = {"Gaussian": "gaussian", "Point": "point"}
_TABLES = {
    "Grid": "[grid]",
    "GaussianNoise": "[landscape.noise]",
    "SGD": "[sgd]",
    "Schedule": '{schedule = "values", values = [...]}',
}
# Arguments by what a file or an option has in their place; the calls that they belong to follow some.
_ARGUMENTS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"\bgrid=\.\.\.": "[grid]",
    r"\bdirections=\.\.\.(?: to dfp\.solve)?": "directions",
    r"\btolerance=\.\.\.": "tolerance in [[equation]]",
    r"\b(?:(give)|with) progress=\.\.\.": lambda found: (
        f"{'run it ' if found[1] else ''}in a terminal, without --quiet"
    ),
    r"\bprogress=\.\.\. shows": "a terminal, without --quiet, shows",
    r"\bsave=(?:\[(?:\.\.\.|…)\])?(?![\[\w])": "save",
    r"\bat=\"time\"": "--at time",
    r"\bstep=n\b": "--step n",
    r"\.plot\('([^']*)'\)": r"--name '\1'",
    r"\bsolution\.save\(path\)": "dfp solve -o RUN.h5",
    r"\bfrom_regression or from_samples\b": 'kind = "regression" or kind = "samples" in [landscape]',
    r"\buse \(M \+ M\.T\) / 2": "make the entries i, j and j, i equal",
    r", or project it with numpy\.linalg\.eigh": "",
    r"^(count|horizon)=": r"--\1=",
    r"^axis_([xy])=": r"--\1=",
    rf"\bsolver=({'|'.join(_SOLVERS)})\b": lambda found: f'solver.kind = "{_SOLVERS[found[1]]}"',
    r"\bsolver='auto'": 'kind = "auto" in [equation.solver]',
    r"\btrajectories=(\d+(?:_\d{3})+)": lambda found: f"--trajectories {found[1].replace('_', '')}",
    r"(--trajectories \d+)(?:,| and) splitting=True": r"\1 --splitting",
    r"(?<!--)\bsplitting=True": "--splitting",
    r"(?<![\w-])([\w.[\]]+)=(True|False)\b": lambda found: f"{found[1]} = {found[2].lower()}",
    r"(?<![\w.-])(\w+)='(\w+)'(?!:)": r'\1 = "\2"',
    r"\b(give|use|with|and|or) (\w+)=(?=[\w\[{])": r"\1 \2 = ",
}

# A call without another in it; what of dfp is named alone; and methods of results, which only Python has.
_CALL = re.compile(r"(?:(?:solver|grid|noise)=)?dfp\.([A-Za-z_]+)\(([^()]*)\)")
_NAMED = re.compile(r"(\ban? )?\bdfp\.([A-Za-z_]+)\b(?! [\0(]in Python|[\w(]|\.\w)")
_METHOD = re.compile(r"(?<![\w.])((?!dfp\.)[a-z_]+\.[a-z_]+)\((?:\.\.\.)?\)")


def in_a_file(message: str) -> str:
    """Return a message with what a script would call as what a file or an option says; of the rest, that it is Python.

    Examples
    --------
    >>> in_a_file("use dfp.Langevin(sgd) or give trajectories=100_000.")
    'use kind = "langevin" in [[equation]] or give --trajectories 100000.'
    """
    # What ends in an argument whose value is left open ends in a sentence's stop as well.
    found, before = message + "." * message.endswith("=..."), ""
    while found != before:
        before, found = found, _CALL.sub(_said, found)
    for argument, words in _ARGUMENTS.items():
        found = re.sub(argument, words, found)
    found = _METHOD.sub("\\1 \0in Python)", _NAMED.sub(_meant, found))
    return found.replace("\0", "(")


@contextmanager
def logged_in_words() -> Iterator[None]:
    """Say so what is logged, too."""

    def say(record: logging.LogRecord) -> bool:
        record.msg, record.args = in_a_file(record.getMessage()), ()
        return True

    log = logging.getLogger("dfp")
    log.addFilter(say)
    try:
        yield
    finally:
        log.removeFilter(say)


def _said(call: re.Match[str]) -> str:
    """Return what a file has for one call; a parenthesis that stays is written as NUL until all calls are found."""
    name, given = call[1], call[2]
    if name in _STARTS:
        return f'kind = "{_STARTS[name]}"{_keys(given)} in [initial]'
    if name in _COMMANDS:
        return f"dfp {_COMMANDS[name]}" + f" with {given}" * given.startswith("kind = ")
    return _table(name, _keys(given)) or f"dfp.{name} \0in Python)"


def _meant(named: re.Match[str]) -> str:
    """Return what a file has for a name alone, after an article that only some of it takes."""
    article, name = named[1] or "", named[2]
    if name in _STARTS:
        return f'[initial] of kind "{_STARTS[name]}"'
    if name in _COMMANDS:
        return f"dfp {_COMMANDS[name]}"
    return _table(name) or f"{article}dfp.{name} \0in Python)"


def _table(name: str, keys: str = "") -> str | None:
    """Return the table of a file, with ``keys`` beside its kind, that is a class of ``dfp``; None if there is none."""
    for kinds, table in ((_EQUATIONS, "[[equation]]"), (_SOLVERS, "[equation.solver]")):
        if name in kinds:
            return f'kind = "{kinds[name]}"{keys} in {table}'
    return _TABLES.get(name)


def _keys(given: str) -> str:
    """Return arguments with names as keys beside the kind."""
    keys = [f"{key} = {value.lower()}" for key, value in re.findall(r"(\w+)=(True|False|[\w.\"]+)", given)]
    return "".join(f" and {key}" for key in keys)
