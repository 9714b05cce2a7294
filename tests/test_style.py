"""Tolerances in tests say why they are what they are: they are named where the reason stands, or a comment gives it."""

import ast
import re
import tokenize
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("test_*.py"))
KEYWORDS = {"rtol", "atol", "rel", "abs"}
# A docstring that gives a reason speaks of rounding, of an order, of a share or of a number with an exponent.
REASON = re.compile(r"round|order|O\(|%|\d[eE]-\d|10⁻|digits|standard error|z-score|z²|deviations|spacing|chance")


def tolerances(tree):
    """Every literal that serves as a tolerance: a keyword such as ``rtol``, or what something must be below."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in KEYWORDS and literal(keyword.value):
                    yield keyword.value
        elif isinstance(node, ast.Compare) and isinstance(node.ops[-1], (ast.Lt, ast.LtE)):
            yield from filter(literal, node.comparators[-1:])


def literal(node):
    """Whether a node is a small number written down, rather than 0, a name or a bound of a count."""
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < node.value < 0.1


def above(lines, statement):
    """The first line of the block of statements without a blank line between them that a comment above heads."""
    line = statement.lineno
    while line > 1 and lines[line - 2].strip() and indentation(lines[line - 2]) >= statement.col_offset:
        line -= 1
    return line


def indentation(line):
    return len(line) - len(line.lstrip())


def unexplained(source):
    """Lines with a tolerance for which neither a comment in or above the statement nor the docstring has a reason."""
    tree, lines = ast.parse(source), source.splitlines()
    comments = {
        token.start[0] for token in tokenize.generate_tokens(iter(line + "\n" for line in lines).__next__)
        if token.type == tokenize.COMMENT
    }  # fmt: skip
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    functions = [node for node in statements if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    found = []
    for node in tolerances(tree):
        around = [s for s in statements if s.lineno <= node.lineno <= s.end_lineno]
        statement = min(around, key=lambda s: s.end_lineno - s.lineno)
        explained = any(line in comments for line in range(above(lines, statement), statement.end_lineno + 1))
        texts = [ast.get_docstring(f) or "" for f in functions if f.lineno <= node.lineno <= f.end_lineno]
        if not explained and not any(REASON.search(text) for text in texts):
            found.append((node.lineno, lines[node.lineno - 1].strip()))
    return sorted(set(found))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_tolerance_gives_its_reason(path):
    assert not unexplained(path.read_text(encoding="utf-8"))


def test_a_tolerance_without_a_reason_is_seen():
    """Negative control."""
    assert unexplained("def test():\n    assert x < 1e-9\n") == [(2, "assert x < 1e-9")]
    assert not unexplained("def test():\n    # rounding\n    assert x < 1e-9\n")
    assert not unexplained('def test():\n    """Equal but for rounding."""\n    assert x == approx(1, rel=1e-9)\n')
    assert not unexplained("ROUNDING = 1e-9  # of ten sums\ndef test():\n    assert x < ROUNDING\n")
