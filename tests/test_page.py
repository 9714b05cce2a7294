"""One convention for all figures: pyplot manages them, axes can be given, styles and titles chosen, films written."""

import gc
import re
import shutil
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib import pyplot
from problems import one_mode, table
from solutions import made

import dfp
from dfp.results import page


@pytest.fixture(scope="module")
def results():
    sgd, start = dfp.SGD(one_mode(), 0.1), dfp.Gaussian(1.0, 0.1)
    master = dfp.MasterEquation(sgd)
    one = dfp.solve(master, start, 20, [0, 5, 20])
    plane = dfp.MasterEquation(dfp.SGD(table(2), 0.02))
    return {
        "solution": one,
        "plane": dfp.solve(plane, dfp.Gaussian([0.5, 0.0], 0.1), 6, range(7), grid=24),
        "density": dfp.stationary(master),
        "moments": dfp.moments(master, start, 20),
        "comparison": dfp.compare({"exact": one, "T6": dfp.solve(dfp.Langevin(sgd), start, 20, [0, 5, 20])}),
        "spectrum": dfp.spectrum(master),
        "exit steps": dfp.exit_steps(dfp.Langevin(sgd), (-1.0, 1.0), dfp.Point([0.0]), 20),
        "modes": dfp.modes(sgd),
        "phase diagram": dfp.phase_diagram(
            {"learning_rate": [0.1, 1.0]}, {"curvature": [0.5, 1.0, 2.0]}, gradient_noise=1.0
        ),
        "sweep": dfp.sweep(_square, {"x": [1.0, 2.0]}, quiet=True),
    }


def _square(x):
    return x * x


def test_every_figure_takes_axes_title_and_style_and_is_managed(results):
    for name, result in results.items():
        figure = dfp.plot(result, title="Mine", style="paper")
        assert figure.number in pyplot.get_fignums() and figure.get_suptitle() == "Mine", name
        letters = {text.get_fontsize() for axis in figure.axes for text in (axis.xaxis.label, axis.yaxis.label)}
        assert max(letters) <= 8, name
        assert result.plot().get_suptitle().endswith(("?", ".", "%", ")")) or "?" in result.plot().get_suptitle(), name
        pyplot.close("all")
        mine, axis = pyplot.subplots()
        assert result.plot(ax=axis) is mine and pyplot.get_fignums() == [mine.number], name
        assert axis.has_data() and axis.get_title(), name
        pyplot.close("all")


def test_more_axes_take_more_panels_and_too_many_or_none_are_refused(results):
    mine, axes = pyplot.subplots(1, 2)
    results["solution"].plot(ax=axes, title="Mine")
    assert [axis.get_yscale() for axis in axes] == ["linear", "log"] and axes[0].get_title() == "Mine"
    with pytest.raises(dfp.DFPError, match="3 axes"):
        results["solution"].plot(ax=pyplot.subplots(1, 3)[1])
    for wrong in (mine, "axes", []):
        with pytest.raises(dfp.DFPError, match="ax="):
            results["solution"].plot(ax=wrong)
    with pytest.raises(dfp.DFPError, match="style='none such'"):
        results["solution"].plot(style="none such")
    with pytest.raises(dfp.DFPError, match="no saved steps"):
        results["spectrum"].plot(steps=[1])
    with pytest.raises(dfp.DFPError, match="not saved"):
        results["moments"].plot(steps=[99])


def test_steps_are_chosen(results):
    assert len(results["solution"].plot(steps=[5]).axes[0].lines) == 1
    assert len(results["moments"].plot(steps=[0, 5, 20]).axes[0].lines[0].get_xdata()) == 3
    assert len(results["comparison"].plot(steps=[5, 20]).axes[0].containers[0][0].get_xdata()) == 2


