"""The validation suite: its verdicts, its negative controls, its files and its exit code."""

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from validation import __main__ as command
from validation import convergence, records, report
from validation.case import Case, Picture, Result, Table, Verdict, at_least, at_most, cases, close, sampled
from validation.cases import weak_order

LADDER = weak_order.LADDER[-3:]
TEXT = "A claim.\n\nSource: a book.\n\nTolerance: none.\n\nControl: a wrong one.\n"


@pytest.fixture(scope="module")
def result():
    """The weak-order case on its three smallest learning rates."""
    return weak_order.run(True, LADDER)


def test_every_equation_keeps_its_weak_order(result):
    assert result.ok
    assert len(result.verdicts) == 3 * (6 * 4 + 7)
    assert all(verdict.passed for verdict in result.verdicts if not verdict.control)
    # Sharp, not only sufficient: a promise that undersells by half an order would show.
    assert all(abs(v.deviation) < 0.2 for v in result.verdicts if v.deviation is not None and not v.control)


def test_every_control_fails(result):
    controls = [verdict for verdict in result.verdicts if verdict.control]
    assert {verdict.subject for verdict in controls} == {model.name for model in weak_order.MODELS if model.control}
    assert not any(verdict.passed for verdict in controls)
    # Each lacks exactly the term it was robbed of: it converges one order slower.
    assert all(abs(v.deviation + 1) < 0.25 for v in controls if v.deviation is not None)


def test_verdicts_can_fail():
    what = ("p", "s", "q")
    assert close(what, 1.0, 1.1, 0.2).passed and not close(what, 1.0, 1.3, 0.2).passed
    assert at_most(what, 1.0, 1.0).passed and not at_most(what, math.nan, 1.0).passed
    assert at_least(what, 1.0, 1.0).passed and not at_least(what, math.nan, 1.0).passed
    assert sampled(what, 1.0, 0.1, 1.3).passed and not sampled(what, 1.0, 0.1, 1.5).passed
    assert not sampled(what, 1.0, 0.0, 1.0).passed  # a sample without an error proves nothing
    sleeping = close(what, 1.0, 1.0, 0.1, control=True)
    assert not sleeping.as_expected and "the control passes" in report.text_table([sleeping])
    assert "FAILED" in report.text_table([close(what, 1.0, 2.0, 0.1)])
    assert not Result([]).ok and Result([], skipped="a package is missing").ok


