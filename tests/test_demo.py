"""The demo on fewer trajectories: what it prints and writes."""

import numpy as np
import pytest
from test_labels import check_labels

import dfp
from dfp import demo


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        demo.run(folder / "demo.h5", trajectories=20_000)
    return folder, printed.getvalue()


def test_data_are_the_published_ones():
    x, y = demo.diabetes(("bmi", "bp", "s5"))
    assert x.shape == (442, 3)
    # rounding
    assert np.abs(x.mean(axis=0)).max() < 1e-12
    assert y.std() == pytest.approx(1.0)
    # Correlations with progression after Efron et al. (2004), to the digits usually printed.
    assert x.T @ y / 442 == pytest.approx([0.586, 0.441, 0.566], abs=5e-4)


def test_it_prints_covariances_distances_and_times(ran):
    _, printed = ran
    for expected in ("Var bmi", "95 % interval", "kurtosis", "wall time", "total variation", "certificate", "W1"):
        assert expected in printed


def test_it_writes_every_route_and_a_figure(ran):
    folder, _ = ran
    assert sorted(path.name for path in folder.iterdir()) == ["demo.h5", "demo.png"]
    solved = dfp.load_many(folder / "demo.h5")
    assert list(solved) == ["exact moments", "sampled SGD", *demo.EQUATIONS]
    assert all(solution.steps.tolist() == list(demo.SAVED) for solution in solved.values())
    sgd, _ = demo.problem()
    check_labels(demo.figure({name: found for name, found in solved.items() if name != demo.EXACT}, sgd), demo.FEATURES)


def test_the_order_eta_squared_difference_shows(ran):
    """The discrete equation has the exact covariance; Langevin misses more than 1 % of it."""
    solved = dfp.load_many(ran[0] / "demo.h5")
    exact = solved["exact moments"].covariance[-1]
    size = np.linalg.norm(exact)
    assert np.linalg.norm(solved["discrete Fokker-Planck"].covariance[-1] - exact) < 1e-10 * size
    assert np.linalg.norm(solved["Langevin"].covariance[-1] - exact) > 0.01 * size
    assert np.linalg.norm(solved["modified Langevin"].covariance[-1] - exact) < 0.002 * size
