"""Names of parameters reach every result that has parameters on an axis, its text, figure and file."""

from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import dfp

NAMES = ("zqage", "zqdose")
NOISE = dfp.GaussianNoise([0.5, 0.3], [0.1, 0.05])
BOWL = dfp.QuadraticLandscape([1.0, 0.6], noise=NOISE, parameters=NAMES)
LAW = dfp.MasterEquation(dfp.SGD(BOWL, 0.2))
WALLS = ([-1.0, None], [1.0, 0.8])


def valley() -> dfp.Landscape:
    def gradient(theta):
        return np.stack([theta[..., 0] ** 3 - theta[..., 0], theta[..., 1]], axis=-1)

    return dfp.Landscape(gradient, 0.1, 2, parameters=NAMES)


@cache
def escaped() -> dfp.Escape:
    return dfp.escape(dfp.SGD(valley(), 0.2), [-1.0, 0.0], ([-np.inf, -np.inf], [0.0, np.inf]))


MADE = {
    "solution": lambda: dfp.solve(LAW, dfp.Gaussian([0.5, 0.0], 0.05), 10),
    "moments": lambda: dfp.moments(LAW, dfp.Point([0.5, 0.0]), 10),
    "density": lambda: dfp.stationary(LAW),
    "stationary moments": lambda: dfp.stationary_moments(LAW),
    "exits": lambda: dfp.exit_steps(LAW, WALLS, dfp.Point([0.0, 0.0])),
    "drawn exits": lambda: dfp.exit_steps(LAW, WALLS, dfp.Point([0.0, 0.0]), 50, trajectories=200),
    "exits of a Langevin path": lambda: dfp.exit_steps(dfp.Langevin(LAW.sgd), ([-1, -1], [1, 1]), dfp.Point([0, 0])),
    "escape": escaped,
    "committor": lambda: escaped().committor,
    "modes": lambda: dfp.modes(LAW.sgd),
    "spectrum": lambda: dfp.spectrum(LAW, 3, dfp.Grid([-2, -2], [2, 2], 24)),
    "current": lambda: dfp.probability_current(dfp.Langevin(LAW.sgd), dfp.Grid([-2, -2], [2, 2], 32)),
}
# Text that is one line of figures alone, and figures whose axes are not parameters.
WITHOUT_TEXT, WITHOUT_FIGURE = ("committor", "spectrum", "current"), ("spectrum",)


def written(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("kind", MADE)
def test_names_are_in_text_figure_dataset_and_file(kind, tmp_path):
    result = MADE[kind]()
    assert result.parameters == NAMES
    if kind not in WITHOUT_TEXT:
        assert NAMES[0] in repr(result)
    if kind not in WITHOUT_FIGURE:
        assert NAMES[0] in written(result.plot())
    result.save(tmp_path / "kept.h5")
    again = dfp.load(tmp_path / "kept.h5")
    assert again.parameters == NAMES
    assert repr(again) == repr(result) and str(again) == str(result)
    pytest.importorskip("xarray")
    dataset = result.to_xarray()
    told = [*dataset.dims, *(dataset[dim].attrs.get("comment", "") for dim in ("parameter",) if dim in dataset)]
    assert any(NAMES[1] in text for text in told)


def test_a_box_is_told_side_by_side_and_where_there_is_no_wall_not_at_all(tmp_path):
    law = dfp.exit_steps(LAW, WALLS, dfp.Point([0.0, 0.0]))
    assert str(law).startswith("exit from −1 < zqage < 1, zqdose < 0.8 after ")
    law.save(tmp_path / "law.h5")
    again = dfp.load(tmp_path / "law.h5")
    assert np.array_equal(again.lower, [-1, -np.inf]) and np.array_equal(again.upper, [1, 0.8])
    many = dfp.QuadraticLandscape(np.ones(5), noise=dfp.GaussianNoise(np.ones(5)))
    far = dfp.exit_steps(
        dfp.MasterEquation(dfp.SGD(many, 0.1)), (-np.ones(5), np.ones(5)), dfp.Point(np.zeros(5)), 5, trajectories=100
    )
    assert "from −1 < θ₁ < 1, −1 < θ₂ < 1, −1 < θ₃ < 1, … after" in str(far)
    # a law that was made otherwise, as files of dfp 0.1 hold it, knows no box
    bare = dfp.ExitSteps(law.steps, law.survival, law.mean, law.decay, law.error, law.mean_error)
    assert "from" not in repr(bare) and bare.parameters == ()
    bare.save(tmp_path / "bare.h5")
    assert dfp.load(tmp_path / "bare.h5").lower is None


def test_stationary_moments_print_a_table():
    settled = dfp.stationary_moments(LAW)
    lines = str(settled).splitlines()
    assert lines[0].split() == ["parameter", "mean", "standard", "deviation"] and lines[1].split()[0] == "zqage"
    # as printed
    assert float(lines[2].split()[2]) == pytest.approx(settled.covariance[1, 1] ** 0.5, rel=1e-5)
    many = dfp.QuadraticLandscape(np.linspace(0.5, 1, 40), noise=dfp.GaussianNoise(np.ones(40)))
    assert str(dfp.stationary_moments(dfp.MasterEquation(dfp.SGD(many, 0.1)))).splitlines()[-1] == "… 10 more"
