"""Figures for papers: exactly as wide as asked for, with all of their text on them, for every kind of result."""

import numpy as np
import pytest
from matplotlib import pyplot
from problems import one_mode, table
from test_kinds import RESULTS
from texts_drawn import cut, overlapping, texts

import dfp
from dfp.cli.commands import app
from dfp.results import page

# A column and a page of most papers [inch].
WIDTHS = (3.3, 7.0)


@pytest.fixture(scope="module")
def figures():
    """Ways to draw every kind, and several solutions over each other in one to three dimensions."""
    found = {name: result.plot for name, result in RESULTS.items()}
    found["sweep"] = lambda **options: RESULTS["sweep"].plot("sum", **options)
    line, start = dfp.SGD(one_mode(), 0.1), dfp.Gaussian(1.0, 0.1)
    many = dfp.solve(dfp.MasterEquation(line), start, 20, range(0, 21, 2))
    plane, where = dfp.SGD(table(2), 0.02), dfp.Gaussian([0.5, 0.0], 0.1)
    planes = [dfp.solve(form(plane), where, 6, range(7), grid=24) for form in (dfp.MasterEquation, dfp.Langevin)]
    bowl = dfp.QuadraticLandscape([2.0, 1.0, 0.5], noise=dfp.GaussianNoise([0.3] * 3))
    cube = dfp.solve(dfp.MasterEquation(dfp.SGD(bowl, 0.1)), dfp.Gaussian(np.ones(3), 0.1), 5, [5], grid=20)
    axes = {name: np.geomspace(0.01, 10, 20) for name in ("learning_rate", "curvature_noise")}
    diagram = dfp.phase_diagram(*({name: values} for name, values in axes.items()), curvature=1.0, gradient_noise=0.3)
    spectrum = dfp.QuadraticLandscape(np.geomspace(0.01, 3, 12), noise=dfp.GaussianNoise(np.full(12, 0.1)))
    names = ("exact", "a name of a solution that is longer than others", "third")
    over = {"many steps": [many] * 2, "planes": planes, "three planes": [*planes, planes[1]], "cubes": [cube] * 2}
    for name, several in over.items():
        known = dict(zip(names, several, strict=False))
        found[f"{name} compared"] = lambda known=known, **options: dfp.plot(known, **options)
    return found | {
        "many steps": many.plot, "plane": planes[0].plot, "cube": cube.plot, "regimes": diagram.plot,
        "spectrum of modes": dfp.modes(dfp.SGD(spectrum, 0.3)).plot,
    }  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_all_kinds_are_so_wide_and_their_texts_are_whole_and_apart(width, figures):
    for name, draw in figures.items():
        figure = draw(width=width)
        assert (cut(figure), overlapping(figure)) == ([], []), name
        assert figure.get_figwidth() == width, name
        panels = [axis for axis in figure.axes if axis.axison]
        assert all(max(axis.get_window_extent().size) > 0.5 * figure.dpi for axis in panels), name
        letters = [text for axis in panels for text in (axis.xaxis.label, axis.yaxis.label, axis.title)]
        assert {text.get_fontsize() for text in letters if text.get_text()} <= {8, 8 * 0.833}, name
        pyplot.close("all")


def test_what_asks_for_most_room_has_it_at_the_least_width(figures):
    for name in ("cube", "regimes", "three planes compared"):
        figure = figures[name](width=3.0)
        assert (cut(figure), overlapping(figure)) == ([], []), name
    pyplot.close("all")


def test_texts_that_are_cut_or_lie_over_each_other_are_found(figures):
    """Control: a label longer than its axes, and a page cut from a figure that had room."""
    figure = figures["density"](width=3.3)
    figure.axes[0].set_ylabel("a label that is longer than its axes are high, and then some more, and more")
    assert [text for text in cut(figure) if text.startswith("a label")] and overlapping(figure)
    narrow = figures["moments"]()
    assert not cut(narrow)
    narrow.set_layout_engine(None)
    narrow.set_size_inches(3.3, 1.2)
    assert cut(narrow) and overlapping(narrow)
    pyplot.close("all")