def test_files_hold_everything(result, tmp_path):
    kept = records.store(weak_order.CASE, result, tmp_path, mark="m", quick=True, seconds=1.0)
    stored = json.loads((tmp_path / "weak_order.json").read_text(encoding="utf-8"))
    assert stored["passed"] and kept.verdicts == result.verdicts
    for errors in stored["numbers"]["errors"].values():
        found = errors["Langevin (T6)"]["mean"]
        assert len(found["absolute_error"]) == len(LADDER)
        # a fit weighs pairs by their distance
        assert found["slope"] == pytest.approx(np.mean(found["pairwise_order"]), abs=0.05)
    records.write_numbers([kept], tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5") as file:
        group = file["weak-order"]
        np.testing.assert_array_equal(group["learning_rate"], LADDER)
        assert group.attrs["claim"].startswith("Weak order") and group["verdicts"].shape == (93, 6)
    report.write_html([kept], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1 and "src='weak" not in page and "http" not in page


def test_finished_cases_are_kept_until_something_changes(tmp_path):
    ran = []

    def run(quick):
        ran.append(quick)
        return Result([close(("p", "s", "q"), 1.0, 1.0, 0.1)], {"a": [1.0, math.nan], "b": {"c": 2}})

    case = Case("a-case", TEXT, run)
    first = command._finish(case, True, tmp_path, False)
    again = command._finish(case, True, tmp_path, False)
    assert ran == [True] and again.verdicts == first.verdicts
    command._finish(case, False, tmp_path, False)  # another mode
    command._finish(case, False, tmp_path, True)  # afresh
    assert ran == [True, False, False]
    (tmp_path / "a_case.json").write_text("{", encoding="utf-8")  # interrupted while writing by other means
    assert command._finish(case, True, tmp_path, False).ok and len(ran) == 4
    records.write_numbers([again], tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5") as file:
        np.testing.assert_array_equal(file["a-case/a"], [1.0, np.nan])


def test_exit_code_and_names(monkeypatch, tmp_path):
    def crash(quick):
        raise ZeroDivisionError("nobody expects it")

    good = Result([close(("p", "s", "q"), 1.0, 1.0, 0.1)], tables=[Table("A table.", ("x",), [(1.0,)])])
    known = {
        "good": Case("good", TEXT, lambda quick: good),
        "bad": Case("bad", TEXT, lambda quick: Result([close(("p", "s", "q"), 2.0, 1.0, 0.1)])),
        "ugly": Case("ugly", TEXT, crash),
        "moving": Case(
            "moving", TEXT, lambda quick: Result([], pictures=[Picture("", "It moves.", b"GIF")], skipped="no")
        ),
    }
    monkeypatch.setattr(command, "cases", lambda: known)
    run = CliRunner().invoke
    assert run(command.app, ["--out", str(tmp_path), "--only", "good"]).exit_code == 0
    failed = run(command.app, ["--out", str(tmp_path)])
    assert failed.exit_code == 1 and "FAILED: bad, ugly" in failed.output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nobody expects it" in page and "Skipped: no" in page and "data:image/gif" in page
    unknown = run(command.app, ["--only", "lost"])
    assert unknown.exit_code == 2 and "good, bad" in unknown.output


def test_a_case_says_what_it_claims():
    with pytest.raises(ValueError, match="Control"):
        Case("mute", TEXT.replace("Control", "Check"), lambda quick: Result([]))
    readme = (Path(command.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert report.with_claims(readme, cases().values()) == readme, "python -m validation --evidence renews it"


def test_slope_leaves_out_rounding():
    sizes = 0.2 / 2.0 ** np.arange(6)
    errors = 3 * sizes**2
    errors[-2:] = 1e-16
    # rounding
    assert convergence.slope(sizes, errors, errors > 1e-11, 4) == pytest.approx(2, abs=1e-12)
    assert convergence.pairwise(sizes, errors)[:3] == pytest.approx(2, abs=1e-12)
    with pytest.raises(ValueError, match="needs 3"):
        convergence.slope(sizes, errors, errors > 0.02, 4)


def test_verdict_keys_are_unique(result):
    keys = [verdict.key for verdict in result.verdicts]
    assert len(keys) == len(set(keys)) and isinstance(result.verdicts[0], Verdict)


# Cases that take a second or two in the quick mode; the others are as long as a test run may take in all.
FAST = ("exp-16-18-20-23", "exp-29", "exp-37-38-39", "ladder", "reviewers", "sampling-scheme")


@pytest.mark.parametrize("name", FAST)
def test_evidence_holds(name):
    """The numbers committed with the code are those a fresh, quick run finds, within both errors."""
    case = cases()[name]
    stored = json.loads((records.EVIDENCE / f"{case.stem}.json").read_text(encoding="utf-8"))
    old = {(v["problem"], v["subject"], v["quantity"]): v for v in stored["verdicts"]}
    result = case.run(True)
    assert result.ok and stored["passed"]
    for verdict in result.verdicts:
        kept = old.pop(verdict.key)
        assert kept["passed"] == verdict.passed, verdict.key
        if verdict.value is not None and not verdict.control:
            # Five standard errors of the difference, or the nine digits that are stored; rounding errors may differ.
            error = 5 * math.hypot(verdict.error, kept["error"]) + 1e-6 * abs(kept["value"]) + 1e-9
            assert abs(verdict.value - kept["value"]) <= error, verdict.key
    # A full run may ask more of a case than a quick one, never less.
    assert stored["mode"] == "full" or not old


def test_every_case_has_evidence():
    assert {path.stem for path in records.EVIDENCE.glob("*.json")} == {case.stem for case in cases().values()}
