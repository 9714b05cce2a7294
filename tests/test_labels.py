"""Labels of axes are those of the schema, in every figure that is drawn and in every line that sets one."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from problems import one_mode, regression, rotated
from solutions import made

import dfp
from dfp.results import axes, schema
from dfp.results.overlay import overlay as draw

ROOT = Path(__file__).parents[1]


def labels():
    """Everything that the schema can label an axis with, in up to three dimensions."""
    names = [name for name in schema.VARIABLES if "{" not in name] + ["theta_1", "theta_2", "theta_3"]
    names += [*schema.PHASE_VARIABLES, *schema.DISTANCE_VARIABLES, *schema.ESCAPE_VARIABLES, *schema.DRAWN_VARIABLES]
    return {schema.label(name, d) for name in names for d in (1, 2, 3)}


def shown(solution):
    """The solution with a density that can be drawn."""
    frames, d = len(solution.steps), solution.dimension
    density = np.ones_like(solution.density)
    return dataclasses.replace(
        solution, density=density, mean=np.zeros((frames, d)), covariance=np.ones((frames, 1, 1)) * np.eye(d)
    )


def phase_diagram():
    rates, noises = {"learning_rate": [0.1, 0.5, 1.5]}, {"curvature_noise": [0.0, 0.5, 2.0]}
    return dfp.phase_diagram(rates, noises, curvature=1.0, gradient_noise=0.3).plot()


FIGURES = {
    "densities on a line": lambda: shown(made(1)).plot(),
    "densities in a plane": lambda: shown(made(2)).plot(),
    "moments": lambda: made(3, gridded=False).plot(),
    "comparison on a line": lambda: draw({"a": shown(made(1)), "b": shown(made(1))}),
    "comparison in a plane": lambda: draw({"a": shown(made(2)), "b": shown(made(2))}),
    "exits": lambda: dfp.exit_steps(dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), (-1, 1), dfp.Point(0.0)).plot(),
    "modes": lambda: dfp.modes(dfp.SGD(rotated(3, 5.0), 0.1)).plot(),
    "modes of a regression": lambda: dfp.modes(dfp.SGD(regression(), 0.1)).plot(),
    "phase diagram": phase_diagram,
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_label_of_a_drawn_axis_is_of_the_schema(name):
    check_labels(FIGURES[name]())


def check_labels(figure, names=()):
    """Every label of an axis is one that the schema makes, or that of a parameter with one of the ``names``."""
    known = labels() | {axes.label(name) for name in names}
    texts = [text for axis in figure.axes for text in (axis.get_xlabel(), axis.get_ylabel())]
    drawn = {text.replace("\n", " ") for text in texts} - {""}  # in lines, where there is no room for one
    assert drawn
    assert drawn <= known, drawn - known


def set_by_hand(source):
    """Calls in ``source`` that label an axis with text of their own."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        given = {"set_xlabel": call.args, "set_ylabel": call.args, "set_zlabel": call.args}.get(name, [])
        named = {"set": ("xlabel", "ylabel", "zlabel"), "colorbar": ("label",), "set_label": ("label",)}.get(name, ())
        given = [*given, *(keyword.value for keyword in call.keywords if keyword.arg in named)]
        texts = [value for value in given if isinstance(value, (ast.Constant, ast.JoinedStr, ast.BinOp))]
        # one that is taken away is none
        found += [ast.unparse(call) for value in texts if ast.unparse(value) != "''"]
    return found


def test_no_line_of_dfp_labels_an_axis_by_hand():
    assert set_by_hand('axis.set_xlabel("step n"); axis.set(ylabel=f"{x}"); axis.colorbar(m, label="a")')
    assert not set_by_hand('axis.set_xlabel("")')
    for path in (ROOT / "dfp").rglob("*.py"):
        assert not set_by_hand(path.read_text(encoding="utf-8")), path
