"""What errors and warnings tell to do exists: public names, their arguments, and remedies that fit who asked."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import dfp

ROOT = Path(__file__).parents[1]
SOURCES = [*sorted((ROOT / "dfp").rglob("*.py")), *sorted((ROOT / "solvers").rglob("*.py"))]
CALL = re.compile(rf"(?:\bdfp\.(?P<name>[A-Za-z_][\w.]*[^\W_])|(?<![\w.])(?P<bare>{'|'.join(dfp.__all__)})(?=\())")


def texts(tree):
    """Yield line and text of every string but docstrings; what is filled in is ``_``."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(p.value if isinstance(p, ast.Constant) else "_" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inner | docs):
            yield node.lineno, node.value


def call_after(text):
    """Return the call at the beginning of ``text``, parentheses included, or None where there is none."""
    depth = 0
    for n, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0:
            return text[: n + 1] if n else None
    return None


def faults(text):
    """Return what a text names that does not exist: names, arguments, and calls that Python would refuse."""
    found = []
    for match in CALL.finditer(text):
        name, value = match["name"] or match["bare"], dfp
        if name.startswith("networks"):  # PyTorch may be missing
            found += [name] if name.partition(".")[2] not in ("", *dfp.networks.__all__) else []
            continue
        for part in name.split("."):
            value = getattr(value, part, None)
        call = call_after(text[match.end() :])
        if value is None:
            found.append(name)
        elif call is not None:
            given = ast.parse(f"f{call}", mode="eval").body
            names = {word.arg: None for word in given.keywords}
            signature = inspect.signature(value)
            if any(isinstance(part, ast.Constant) and part.value is ... for part in given.args):
                found += [f"{name}: {word}" for word in names if word not in signature.parameters]
                continue
            try:
                signature.bind(*given.args, **names)
            except TypeError as error:
                found.append(f"{name}: {error}")
    return found


def test_what_texts_name_exists():
    """Of every sentence, for a lone word is the name of a module; so many speak of names that some were read."""
    told = [(path, *found) for path in SOURCES for found in texts(ast.parse(path.read_text("utf-8")))]
    told = [(path, line, text) for path, line, text in told if " " in text and CALL.search(text)]
    wrong = [(str(path.relative_to(ROOT)), line, faults(text)) for path, line, text in told if faults(text)]
    assert not wrong
    assert len(told) > 100


def test_what_does_not_exist_is_found():
    """Negative controls: names and arguments that nobody has, and arguments left out."""
    for text in (
        "use dfp.montecarlo(...).", "use dfp.MonteCarlo().", "give dfp.MonteCarlo(..., trajectory=5).",
        "ask dfp.networks.find.", "use dfp.Langevin(sgd, positive=True).", "give GaussianNoise(..., place=0).",
    ):  # fmt: skip
        assert faults(text), text
    assert not faults("use dfp.ModifiedLangevin(sgd, positive=True) or dfp.Grid(_, _, cells), e.g. dfp.Fourier().")


def quadratic(d, curved=0.0, learning_rate=0.1):
    noise = dfp.GaussianNoise(np.ones(d), np.full(d, curved))
    return dfp.SGD(dfp.QuadraticLandscape(np.linspace(0.5, 1.0, d), noise=noise), learning_rate)


def wells(d, learning_rate=0.05):
    return dfp.SGD(dfp.Landscape(lambda t: t**3 - t, 0.1 * np.eye(d), dimension=d), learning_rate)


def master(sgd):
    return dfp.MasterEquation(sgd)


def from_zero(equation, d, **settings):
    return dfp.solve(equation, dfp.Gaussian(np.zeros(d), 1.0), 3, **settings)


