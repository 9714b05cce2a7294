"""Figures: every axis is labelled, every figure asks a question, and what cannot be drawn is refused in words."""

import numpy as np
import pytest
from problems import one_mode, rotated, table

import dfp
from dfp.results import figures, page
from dfp.results.overlay import overlay as draw


def checked(figure):
    """Every axis has labels, and the figure a title."""
    assert figure.get_suptitle()
    for axis in figure.axes:
        if axis.axison and axis.get_label() != "<colorbar>":
            assert axis.get_xlabel() and axis.get_ylabel()
    return figure


@pytest.fixture(scope="module")
def one():
    equation = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    return dfp.solve(equation, dfp.Gaussian(1.0, 0.1), 20, [0, 5, 20])


@pytest.fixture(scope="module")
def two():
    sgd, start = dfp.SGD(table(2), 0.02), dfp.Gaussian([0.5, 0.0], 0.1)
    return {
        "sampled": dfp.solve(dfp.MasterEquation(sgd), start, 20, [0, 20], dfp.MonteCarlo(20_000)),
        "Langevin": dfp.solve(dfp.Langevin(sgd), start, 20, [0, 20]),
    }


def test_one_dimension(one, tmp_path):
    figure = checked(one.plot())
    assert len(figure.axes[0].lines) == 3
    assert figure.axes[1].get_yscale() == "log"
    figures.save(figure, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 10_000


def test_two_dimensions_side_by_side(two, tmp_path):
    checked(two["Langevin"].plot())
    figure = checked(draw(two))
    assert [axis.get_title() for axis in figure.axes[:2]] == list(two)
    figures.save(figure, tmp_path / "two.png")


def test_comparison_of_curves(one):
    figure = checked(draw({"a": one, "b": one}))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b"]


def test_all_mass_in_one_cell_is_drawn(tmp_path):
    equation = dfp.MasterEquation(dfp.SGD(table(2), 0.02))
    solution = dfp.solve(equation, dfp.Point([0, 0]), 5, [0, 5], dfp.MonteCarlo(2000))
    figures.save(solution.plot(), tmp_path / "point.png")


def test_moments_of_many_parameters():
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(rotated(12, 5.0), 0.1)), dfp.Point(np.ones(12)), 30, [0, 10, 30])
    checked(solution.plot())


def test_animation(one, two, tmp_path):
    one.animate(tmp_path / "one.gif")
    two["Langevin"].animate(tmp_path / "two.gif", frames_per_second=2)
    for name in ("one.gif", "two.gif"):
        assert (tmp_path / name).read_bytes()[:6] == b"GIF89a"


def test_refusals(one, tmp_path):
    moments = dfp.solve(
        dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), dfp.Gaussian(0, 1), 2, solver=dfp.MomentRecursion()
    )
    with pytest.raises(dfp.DFPError, match="has no density to draw"):
        draw({"a": moments, "b": one})
    with pytest.raises(dfp.DFPError, match=r"figure cannot be written.*\.png"):
        figures.save(one.plot(), tmp_path / "figure.unknown")
    assert list(tmp_path.iterdir()) == []


def test_many_steps_have_a_bar_of_colours_and_few_a_legend():
    import dfp

    sgd = dfp.SGD(dfp.QuadraticLandscape(1.0, 0.0, dfp.GaussianNoise(0.5)), 0.1)
    solution = dfp.solve(dfp.Langevin(sgd), dfp.Gaussian(1.0, 0.1), 40, range(0, 41, 4))
    many, few = solution.plot(), solution.plot(steps=[0, 40], title="Mine")
    assert len(many.axes) == 3 and many.axes[0].get_legend() is None
    assert len({line.get_color() for line in many.axes[0].lines}) == 11
    assert len(few.axes) == 2 and len(few.axes[0].lines) == 2 and few.axes[0].get_legend() is not None
    assert few.get_suptitle() == "Mine" != many.get_suptitle()


def test_negative_values_are_named_where_they_are_seen():
    """As (T5) has them: cells of a hundredth of the peak, outside the view and in it, where they cover 1.4 % of it."""
    axes = np.linspace(-3, 3, 120), np.linspace(-3, 3, 120)
    values = np.exp(-(axes[0][:, None] ** 2 + axes[1] ** 2) / 2)
    values[104:118, 104:118] = -0.01
    for reach, told in ((2.0, False), (3.0, True)):
        _, ((axis,),) = page.canvas(1, 1, 4.0, 4.0)
        figures.contours(axis, axes, values, "C0", (np.full(2, -reach), np.full(2, reach)))
        legend = axis.get_legend()
        assert (legend is not None and "negative" in legend.get_texts()[0].get_text()) is told
