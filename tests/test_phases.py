"""Phase diagrams: exact boundaries, agreement with single modes, files and their damage."""

import h5py
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

import dfp
from dfp.cli.commands import app
from dfp.regimes.mode import REGIMES
from dfp.regimes.phases import CODES, NUMBERS
from dfp.results import checksum as sealed

FIXED = {"curvature": 1.0, "gradient_noise": 0.2}


@pytest.fixture(scope="module")
def diagram():
    rates, noises = np.linspace(0.1, 2.4, 12), np.linspace(0.0, 8.0, 9)
    return dfp.phase_diagram({"learning_rate": rates}, {"curvature_noise": noises}, **FIXED)


def test_cells_are_those_of_single_modes(diagram):
    for i in (0, 4, 11):
        for j in (0, 3, 8):
            noise = dfp.GaussianNoise([0.2], [diagram.y[j]])
            (mode,) = dfp.modes(dfp.SGD(dfp.QuadraticLandscape([1.0], 0, noise), diagram.x[i]))
            assert diagram.regime[i, j] == mode.regime
            assert diagram.langevin_regime[i, j] == mode.langevin_regime
            for name in ("growth", "lyapunov_exponent", "tail_index", "stationary_variance"):
                # rounding
                assert diagram.values[name][i, j] == pytest.approx(getattr(mode, name), rel=1e-12, nan_ok=True)


def test_regimes_follow_the_formulas(diagram):
    eta, gamma = np.meshgrid(diagram.x, diagram.y, indexing="ij")
    confined, believed = eta * (1 + gamma) < 2, eta * gamma < 2
    assert np.array_equal(diagram.regime == "confined", confined)
    assert np.array_equal(diagram.langevin_regime == "confined", believed)
    assert np.array_equal(diagram.gap, believed & ~confined)
    assert diagram.gap.any()
    difference = eta * 0.2 / (2 - eta * (1 + gamma)) - eta * 0.2 / (2 - eta * gamma)
    # rounding
    assert diagram.variance_difference[confined] == pytest.approx(difference[confined], rel=1e-10)
    assert np.isnan(diagram.variance_difference[~confined]).all()


def test_boundaries_are_exact():
    """(λ, D, η) = (1, 0.2, 0.6): SGD at Γ = λ(2−ηλ)/η, Langevin at 2λ/η, and ℓ = 0 beyond Γ = 8."""
    line = dfp.phase_diagram(
        {"learning_rate": [0.6, 1.0]}, {"curvature_noise": np.linspace(0.5, 8, 16)}, **FIXED
    )  # fmt: skip
    assert line.boundary("sgd") == pytest.approx(np.array([[0.6, 1.4 / 0.6], [1.0, 1.0]]), rel=1e-12)
    assert line.boundary("langevin") == pytest.approx(np.array([[0.6, 2 / 0.6], [1.0, 2.0]]), rel=1e-12)
    ((eta, gamma),) = line.boundary("stationary")
    assert eta == 1.0
    # ηλ = 1: ℓ = log(η√Γ) − (γ_E + log 2)/2 = 0.
    assert gamma == pytest.approx(2 * np.exp(np.euler_gamma), rel=1e-12)
    assert np.all(line.regime[0] == np.where(line.y < 1.4 / 0.6, "confined", "heavy-tailed"))
    wider = dfp.phase_diagram({"learning_rate": [0.6]}, {"curvature_noise": [8.0, 20.0]}, **FIXED)
    ((_, gamma),) = wider.boundary("stationary")
    a, s = 0.4, 0.6 * np.sqrt(gamma)
    halves = ((-30, -a / s), (-a / s, 30))
    exponent = sum(quad(lambda z: np.log(abs(a + s * z)) * norm.pdf(z), *ends, limit=400)[0] for ends in halves)
    assert exponent == pytest.approx(0, abs=1e-8)


def test_every_pair_of_axes():
    axes = {
        "learning_rate": [0.1, 0.5], "curvature": [-0.5, 1.0], "curvature_noise": [0.1, 1.0],
        "gradient_noise": [0.0, 0.3], "batch_size": [1, 16], "momentum": [0.0, 0.9],
    }  # fmt: skip
    constants = {"learning_rate": 0.3, "curvature": 1.0, "gradient_noise": 0.2, "curvature_noise": 0.5}
    for x in axes:
        for y in axes:
            if x != y:
                others = {name: value for name, value in constants.items() if name not in (x, y)}
                made = dfp.phase_diagram({x: axes[x]}, {y: axes[y]}, **others)
                assert made.regime.shape == (2, 2)
                assert set(made.names) | set(made.fixed) == set(axes)


def test_batch_size_divides_the_noise():
    by_batch = dfp.phase_diagram({"batch_size": [1, 4]}, {"learning_rate": [0.3]}, curvature_noise=2.0, **FIXED)
    by_hand = dfp.phase_diagram(
        {"curvature_noise": [0.5]}, {"learning_rate": [0.3]}, curvature=1.0, gradient_noise=0.05
    )
    assert by_batch.values["stationary_variance"][1, 0] == by_hand.values["stationary_variance"][0, 0]


