"""The gallery: every example runs without a warning, is short, and asks the question that its figure answers."""

import ast
import runpy
from pathlib import Path

import pytest

GALLERY = Path(__file__).resolve().parent.parent / "docs" / "gallery"
EXAMPLES = sorted(GALLERY.glob("*/*.py"))
# What a reader takes in at a glance; the promise of the gallery's first page.
LONGEST = 30
# Letters of a line of code that a built page shows without wrapping it.
WIDEST = 88


def test_there_are_examples_in_every_section():
    """Each folder is a section with a heading; an empty glob would pass every other test here."""
    sections = [folder for folder in GALLERY.iterdir() if folder.is_dir()]
    assert len(EXAMPLES) >= 20
    assert all((folder / "GALLERY_HEADER.rst").exists() and list(folder.glob("*.py")) for folder in sections)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_an_example_is_short_and_draws_one_labelled_figure(example):
    """As Sphinx runs it: one figure, whose every axis says what it shows and in which unit, and a question as title."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    text = example.read_text(encoding="utf-8")
    title, rule = (ast.get_docstring(ast.parse(text)) or "\n").splitlines()[:2]
    assert title.endswith("?") and rule == "=" * len(title)
    lines, prose = text.splitlines(), ast.parse(text).body[0].end_lineno
    assert len(lines) <= LONGEST and max(map(len, lines[prose:])) <= WIDEST
    plt.close("all")
    try:
        runpy.run_path(str(example))
        assert len(plt.get_fignums()) == 1
        figure = plt.gcf()
        titles = [figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)]
        assert any("?" in given for given in titles), titles
        assert all(axis.get_xlabel() or axis.get_ylabel() for axis in figure.axes if axis.axison)
    finally:
        plt.close("all")