def test_nothing_leaks(results):
    """Closed figures are let go; those of other threads and of failures are not kept; axes given leave none behind."""
    figure = weakref.ref(results["solution"].plot())
    pyplot.close("all")
    gc.collect()
    assert figure() is None
    made_there = []
    worker = threading.Thread(target=lambda: made_there.append(results["solution"].plot()))
    worker.start()
    worker.join()
    assert pyplot.get_fignums() == [] and made_there[0].get_suptitle()
    with pytest.raises(ZeroDivisionError):
        page.plotted(lambda: (page.canvas(1, 1, 2.0, 2.0), 1 / 0))
    assert pyplot.get_fignums() == []
    assert page.canvas(1, 1, 2.0, 2.0)[0] and pyplot.get_fignums() == []  # what commands draw is no window


@pytest.mark.parametrize("style", [None, "paper"])
def test_no_title_is_cut(results, style):
    long = "Where is the parameter of a problem with a name that goes on, and on, and on? " * 2
    solution = replace(results["plane"], equation=long, solver="a solver of a long name")
    law = dict.fromkeys(["short", "a name of a solution that is much longer than the panel it stands over"])
    over = dict.fromkeys(law, results["plane"])
    for figure in (solution.plot(style=style), dfp.plot(over, style=style), results["sweep"].plot(title=long)):
        figure.canvas.draw()
        whole = figure.bbox
        titles = [figure._suptitle, *(axis.title for axis in figure.axes)]
        boxes = [text.get_window_extent() for text in titles if text.get_text()]
        assert all(box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1 for box in boxes)
        labels = [label for axis in figure.axes if axis.axison for label in (axis.xaxis.label, axis.yaxis.label)]
        boxes_of_labels = [label.get_window_extent() for label in labels if label.get_text()]
        assert all(box.x0 >= whole.x0 and box.y0 >= whole.y0 for box in boxes_of_labels)
        side = sorted((b for b in boxes[1:]), key=lambda box: box.x0)
        assert not any(a.x1 > b.x0 and abs(a.y0 - b.y0) < a.height for a, b in pairwise(side))
    figure = results["solution"].plot()  # control: without wrapping it would be
    figure.suptitle(long, wrap=False)
    figure.canvas.draw()
    assert figure._suptitle.get_window_extent().x0 < 0


def test_labels_of_small_axes_are_broken_and_not_cut(results):
    figure, axis = pyplot.subplots(figsize=(3.3, 2.2), layout="constrained")
    results["solution"].plot(ax=axis)
    figure.canvas.draw()
    assert axis.yaxis.label.get_window_extent().y0 >= 0
    axis.set_ylabel(axis.get_ylabel().replace("\n", " "), fontsize="medium")  # control
    figure.canvas.draw()
    assert axis.yaxis.label.get_window_extent().y0 < 0


def test_all_steps_of_a_plane_have_panels_with_the_levels_stated(results):
    figure = results["plane"].plot()
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [f"step {n}" for n in range(7)] and "39, 86 and 99\u00a0%" in figure.get_suptitle()
    fine = figure.axes[0].collections[1].get_paths()[0].vertices  # of a contour, smooth on 24 cells
    turns = np.diff(np.unwrap(np.arctan2(*np.diff(fine[:-1], axis=0).T)))
    assert len(fine) > 60 and np.median(np.abs(turns)) < 0.3