def test_momentum_moves_the_boundary():
    """Heavy ball without curvature noise: stable for ηλ < 2(1+β)."""
    made = dfp.phase_diagram({"momentum": [0.5, 0.8]}, {"learning_rate": np.linspace(1.0, 5.0, 9)}, **FIXED)
    # rounding
    assert made.boundary("sgd") == pytest.approx(np.array([[0.5, 3.0], [0.8, 3.6]]), rel=1e-9)
    with pytest.raises(dfp.DFPError, match="sampled"):
        made.boundary("stationary")


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        ({"rate": [1.0]}, {"curvature": [1.0]}, {}, "axis_x='rate'"),
        ({"curvature": [1.0]}, {"curvature": [1.0]}, {}, "on the other axis"),
        ({"curvature": [1.0, 0.5]}, {"learning_rate": [1.0]}, {}, "must increase"),
        ({"curvature": [1.0]}, {"learning_rate": [0.0]}, {}, "must be above 0"),
        ({"curvature": [1.0]}, {"learning_rate": [0.1]}, {}, "gradient_noise: is missing"),
        ({"curvature": [1.0]}, {"learning_rate": [0.1]}, {"curvature": 2.0}, "on an axis already"),
        ({"curvature": [1.0]}, {"batch_size": [1.5]}, {"learning_rate": 0.1}, "must be an integer"),
        ({"curvature": [1.0]}, {"momentum": [1.0]}, {"learning_rate": 0.1}, "below 1"),
        ([1.0], {"curvature": [1.0]}, {}, "must map one name"),
    ],
)  # fmt: skip
def test_wrong_axes_are_refused(x, y, options, message):
    with pytest.raises(dfp.DFPError, match=message):
        dfp.phase_diagram(x, y, **options)


def test_file_round_trip(diagram, tmp_path):
    xarray = pytest.importorskip("xarray")
    path = tmp_path / "phases.h5"
    diagram.save(path)
    loaded = dfp.load_phase_diagram(path)
    assert (loaded.names, loaded.fixed) == (diagram.names, diagram.fixed)
    assert all(np.array_equal(loaded.values[name], diagram.values[name], equal_nan=True) for name in diagram.values)
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(path, engine=engine) as opened:
            assert opened.load().identical(diagram.to_xarray())
    assert opened["regime"].attrs["comment"].startswith("0: confined")
    assert opened["growth"].dims == ("learning_rate", "curvature_noise")
    assert dfp.load(path).names == loaded.names


def test_solutions_are_no_phase_diagrams(tmp_path):
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise(0.1)), 0.1)
    dfp.solve(dfp.Langevin(sgd), dfp.Gaussian(0.0, 1.0), 2).save(tmp_path / "run.h5")
    with pytest.raises(dfp.FileFormatError, match="no phase diagram"):
        dfp.load_phase_diagram(tmp_path / "run.h5")


def damaged(diagram, path, damage):
    """Save, open for writing, damage, and seal again: the checks behind the checksum must find it."""
    diagram.save(path)
    inner = path.with_suffix(".inner")
    inner.write_bytes(sealed.read(path))
    with h5py.File(inner, "r+") as file:
        damage(file)
    sealed.write(path, inner.read_bytes())


def out_of_range(file):
    file["regime"][0, 0] = len(REGIMES)


def missing(file):
    del file["growth"]


def renamed(file):
    file.attrs["axes"] = '["learning_rate", "colour"]'


@pytest.mark.parametrize("damage", [out_of_range, missing, renamed])
def test_forged_files_are_refused(diagram, tmp_path, damage):
    path = tmp_path / "phases.h5"
    damaged(diagram, path, lambda file: None)
    dfp.load_phase_diagram(path)  # control: the procedure itself does no harm
    damaged(diagram, path, damage)
    with pytest.raises(dfp.FileFormatError):
        dfp.load_phase_diagram(path)


def test_figure_shows_boundaries_and_gap(diagram):
    figure = diagram.plot()
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert {"SGD: ρ₂ = 1", "Langevin: ηΓ = 2λ", "SGD: ℓ = 0", "finite for Langevin only"} <= labels
    assert "learning rate η" in figure.axes[0].get_xlabel()
    logarithmic = dfp.phase_diagram(
        {"learning_rate": np.geomspace(0.01, 1, 5)}, {"curvature_noise": np.linspace(0, 1, 5)}, **FIXED
    ).plot()
    assert (logarithmic.axes[0].get_xscale(), logarithmic.axes[0].get_yscale()) == ("log", "linear")


def test_every_number_is_drawn_by_name(diagram, tmp_path):
    """What is drawn are the values, without those that are not finite; also from the command line."""
    for name in (*NUMBERS, "variance_difference"):
        wanted = diagram.variance_difference if name == "variance_difference" else diagram.values[name]
        drawn = diagram.plot(name).axes[0].collections[0].get_array().reshape(wanted.T.shape)
        assert np.array_equal(drawn.filled(np.nan), np.where(np.isfinite(wanted), wanted, np.nan).T, equal_nan=True)
    for name in CODES:
        drawn = diagram.plot(name).axes[0].collections[0].get_array().reshape(diagram.values[name].T.shape)
        assert np.array_equal(drawn, diagram.values[name].T)
    assert dfp.plot(diagram, name="growth", title="ρ₂").get_suptitle() == "ρ₂"
    with pytest.raises(dfp.DFPError, match="name='color'"):
        diagram.plot("color")
    with pytest.raises(dfp.DFPError, match="no saved steps"):
        diagram.plot(steps=[1])
    diagram.save(tmp_path / "phases.h5")
    app(["plot", str(tmp_path / "phases.h5"), "--name", "tail_index"], standalone_mode=False)
    assert (tmp_path / "phases.png").stat().st_size > 0


def test_a_diagram_over_one_parameter_is_drawn():
    line = dfp.phase_diagram({"learning_rate": [0.6]}, {"curvature_noise": [0.5, 5.0, 20.0]}, **FIXED)
    assert len(line.plot().axes) == 3
    (curve,) = line.plot("growth").axes[0].lines
    assert curve.get_ydata().tolist() == line.values["growth"][0].tolist()
    assert "at learning rate η = 0.6" in line.plot("growth").get_suptitle().replace("\n", " ")