@pytest.mark.parametrize("width", WIDTHS)
def test_files_are_so_wide(width, figures, tmp_path):
    """PNG in pixels, PDF in points of 1/72 inch; by ``savefig``, and by the command line."""
    figure = figures["plane"](width=width)
    figure.savefig(tmp_path / "plane.png")
    assert pyplot.imread(tmp_path / "plane.png").shape[1] == round(width * figure.dpi)
    figure.savefig(tmp_path / "plane.pdf")
    RESULTS["moments"].save(tmp_path / "moments.h5")
    command = ["plot", str(tmp_path / "moments.h5"), "--width", str(width), "--style", "paper", "-o"]
    app([*command, str(tmp_path / "moments.pdf")], standalone_mode=False)
    app([*command, str(tmp_path / "moments.png")], standalone_mode=False)
    assert pyplot.imread(tmp_path / "moments.png").shape[1] == round(width * 200)
    for name in ("plane", "moments"):
        box = (tmp_path / f"{name}.pdf").read_bytes().partition(b"/MediaBox [ ")[2].partition(b" ]")[0]
        # the backend writes six digits
        assert float(box.split()[2]) == pytest.approx(72 * width, abs=1e-4), name
    pyplot.close("all")


def test_panels_are_below_each_other_where_they_have_no_room(figures):
    places = {width: [axis.get_position().x0 for axis in figures["moments"](width=width).axes[:2]] for width in WIDTHS}
    # columns of panels are aligned to rounding
    assert places[3.3][0] == pytest.approx(places[3.3][1], abs=1e-9) and places[7.0][0] < places[7.0][1]
    wide = figures["moments"](width=3.3, style="ggplot")
    assert wide.get_figwidth() == 3.3 and wide.axes[0].get_facecolor() != (1, 1, 1, 1)


@pytest.mark.parametrize("width", [0, -3.3, 2.9, 41, 330, float("nan"), float("inf"), "3.3", True, [3.3]])
def test_widths_that_no_figure_has_are_refused(width):
    with pytest.raises(dfp.DFPError, match=r"^width=.*(inches|float|finite|number)"):
        RESULTS["moments"].plot(width=width)
    with pytest.raises(dfp.DFPError, match=r"^width="):
        dfp.plot({"a": RESULTS["solution"]}, width=width)
    assert pyplot.get_fignums() == []


def test_axes_that_are_given_have_a_width(tmp_path):
    _, axis = pyplot.subplots()
    with pytest.raises(dfp.DFPError, match=r"width=3\.3: axes have the width of their figure"):
        RESULTS["moments"].plot(ax=axis, width=3.3)


def test_the_command_line_refuses_widths_before_it_solves(tmp_path, capsys):
    file, out = str(tmp_path / "none.toml"), str(tmp_path / "found.png")
    (tmp_path / "none.toml").write_text("")
    told = {
        "width=1: must be inches": ["compare", file, "--width=1", "--figure", out],
        "style='none such': is no style": ["modes", file, "--style=none such", "--figure", out],
        "--width=3.3: there is no figure": ["phase", file, "--width", "3.3"],
    }
    for words, command in told.items():
        app(command, standalone_mode=False)
        assert capsys.readouterr().err.startswith(f"error: {words}")


@pytest.mark.parametrize("engine", [None, "constrained"])
def test_axes_that_are_given_keep_their_texts_whole_and_take_a_style(engine, figures):
    """On a figure as wide as a column, whose maker has thought of no layout."""
    for name, draw in figures.items():
        figure, axis = pyplot.subplots(figsize=(3.3, 2.5), layout=engine)
        draw(ax=axis, style="paper")
        assert cut(figure) == [], name
        assert axis.xaxis.label.get_fontsize() <= 8 and not axis.spines["top"].get_visible(), name
        assert axis.xaxis.get_major_ticks()[0].label1.get_fontsize() <= 8, name
        pyplot.close("all")


def test_axes_with_room_and_axes_with_data_are_left_as_they_are():
    figure, axis = pyplot.subplots(figsize=(9, 6))
    before = axis.get_position().bounds
    RESULTS["risk curve"].plot(ax=axis)
    assert axis.get_position().bounds == before and figure.get_layout_engine() is None
    _, axis = pyplot.subplots()
    axis.plot([0, 9], [1, 1], label="mine")
    RESULTS["risk curve"].plot(ax=axis, style="paper")
    assert next(line.get_label() for line in axis.lines) == "mine" and axis.spines["top"].get_visible()
    pyplot.close("all")


def test_numbers_do_not_change_when_the_style_is_no_longer_set():
    """How many there are goes by the size of letters, which are drawn when the style's context has ended."""
    figure = RESULTS["escape"].plot(width=3.3)
    outside = [text for text, _ in texts(figure)]
    with page._styled("paper"):
        assert [text for text, _ in texts(figure)] == outside