# Situation, what remedies it, and one that is impossible there.
REMEDIES = {
    "stationary, d > 3": (lambda: dfp.stationary(master(quadratic(4))), "dfp.stationary_moments", "MonteCarlo"),
    "stationary, a landscape": (lambda: dfp.stationary(dfp.Langevin(wells(3))), "dfp.MasterEquation(sgd)", "moments"),
    "stationary, narrow steps": (
        lambda: dfp.stationary(master(wells(1, 1e-9))), "dfp.Langevin(sgd), or dfp.solve", "dfp.escape",
    ),
    "spectrum, d > 3": (lambda: dfp.spectrum(master(quadratic(4, 0.1))), "dfp.modes(sgd)", "dfp.moments"),
    "spectrum, a landscape": (lambda: dfp.spectrum(master(wells(3))), "dfp.modes(sgd, at=θ)", "leave grid out"),
    "correlations, a landscape": (lambda: dfp.autocorrelation(master(wells(3)), [0]), "need d <= 2", "leave grid out"),
    "exits of Langevin, d > 3": (
        lambda: dfp.exit_steps(dfp.Langevin(quadratic(4)), (-1.0, 1.0), dfp.Point(np.zeros(4))),
        "sample dfp.MasterEquation(sgd) with trajectories=100_000", "give trajectories",
    ),
    "exits, narrow steps": (
        lambda: dfp.exit_steps(master(quadratic(1, 0.0, 1e-7)), (-10.0, 10.0), dfp.Point(0.0)),
        "give trajectories=20_000, splitting=True", "MonteCarlo",
    ),
    "escape, short steps": (lambda: dfp.escape(wells(1, 1e-11), -1.0, (-2.0, 0.0)), "GiB are there; raise it", "grid"),
    "a solver of moments, a landscape": (
        lambda: from_zero(master(wells(1)), 1, solver="moment_recursion"), "Use solver='auto'", "dfp.MomentRecursion()",
    ),
    "Langevin, a landscape, d > 2": (
        lambda: from_zero(dfp.Langevin(wells(3)), 3), "dfp.MonteCarlo(...) with dfp.MasterEquation(sgd)", "auto",
    ),
    "high moments, d > 3": (
        lambda: from_zero(master(quadratic(4)), 4, solver=dfp.MomentRecursion(4)), "highest=2", "MomentRecursion()",
    ),
    "tolerance on a grid that is given": (
        lambda: from_zero(master(quadratic(1, 0.3)), 1, solver="transfer", grid=dfp.Grid(-4, 4, 24), tolerance=1e-9),
        "leave grid out", "another grid",
    ),
    "tolerance of samples": (
        lambda: from_zero(master(quadratic(1)), 1, solver=dfp.MonteCarlo(1024), tolerance=0.1), "leave tolerance out",
        "grid",
    ),
    "directions, a landscape": (
        lambda: from_zero(master(wells(2)), 2, directions=np.ones(2)), "solution.marginal(axes)", "moments",
    ),
    "directions of an average": (
        lambda: from_zero(master(dfp.TailAverage(quadratic(2, 0.1))), 2, directions=np.ones(2)),
        "dfp.MonteCarlo(...) without directions", "solver=dfp.MonteCarlo",
    ),
    "a density, d > 3": (lambda: from_zero(master(quadratic(4)), 4).gridded(), "give directions=...", "MonteCarlo"),
}  # fmt: skip


@pytest.mark.parametrize("name", REMEDIES)
def test_the_remedy_is_possible(name):
    call, remedy, impossible = REMEDIES[name]
    with pytest.raises(dfp.DFPError) as caught:
        call()
    assert remedy in str(caught.value)
    assert impossible not in str(caught.value)


def test_who_has_one_method_is_told_of_no_other():
    """Along directions no tolerance can be given, and trajectories do not mend moments that a grid does not hold."""
    equation, settings = master(quadratic(5, 0.1)), {"save": [1, 5], "directions": np.ones(5)}
    told = dfp.solve(equation, dfp.Gaussian(np.ones(5), 0.1), 5, grid=dfp.Grid(1.0, 2.0, 16), **settings)
    text = " ".join(told.certificate.warnings)
    assert "give a wider grid" in text and "go by dfp.moments(...)" in text
    assert not re.search("trajectories|tolerance|solver", text)
