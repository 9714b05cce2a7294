"""Ensembles: the same steps as PyTorch's optimiser, and the same bits however they are made."""

import numpy as np
import pytest

import dfp
from dfp.networks import ensemble, running, stored
from dfp.results import hdf5

torch = pytest.importorskip("torch")

from networks_models import classifier, cross_entropy, problem  # noqa: E402


@pytest.mark.parametrize("options", [{}, {"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}, {"replace": False}])
def test_steps_are_those_of_the_optimiser(options):
    """The same minibatches through torch.optim.SGD, sample by sample in another order of operations."""
    model, x, y = classifier(samples=20)
    made = dfp.networks.Problem(model, cross_entropy, (x, y), weight_decay=0.05)
    runs = dfp.networks.trajectories(made, 0.1, 6, 3, 7, save=range(8), seed=5, **options)
    replace = options.get("replace", True)
    plan = running._plan(
        made, 0.1, 6, 7, range(8), replace, 5, options.get("momentum", 0.0), options.get("nesterov", False), None
    )
    minibatches = running._minibatches(plan, 0, 0)
    chosen = np.array([next(minibatches)[:3] for _ in range(7)])
    if not replace:  # an epoch of three steps uses no sample twice
        assert len(set(chosen[:3, 0].ravel())) == 18
    start = torch.cat([p.detach().flatten() for p in model.parameters()]).clone()
    for run in range(3):
        torch.nn.utils.vector_to_parameters(start.clone(), model.parameters())
        sgd = torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=options.get("momentum", 0.0), nesterov=options.get("nesterov", False),
            weight_decay=0.05,
        )  # fmt: skip
        for n in range(7):
            sgd.zero_grad()
            cross_entropy(model(x[chosen[n, run]]), y[chosen[n, run]]).mean().backward()
            sgd.step()
            moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - start
            np.testing.assert_allclose(runs.positions[n + 1, run], moved.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("replace", [True, False])
def test_a_run_is_the_same_whatever_the_number_of_runs(replace):
    made = problem()
    few = dfp.networks.trajectories(made, 0.1, 8, 3, 40, replace=replace, seed=2)
    many = dfp.networks.trajectories(made, 0.1, 8, 70, 40, replace=replace, seed=2)
    assert np.array_equal(few.positions, many.positions[:, :3])
    assert not np.array_equal(many.positions[-1, 0], many.positions[-1, 1])
    other = dfp.networks.trajectories(made, 0.1, 8, 3, 40, replace=replace, seed=3)
    assert not np.array_equal(few.positions[-1], other.positions[-1])


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("patience", [0.0, 1e9])
def test_an_interrupted_ensemble_goes_on_with_the_same_bits(tmp_path, monkeypatch, patience):
    """Within a block, with checkpoints at every saved step, and between blocks."""
    monkeypatch.setattr(ensemble, "_PATIENCE", patience)
    made = problem()
    wanted = dfp.networks.trajectories(made, 0.1, 8, 100, 30, momentum=0.5, seed=4)
    path = tmp_path / "runs.h5"
    interruptions = 0

    def stop(done, total):
        if done > stop.at:
            raise Interrupted

    for at in (200, 1500, 2100, 2900):
        stop.at = at
        with pytest.raises(Interrupted):
            dfp.networks.trajectories(made, 0.1, 8, 100, 30, momentum=0.5, seed=4, path=path, progress=stop)
        interruptions += 1
    with pytest.raises(dfp.DFPError, match="parts of other runs"):
        dfp.networks.trajectories(made, 0.2, 8, 100, 30, momentum=0.5, seed=4, path=path)
    found = dfp.networks.trajectories(made, 0.1, 8, 100, 30, momentum=0.5, seed=4, path=path)
    assert np.array_equal(found.positions, wanted.positions) and np.array_equal(found.final, wanted.final)
    assert not path.with_name("runs.h5.part").exists() and interruptions == 4
    again = dfp.networks.trajectories(made, 0.1, 8, 100, 30, momentum=0.5, seed=4, path=path)
    assert np.array_equal(again.positions, wanted.positions)
    with pytest.raises(dfp.DFPError, match="holds other runs"):
        dfp.networks.trajectories(made, 0.1, 8, 99, 30, momentum=0.5, seed=4, path=path)


def test_projected_runs_are_the_projections_of_all_parameters():
    made = problem()
    measured = dfp.networks.measure(made, 4, modes=2, flat=2)
    whole = dfp.networks.trajectories(made, 0.1, 4, 8, 10, seed=1)
    seen = dfp.networks.trajectories(made, 0.1, 4, 8, 10, seed=1, directions=measured.directions)
    np.testing.assert_allclose(seen.positions, whole.along(measured.directions).positions, rtol=1e-12, atol=1e-15)
    with pytest.raises(dfp.DFPError, match="other directions"):
        seen.along(np.eye(made.dimension))


@pytest.mark.parametrize("directions", [None, 3])
def test_files_return_the_runs_and_notice_damage(tmp_path, directions):
    made = problem()
    axes = None if directions is None else np.eye(made.dimension, directions)
    runs = dfp.networks.trajectories(made, 0.1, 4, 8, 10, seed=1, directions=axes)
    path = tmp_path / "runs.h5"
    runs.save(path)
    found = dfp.load(path)
    assert repr(found) == repr(runs) and found.__dict__.keys() == runs.__dict__.keys()
    for name in ("steps", "positions", "final", "directions"):
        assert np.array_equal(getattr(found, name), getattr(runs, name))
    dataset = runs.to_xarray()
    assert dataset.position.dims == ("step", "run", "parameter" if axes is None else "direction")
    with pytest.importorskip("xarray").open_dataset(path) as opened:
        assert opened.load().identical(dataset)
    good = bytearray(path.read_bytes())
    good[len(good) // 2] ^= 0x10
    path.write_bytes(good)
    with pytest.raises(dfp.FileFormatError, match="damaged"):
        dfp.load(path)


def test_parts_of_files_that_lack_something_are_refused(tmp_path):
    """A sealed file of the right kind whose variables or record are not those of runs."""
    runs = dfp.networks.trajectories(problem(), 0.1, 4, 8, 10, seed=1)
    columns, attributes = stored.packed(runs, *runs.kept())
    fewer = {name: column for name, column in columns.items() if name != "final"}
    hdf5.save(tmp_path / "fewer.h5", fewer, attributes)
    with pytest.raises(dfp.FileFormatError, match="no variable 'final'"):
        dfp.load(tmp_path / "fewer.h5")
    hdf5.save(tmp_path / "record.h5", columns, attributes | {"record_json": "{}"})
    with pytest.raises(dfp.FileFormatError, match="lacks 'learning_rate'"):
        dfp.load(tmp_path / "record.h5")
    with pytest.raises(dfp.DFPError, match="holds other runs"):  # nor is any other result taken for runs
        dfp.moments(dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0]), 0.1)), dfp.Point([0.0]), 1).save(
            tmp_path / "moments.h5"
        )
        dfp.networks.trajectories(problem(), 0.1, 4, 8, 10, seed=1, path=tmp_path / "moments.h5")
