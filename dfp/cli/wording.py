"""Remedies in the words of a configuration file: where errors name calls, a file has tables and keys."""

import re

# Commands by the functions that they call.
_COMMANDS = {
    "solve": "solve",
    "compare": "compare",
    "modes": "modes",
    "stationary": "stationary",
    "stationary_moments": "stationary",
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
_TABLES = {"Grid": "[grid]", "GaussianNoise": "[landscape.noise]", "SGD": "[sgd]"}

# A call without another in it; and what only ``dfp exit`` is told to draw.
_CALL = re.compile(r"(?:(?:solver|grid|noise)=)?dfp\.([A-Za-z_]+)\(([^()]*)\)")
_DRAWN = re.compile(r"\btrajectories=(\d+(?:_\d{3})+)((?:, | and )splitting=True)?")
_SPLIT = re.compile(r"\bsplitting=True")
_NAMED = re.compile(rf"\bdfp\.({'|'.join(_COMMANDS)})\b(?![\w.(])")


def in_a_file(message: str) -> str:
    """Return a message with what a script would call as what a file or an option says; of the rest, that it is Python.

    Examples
    --------
    >>> in_a_file("use dfp.Langevin(sgd) or give trajectories=100_000.")
    'use kind = "langevin" in [[equation]] or give --trajectories 100000.'
    """
    found, before = message, ""
    while found != before:
        before, found = found, _CALL.sub(_said, found)
    found = _DRAWN.sub(lambda n: f"--trajectories {n[1].replace('_', '')}" + " --splitting" * bool(n[2]), found)
    found = _NAMED.sub(lambda named: f"dfp {_COMMANDS[named[1]]}", _SPLIT.sub("--splitting", found))
    return found.replace("\0", "(")


def _said(call: re.Match[str]) -> str:
    """Return what a file has for one call; a parenthesis that stays is written as NUL until all calls are found."""
    name, given = call[1], call[2]
    for kinds, table in ((_EQUATIONS, "[[equation]]"), (_SOLVERS, "[equation.solver]"), (_STARTS, "[initial]")):
        if name in kinds:
            return f'kind = "{kinds[name]}"{_keys(given)} in {table}'
    if name in _TABLES:
        return _TABLES[name]
    if name in _COMMANDS:
        return f"dfp {_COMMANDS[name]}" + f" with {given}" * given.startswith("kind = ")
    return f"dfp.{name}\0{given}) \0in Python)"


def _keys(given: str) -> str:
    """Return arguments with names as keys beside the kind."""
    keys = [f"{key} = {value.lower()}" for key, value in re.findall(r"(\w+)=(True|False|[\w.\"]+)", given)]
    return "".join(f" and {key}" for key in keys)
