"""Figures are fit for papers: drawn peaks are true, limits hold contours, legends hide nothing, colours differ."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from dfp_solvers import refinement
from matplotlib import colors, pyplot
from scipy import stats

import dfp
from dfp.results import palette

# What eyes tell apart at a glance, as a distance in CIELAB, is some 10; neighbours of a ramp have half of it at least.
APART = 10.0
# A figure is read to a thousandth of its height at most.
READ = 1e-3


@pytest.fixture(scope="module")
def line():
    noise = dfp.GaussianNoise([1.0], [0.3])
    return dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), 0.1))


def gaussian(variances, cells):
    """A Gaussian density on cells of 0.7 deviations, its peak between two of them."""
    reach = 0.35 * cells * np.sqrt(variances)
    grid = dfp.Grid(-reach, reach, (cells,) * len(variances))
    return dfp.Density.normalised(grid, np.exp(-0.5 * np.sum(grid.points**2 / variances, axis=-1)))


def outermost(axis):
    path = axis.collections[1].get_paths()[0]
    return path.vertices[path.codes != path.CLOSEPOLY]


def test_drawn_peaks_are_those_of_the_closed_form():
    """On lines, in contours and in corner plots; the cells alone are off by six per cent."""
    variances = np.array([0.25, 0.6, 1.4])
    law = gaussian(variances[:1], 26)
    peak = (2 * np.pi * variances[0]) ** -0.5
    drawn = law.plot().axes[0].lines[0].get_ydata().max()
    assert drawn == pytest.approx(peak, rel=READ) and law.values.max() != pytest.approx(peak, rel=10 * READ)
    corner = gaussian(variances, 26).plot()
    for place, variance in zip((0, 4, 8), variances, strict=True):
        peak = (2 * np.pi * variance) ** -0.5
        assert corner.axes[place].lines[0].get_ydata().max() == pytest.approx(peak, rel=READ)


def test_contours_are_the_ellipses_that_hold_what_is_said():
    """39, 86 and 99 % of a Gaussian are within 1, 2 and 3 deviations; straight lines between cells are not."""
    variances = np.array([0.25, 1.0])
    law = gaussian(variances, 26)
    drawn = law.plot().axes[0].collections[1].get_paths()
    for path, held in zip(drawn, (0.989, 0.865, 0.393), strict=True):
        radius = np.sqrt(-2 * np.log(1 - held))
        vertices = path.vertices[np.any(path.vertices != 0, axis=1)]
        # levels are counted in places of the figure, some 1e2 along an axis, which areas are right to a per cent by
        np.testing.assert_allclose(np.linalg.norm(vertices / np.sqrt(variances), axis=1), radius, rtol=0.01)
    raw = pyplot.figure().subplots().contour(*law.grid.axes, law.values.T, levels=[np.exp(-0.5) * law.values.max()])
    assert np.linalg.norm(raw.get_paths()[0].vertices / np.sqrt(variances), axis=1).min() > 1.1  # control
    pyplot.close("all")


def test_refinement_keeps_values_mass_and_sign_and_leaves_jumps_alone():
    centres = (np.arange(60) - 29.5) * 0.6
    smooth = stats.norm.pdf(centres) + 0.4 * stats.norm.pdf(centres, -4, 0.8)
    (places,), drawn = refinement.refined([centres], smooth, [-9], [6], 400)
    shown = (centres >= places[0]) & (centres <= places[-1])
    np.testing.assert_allclose(np.interp(centres[shown], places, drawn), smooth[shown], rtol=1e-9)  # rounding of logs
    # splines of cells of 0.75 deviations err by a thousandth, and by less in the mean
    assert drawn.min() > 0 and np.trapezoid(drawn, places) == pytest.approx(1.4, rel=READ)
    for jump in (np.where(np.abs(centres) < 3, 1.0, 0.0), np.where(centres == centres[20], 1.0, 0.0)):
        (places,), drawn = refinement.refined([centres], jump, [-9], [6], 400)
        assert len(places) <= len(centres) and set(drawn) <= {0.0, 1.0}

    def signed(x):
        """As the truncated series of a density: negative beyond x = 2."""
        return stats.norm.pdf(x) * (1 - 0.5 * x)

    (places,), drawn = refinement.refined([centres], signed(centres), [-9], [9], 400)
    np.testing.assert_allclose(drawn, signed(places), atol=READ * drawn.max())
    assert drawn.min() == pytest.approx(signed(places).min(), rel=10 * READ)


def test_smoothed_histograms_keep_mass_mean_and_covariance_and_lose_noise():
    rng, edges = np.random.default_rng(3), np.linspace(-5, 5, 51)
    counts = np.histogram2d(*rng.standard_normal((2, 20_000)), bins=[edges, edges])[0]
    histogram, centres = counts / (counts.sum() * 0.04), edges[:-1] + 0.1
    smooth = refinement.smoothed(histogram, 0.04, 20_000)
    exact = stats.norm.pdf(centres)[:, None] * stats.norm.pdf(centres)
    # the kernel has no second moment; cutting what it makes negative far out adds some 1e-3
    assert smooth.sum() * 0.04 == pytest.approx(1.0, rel=5e-3)
    variance = [(f.sum(axis=1) @ centres**2) / f.sum() for f in (smooth, histogram)]
    assert variance[0] == pytest.approx(variance[1], rel=2e-2)  # order of 1e-3 of mass, at three deviations
    assert np.abs(smooth - exact).max() < np.abs(histogram - exact).max() / 2


@pytest.fixture(scope="module")
def results(line):
    plane = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.3], noise=dfp.GaussianNoise([1.0, 0.5])), 0.1)
    start = dfp.Gaussian([1.0, 0.0], 0.05)
    solve = {name: equation(plane) for name, equation in (("SGD", dfp.MasterEquation), ("Langevin", dfp.Langevin))}
    planes = {name: dfp.solve(equation, start, 20, [1, 20]) for name, equation in solve.items()}
    one = dfp.solve(line, dfp.Gaussian(1.0, 0.01), 30, [1, 3, 10, 30])
    many = dfp.QuadraticLandscape(np.geomspace(1e-2, 19, 50), noise=dfp.GaussianNoise(np.geomspace(1e-2, 19, 50)))
    return {
        "steps": one,
        "comparison": dfp.compare(planes),
        "moments": dfp.moments(dfp.MasterEquation(plane), start, 20),
        "modes": dfp.modes(dfp.SGD(many, 0.1)),
        "mode": dfp.modes(plane),
        "exit": dfp.exit_steps(line, ([-1.0], [1.0]), dfp.Point([0.0]), 50),
        "phases": dfp.phase_diagram(
            {"learning_rate": [0.1, 0.5, 2.0]}, {"curvature": [0.5, 1.0]}, gradient_noise=1.0, curvature_noise=1.0
        ),
        "planes": planes["SGD"],
        "over": planes,
        "line over": {"SGD": one, "other": one},
    }


def test_limits_hold_contours_and_leave_no_empty_bands(results):
    def fits(ends, drawn):
        spare = 0.15 * (ends[1] - ends[0])
        return 0 < drawn.min() - ends[0] < spare and 0 < ends[1] - drawn.max() < spare

    for name in ("planes", "over"):
        panels = [axis for axis in dfp.plot(results[name]).axes if axis.get_title()]
        seen = np.concatenate([outermost(axis) for axis in panels])
        for axis in panels:
            for ends, drawn in ((axis.get_xlim(), seen[:, 0]), (axis.get_ylim(), seen[:, 1])):
                assert fits(ends, drawn), name
    grid = results["planes"].grid  # controls: limits of the grid, and of one of the laws
    assert not fits((grid.lower[1], grid.upper[1]), seen[:, 1])
    assert not fits(results["planes"].plot(steps=[1]).axes[0].get_ylim(), seen[:, 1])


@pytest.mark.parametrize("width", [3.3, 9.0])
def test_legends_hide_nothing_and_are_not_cut(results, width):
    for name in ("steps", "comparison", "moments", "modes", "mode", "exit", "phases", "line over"):
        figure, axis = pyplot.subplots(figsize=(width, 0.75 * width), layout="constrained")
        dfp.plot(results[name], ax=axis)
        figure.canvas.draw()
        legend, whole = axis.get_legend().get_window_extent(), figure.bbox
        assert not legend.overlaps(axis.get_window_extent()), name
        assert legend.x0 >= whole.x0 and legend.x1 <= whole.x1 and legend.y1 <= whole.y1, name
        assert not legend.overlaps(axis.title.get_window_extent()), name
        pyplot.close(figure)
    figure, axis = pyplot.subplots(figsize=(width, 0.75 * width))
    axis.plot([0, 1], label="control")
    assert axis.legend().get_window_extent().overlaps(axis.get_window_extent())
    pyplot.close(figure)


def test_modes_have_a_colour_each_and_a_bar_where_they_are_many(results):
    axes = results["modes"].plot().axes
    assert len(axes) == 3 and "curvature" in axes[2].get_ylabel()
    lines = [line for line in axes[1].lines if len(line.get_xdata()) > 1]
    assert len({colors.to_hex(line.get_color()) for line in lines}) == len(lines) == 8
    assert len(results["mode"].plot().axes) == 2


# Linear RGB of what protanopes, deuteranopes and those who see all colours see (Viénot, Brettel and Mollon 1999).
SEEN = {
    "all": np.eye(3),
    "protanope": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deuteranope": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


def lab(colour, seen):
    """A colour in CIELAB (D65)."""
    rgb = np.array(colors.to_rgb(colour))
    # the curve of sRGB, which is a line below 4e-2
    linear = seen @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(np.maximum(xyz, 0) / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
def test_colours_can_be_told_apart_by_every_reader_and_from_paper(seen):
    def far(chosen, pairs):
        return [np.linalg.norm(lab(a, np.array(SEEN[seen])) - lab(b, np.array(SEEN[seen]))) for a, b in pairs(chosen)]

    assert min(far(palette.colours(6), lambda chosen: combinations(chosen, 2))) > APART
    ramp = palette.colours(8)
    assert len({colors.to_hex(colour) for colour in ramp}) == 8 and min(far(ramp, pairwise)) > APART / 2
    assert min(far(ramp, lambda chosen: [(one, "white") for one in chosen])) > 3 * APART
    lightness = [lab(colour, np.array(SEEN[seen]))[0] for colour in ramp]
    assert np.all(np.diff(lightness) > 0)
    assert min(far(["#0072B2"] * 2, lambda chosen: combinations(chosen, 2))) < APART  # control
