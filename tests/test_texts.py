"""What errors and warnings tell to do exists: public names, their arguments, and remedies that fit who asked."""

import ast
import inspect
import re
from pathlib import Path

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
