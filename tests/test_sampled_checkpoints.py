"""Sampled exits, losses and phase diagrams that are interrupted go on to the bits of uninterrupted ones."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from problems import one_mode, table

import dfp
from dfp.cli import commands
from dfp.config import rerun
from dfp.errors import FileFormatError
from dfp.methods.draws import Walk
from dfp.results import hdf5, keeper
from dfp.results.keeper import Keeper
from dfp.solving.checkpoints import Checkpoint

START, HEAVY = dfp.Gaussian([0.1], [[0.04]]), dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2, momentum=0.5))
RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(6, 2)), RNG.normal(size=6)
SUMS = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape.from_regression(X, Y, batch_size=2), 0.1))


def well(power=3, late=0.1):
    """A problem of functions: landscape and schedule."""
    landscape = dfp.Landscape(lambda t: t**power - t, 0.4, hessian=lambda t: power * t[:, 0] ** (power - 1) - 1)
    return dfp.MasterEquation(dfp.SGD(landscape, lambda n: 0.1 if n < 7 else late))


def exits(equation=HEAVY, domain=(-1.0, 1.0), steps=12, trajectories=2500, seed=3, start=START, **named):
    return dfp.exit_steps(equation, domain, start, steps, trajectories=trajectories, seed=seed, **named)


def losses(equation=SUMS, start=None, step=9, samples=2500, seed=1, **named):
    return dfp.loss_law(equation, start or dfp.Point([1.0, 0.5]), step, samples=samples, seed=seed, **named)


def diagram(noise=0.3, **named):
    axes = {"learning_rate": [0.1, 1.0, 3.0]}, {"curvature_noise": [0.1, 2.0]}
    return dfp.phase_diagram(*axes, curvature=1.0, gradient_noise=noise, momentum=0.5, **named)


CALLS = {
    "exits": (exits, 30),
    "exits, open end": (lambda **named: exits(domain=(-0.3, 0.3), steps=None, **named), 9),
    "exits of functions": (lambda **named: exits(well(), (-0.5, np.inf), **named), 30),
    "exits in the plane": (
        lambda **named: exits(dfp.MasterEquation(dfp.SGD(table(2), 0.3)), ([-1, -1], [1, 1]),
                              start=dfp.Point([0.0, 0.1]), **named), 12),
    "losses": (losses, 20),
    "a diagram": (diagram, 3),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """There are three portions of trajectories, or two."""
    monkeypatch.setattr("dfp.long_time.first_passage_sampled._TOGETHER", 1000)
    monkeypatch.setattr("dfp.long_time.losses._TOGETHER", 2000)


class Stop(BaseException):
    """As Ctrl-C."""


def eager(monkeypatch):
    """Write every step at once."""
    monkeypatch.setattr(keeper, "_EVERY", 0.0)
    monkeypatch.setattr(keeper, "_SHARE", 0.0)


def stopping(monkeypatch, after):
    """Stop at a writing."""
    eager(monkeypatch)
    write, written = Keeper._write, []

    def stop(one):
        write(one)
        written.append(one)
        if len(written) == after:
            raise Stop

    monkeypatch.setattr(Keeper, "_write", stop)


def same(a, b):
    """Whether all fields have the same bits."""
    return all(told(a, field.name) == told(b, field.name) for field in fields(a))


def told(result, name):
    value = getattr(result, name)
    if isinstance(value, dict):
        return {key: np.asarray(one).tobytes() for key, one in value.items()}
    return value if isinstance(value, tuple) else np.asarray(value, float).tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_goes_on_from_any_place_to_the_same_bits(name, tmp_path, monkeypatch):
    call, places = CALLS[name]
    path, whole = tmp_path / "law.h5", call()
    for after in (1, places // 2, places):
        with monkeypatch.context() as inner, pytest.raises(Stop):
            stopping(inner, after)
            call(checkpoint=Keeper(path, resume=False))
        if name.startswith("exits"):  # readable from the first step on
            assert dfp.load(path).trajectories <= 2000 and "on its way" in dfp.load(path).warnings[0]
        on = Keeper(path)
        found = call(checkpoint=on)
        assert on.place and same(found, whole)
        loaded = dfp.load(path)
        assert same(loaded, whole) and rerun.same_bits(loaded, whole)
        with monkeypatch.context() as inner:
            inner.setattr(Keeper, "resume", None)  # nothing runs: the finished result is read
            assert same(call(checkpoint=path), whole)
        assert [file.name for file in tmp_path.iterdir()] == ["law.h5"]


def test_changed_bits_are_seen():
    """Negative control: another seed, and one number by its last bit."""
    law = exits()
    assert same(law, exits()) and not same(law, exits(seed=4))
    near = dfp.ExitSteps(law.steps, np.nextafter(law.survival, 2), *(getattr(law, f.name) for f in fields(law)[2:]))
    assert not same(law, near)


@pytest.mark.parametrize("grid", [None, 60], ids=["own grid", "cells"])
def test_directions_go_on(grid, tmp_path, monkeypatch):
    """Between saved steps and after them; with a number of cells the way is walked for the box as well."""
    path, few = tmp_path / "run.h5", dfp.MonteCarlo(1024)
    asked = SUMS, dfp.Point([1.0, 0.5]), 9, [2, 5, 9], few, grid
    whole = dfp.solve(*asked, directions=[1.0, 1.0])
    for after in (1, 4, 8) if grid is None else (14,):
        with monkeypatch.context() as inner, pytest.raises(Stop):
            stopping(inner, after)
            dfp.solve(*asked, directions=[1.0, 1.0], checkpoint=Checkpoint(path, resume=False))
        found = dfp.solve(*asked, directions=[1.0, 1.0], checkpoint=path)
        assert found.provenance["resumed"] >= 0 and rerun.same_bits(found, whole)
        assert rerun.same_bits(dfp.load(path), whole) and rerun.same_bits(dfp.rerun(path), whole)
    with monkeypatch.context() as inner, pytest.raises(Stop):
        stopping(inner, 11 if grid is None else 22)
        dfp.solve(*asked, directions=[1.0, 1.0], checkpoint=Checkpoint(path, resume=False))
    assert rerun.same_bits(dfp.load(path), whole) and dfp.load(path).steps[-1] == 9
    assert rerun.same_bits(dfp.rerun(path), whole)


@pytest.mark.parametrize("call", [exits, losses], ids=["exits", "losses"])
def test_an_interrupt_within_a_step_is_none(call, tmp_path, monkeypatch):
    """Random numbers are drawn already, and places moved, when Ctrl-C comes."""
    path, whole, advance, taken = tmp_path / "law.h5", call(), Walk.advance, []

    def interrupted(walk):
        taken.append(walk)
        if len(taken) == 17:
            walk.theta, walk.speed = walk._move(walk.theta, walk.speed, walk.step, walk._rng)
            raise KeyboardInterrupt
        advance(walk)

    with monkeypatch.context() as inner:
        inner.setattr(Walk, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call(checkpoint=path)
    assert dfp.load(path)  # what the interrupt has left, for nothing else was due
    on = Keeper(path)
    assert same(call(checkpoint=on), whole) and "step" in on.place


def test_a_state_of_another_place_gives_other_bits(tmp_path, monkeypatch):
    """Negative control: the generator a step behind."""
    path, whole, state = tmp_path / "law.h5", exits(), Walk.state
    before = []

    def behind(walk):
        found = state(walk)
        before.append(found["rng"])
        return found | {"rng": before[max(len(before) - 2, 0)]}

    with monkeypatch.context() as inner, pytest.raises(Stop):
        inner.setattr(Walk, "state", behind)
        stopping(inner, 5)
        exits(checkpoint=path)
    assert not same(exits(checkpoint=path), whole)


def test_checkpoints_of_others_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "law.h5"

    def left(call, after=1):
        with monkeypatch.context() as inner, pytest.raises(Stop):
            stopping(inner, after)
            call(checkpoint=Keeper(path, resume=False))

    left(exits)
    kept = path.read_bytes()
    tilted = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2, momentum=0.6))
    for said, other in (
        ("seed is 3 there and 4 here", lambda: exits(seed=4, checkpoint=path)),
        ("trajectories is 2500 there and 2600 here", lambda: exits(trajectories=2600, checkpoint=path)),
        ("steps is 12 there and None here", lambda: exits(steps=None, checkpoint=path)),
        ("domain.1.0 is 1.0 there and 1.1 here", lambda: exits(domain=(-1.0, 1.1), checkpoint=path)),
        ("equation.sgd.momentum is 0.5 there and 0.6 here", lambda: exits(tilted, checkpoint=path)),
        ("function is 'exit_steps' there and 'loss_law' here", lambda: losses(checkpoint=path)),
        ("function is 'exit_steps' there and 'phase_diagram' here", lambda: diagram(checkpoint=path)),
        ("steps is 12 there and 3 here", lambda: dfp.solve(HEAVY, START, 3, checkpoint=path)),
    ):
        with pytest.raises(dfp.DFPError, match=f"another problem: {said}.*name another checkpoint") as raised:
            other()
        assert not isinstance(raised.value, FileFormatError) and path.read_bytes() == kept
    left(diagram)
    with pytest.raises(dfp.DFPError, match=r"gradient_noise is 0\.3 there and 0\.4 here"):
        diagram(0.4, checkpoint=path)
    left(lambda **named: exits(well(), **named))
    for other in (well(5), well(late=0.11)):
        with pytest.raises(dfp.DFPError, match="another problem: what functions do"):
            exits(other, checkpoint=path)
    dfp.solve(dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), START, 3, checkpoint=tmp_path / "solution.h5")
    with pytest.raises(dfp.DFPError, match="another problem"):
        exits(checkpoint=tmp_path / "solution.h5")
    losses().save(path)
    with pytest.raises(dfp.DFPError, match="call without checkpoint"):
        losses(checkpoint=path)


def test_damage_and_forgery_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "law.h5"
    for forged in ({}, {"walk": 3}, {"done": 10**9}, {"here": np.zeros(3)}):
        with monkeypatch.context() as inner, pytest.raises(Stop):
            stopping(inner, 3)
            inner.setattr(Keeper, "keep", _forging(forged))
            exits(checkpoint=Keeper(path, resume=False))
        with pytest.raises(FileFormatError, match="what cannot be") if forged else pytest.raises(FileFormatError):
            exits(checkpoint=path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(FileFormatError):
        exits(checkpoint=path)


def _forging(forged):
    def keep(one, state, so_far):
        one._pending = (state | forged if forged else {}), lambda _: None
        one._write()

    return keep


def test_bad_input_and_failures_leave_nothing(tmp_path):
    path = tmp_path / "law.h5"
    for bad in (
        lambda: exits(trajectories=10, checkpoint=path),
        lambda: exits(seed=-1, checkpoint=path),
        lambda: exits(domain=(1.0, -1.0), checkpoint=path),
        lambda: exits(domain=(50.0, 51.0), checkpoint=path),
        lambda: exits(dfp.MasterEquation(dfp.SGD(SUMS.sgd.landscape, 0.1, replace=False)), ([-1, -1], [1, 1]),
                      start=dfp.Point([0.0, 0.0]), checkpoint=path),
        lambda: exits(dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(), 0.1)), checkpoint=path),
        lambda: losses(samples=10, checkpoint=path),
        lambda: losses(dfp.DiscreteFokkerPlanck(SUMS.sgd), checkpoint=path),
        lambda: losses(dfp.MasterEquation(dfp.SGD(SUMS.sgd.landscape, 1e3)), step=200, checkpoint=path),
        lambda: diagram(-1.0, checkpoint=path),
        lambda: exits(checkpoint=tmp_path / "nowhere" / "law.h5"),
        lambda: exits(checkpoint=3),
    ):  # fmt: skip
        with pytest.raises(dfp.DFPError):
            bad()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["exits", "solve"])
def test_a_full_disk_leaves_what_was_there(kind, tmp_path, monkeypatch):
    path, save, saved = tmp_path / "law.h5", hdf5.save, []

    def full(*given):
        saved.append(given)
        if len(saved) > 2:
            raise dfp.DFPError("cannot be written (No space left on device)")
        save(*given)

    def call(**named):
        if kind == "exits":
            return exits(**named)
        return dfp.solve(dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), START, 5, range(6), dfp.Hermite(), **named)

    with monkeypatch.context() as inner, pytest.raises(dfp.DFPError, match="No space left"):
        eager(inner)
        inner.setattr(hdf5, "save", full)
        call(checkpoint=path)
    assert dfp.load(path).steps[-1] == (2 if kind == "exits" else 1)
    again, whole = call(checkpoint=path), call()
    assert same(again, whole) if kind == "exits" else np.array_equal(again.density, whole.density)


def test_lists_and_arrays_are_one_domain(tmp_path):
    path = tmp_path / "law.h5"
    law = exits(domain=(-1.0, 1.0), checkpoint=path)
    for domain in ([-1, 1], ([-1.0], [1.0]), (np.array([-1.0]), np.array(1.0))):
        assert same(exits(domain=domain, checkpoint=path), law)
    with pytest.raises(dfp.DFPError, match="another problem: domain"):  # the control
        exits(domain=(-1.0, None), checkpoint=path)


def test_one_process_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "law.h5"
    sums = dfp.MonteCarlo(2048, checkpoint=tmp_path / "sums.npz")
    with keeper.locked(tmp_path / "sums.npz"), pytest.raises(dfp.DFPError, match="in use by process"):
        dfp.solve(HEAVY, START, 3, solver=sums)
    assert dfp.solve(HEAVY, START, 3, solver=sums).trajectories == 2048 and not list(tmp_path.glob(".*lock"))
    with keeper.locked(path), pytest.raises(dfp.DFPError, match="in use by process"):
        exits(checkpoint=path)


def test_computed_laws_are_kept_once_they_are_known(tmp_path, monkeypatch):
    plain = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2))
    closed = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise(0.3)), 0.2))
    for call in (lambda **named: dfp.exit_steps(plain, (-0.6, 0.6), START, 20, **named),
                 lambda **named: losses(closed, **named)):  # fmt: skip
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
        first = call(checkpoint=path)
        assert same(first, call()) and same(call(checkpoint=path), first)


def test_files_are_made_again_and_name_no_checkpoint(tmp_path, monkeypatch):
    """Those of interrupted calls too; a forged file that names one is refused, and none is written."""
    path, forged = tmp_path / "law.h5", tmp_path / "forged.h5"
    whole = exits()
    with monkeypatch.context() as inner, pytest.raises(Stop):
        stopping(inner, 4)
        exits(checkpoint=path)
    assert same(dfp.rerun(path), whole)
    assert same(dfp.rerun(path, checkpoint=tmp_path / "again.h5"), whole) and same(
        dfp.load(tmp_path / "again.h5"), whole
    )
    found = exits(checkpoint=path)
    assert b"law.h5" not in path.read_bytes() and same(dfp.rerun(path), whole)
    call = found._call()
    call["arguments"]["checkpoint"] = str(forged)
    found.save(path)
    with pytest.raises(FileFormatError, match="names a checkpoint"):
        dfp.rerun(path)
    assert not forged.exists()


def test_the_command_line_goes_on(tmp_path, monkeypatch, capsys):
    toml, out = tmp_path / "problem.toml", tmp_path / "out.h5"
    toml.write_text(
        '[landscape]\nkind = "quadratic"\nhessian = [1.0]\nnoise = { gradient = [0.3], hessian = [0.1] }\n'
        "[sgd]\nlearning_rate = 0.1\nmomentum = 0.5\n"
        '[initial]\nkind = "gaussian"\nmean = [0.1]\ncovariance = [[0.1]]\n[[equation]]\nkind = "master"\n'
    )

    def dfp_command(*words):
        commands.app([*map(str, words)], standalone_mode=False)
        told = capsys.readouterr()
        assert not told.err, told.err
        return told.out

    box = ("--lower", "-1", "--upper", "1", "--steps", 9, "--trajectories", 1500, "--seed", 4)
    axes = ("--x", "learning_rate:0.1:3:3", "--y", "curvature_noise:0.1:2:2")
    for words, place in ((("exit", toml, *box), "trajectory 0, step 3"), (("phase", toml, *axes), "row 3 of 3")):
        whole = dfp_command(*words)
        with monkeypatch.context() as inner, pytest.raises(Stop):
            stopping(inner, 3)
            dfp_command(*words, "-o", out, "--force")
        resumed = dfp_command(*words, "-o", out, "--resume")
        assert f"resumed from {place}" in resumed and f"written to {out}" in resumed
        assert set(whole.splitlines()) <= set(resumed.splitlines())
        kept = dfp.load(out)
        assert "same bits    yes" in dfp_command("rerun", out, "-o", tmp_path / "again.h5", "--force", "--quiet")
        assert same(dfp.load(tmp_path / "again.h5"), kept)
        with pytest.raises(dfp.DFPError, match="--resume: goes on from what is at --output"):
            commands.long_time_commands._keeper(None, True, False)
    assert not [file for file in tmp_path.iterdir() if file.suffix not in (".h5", ".toml")]
    other = subprocess.run(
        [sys.executable, "-m", "dfp", *map(str, ("exit", toml, *box[:-1], 5)), "-o", str(out), "--resume"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert other.returncode == 2 and "another problem" in other.stderr