def test_negative_values_are_shown_as_such():
    solution = made(1, steps=(0, 3), upper=5.0)
    values = np.ones_like(solution.density)
    values[:, 2] = -0.2
    solution = replace(solution, density=values, mean=np.zeros((2, 1)), covariance=np.ones((2, 1, 1)))
    linear, logarithmic = solution.plot().axes
    assert linear.lines[0].get_ydata().min() == -0.2
    dashed = [line for line in logarithmic.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert np.nanmax(dashed[0].get_ydata()) == 0.2
    assert "negative" in [text.get_text() for text in logarithmic.get_legend().get_texts()]
    plane = made(2, steps=(0,))
    bump = np.exp(-np.sum((plane.grid.points - 1.0) ** 2, axis=-1))
    bump /= bump.sum() * plane.grid.cell_volume
    dip = bump - 0.1 * bump.max()
    dip /= dip.sum() * plane.grid.cell_volume
    dented = replace(plane, density=dip[None], mean=np.ones((1, 2)), covariance=np.eye(2)[None])
    smooth = replace(dented, density=bump[None])
    (told,) = dented.plot().axes[0].get_legend().get_texts()
    assert re.fullmatch("negative, -[0-9.]+\u00a0% of the mass", told.get_text())
    assert smooth.plot().axes[0].get_legend() is None
    # a dent in a single cell is too small to be seen, so nothing is said of it
    speck = np.where(np.all(plane.grid.points == plane.grid.points[0, 0], axis=-1), -0.01 * bump.max(), bump)
    assert replace(dented, density=speck[None]).plot().axes[0].get_legend() is None


def test_overlays_show_differences_from_the_first(results):
    one, law = results["solution"], results["density"]
    figure = dfp.plot({"exact": one, "law": law})
    _, _, difference = figure.axes
    places, drawn = difference.lines[0].get_data()
    wanted = law.interpolate(places) - one.at([20]).interpolate(places)[0]
    # splines of fifth order of the values and of their logarithms, on cells of half a deviation
    np.testing.assert_allclose(drawn, wanted, atol=1e-4)
    assert dfp.plot({"exact": one, "law": law}, steps=[5]).get_suptitle().startswith("Where is the parameter at step 5")
    with pytest.raises(dfp.DFPError, match="not a step that all have saved"):
        dfp.plot({"exact": one, "law": law}, steps=7)
    assert len([a for a in dfp.plot({"a": results["plane"], "b": results["plane"]}).axes if a.has_data()]) >= 3
    with pytest.raises(dfp.DFPError, match="must be a result"):
        dfp.plot(3)


def test_steps_spaced_evenly_on_a_logarithmic_axis_get_one(results):
    equation = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    found = dfp.moments(equation, dfp.Point([1.0]), 100, save=[0, 1, 10, 100])
    assert found.plot().axes[0].get_xscale() == "symlog" and results["moments"].plot().axes[0].get_xscale() == "linear"


def test_films(results, tmp_path, monkeypatch):
    """MP4 by a program that answers like ffmpeg: every frame reaches it, and without it there is a clear error."""
    solution = results["solution"]
    solution.animate(tmp_path / "film.gif")
    assert (tmp_path / "film.gif").read_bytes()[:6] == b"GIF89a"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(dfp.DFPError, match="needs the program ffmpeg"):
        solution.animate(tmp_path / "film.mp4")
    with pytest.raises(dfp.DFPError, match=r"use \.gif or \.mp4"):
        solution.animate(tmp_path / "film.avi")
    if sys.platform == "win32":
        return
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint(len(sys.stdin.buffer.read()), *sys.argv)\n")
    program.chmod(0o755)
    solution.animate(tmp_path / "film.mp4", frames_per_second=5)
    size, *arguments = (tmp_path / "film.mp4").read_text().split()
    width, height = map(int, arguments[arguments.index("-s") + 1].split("x"))
    assert int(size) == 3 * width * height * 3 and width % 2 == height % 2 == 0
    program.write_text("#!/bin/sh\necho no codec >&2; exit 3\n")
    with pytest.raises(dfp.DFPError, match="no codec"):
        solution.animate(tmp_path / "other.mp4")
    assert not (tmp_path / "other.mp4").exists()


@pytest.mark.skipif(not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed")
@pytest.mark.parametrize("kind", ["solution", "plane"])
def test_films_play(kind, results, tmp_path):
    """As many frames as saved steps, at the rate that was asked for."""
    results[kind].animate(tmp_path / "film.mp4", frames_per_second=5)
    asked = ["-count_frames", "-show_entries", "stream=r_frame_rate,nb_read_frames", "-of", "csv=p=0"]
    told = subprocess.run(["ffprobe", "-v", "error", *asked, tmp_path / "film.mp4"], capture_output=True, text=True)
    assert (told.stdout.strip(), told.stderr) == (f"5/1,{len(results[kind].steps)}", "")


def test_the_command_draws_results_of_every_kind(results, tmp_path):
    from dfp.cli.commands import app

    for name in ("modes", "comparison", "sweep", "exit steps"):
        results[name].save(tmp_path / "found.h5")
        app(["plot", str(tmp_path / "found.h5"), "--force"], standalone_mode=False)
        assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG"), name
    assert pyplot.get_fignums() == []
