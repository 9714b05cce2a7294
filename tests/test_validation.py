"""The validation suite: its verdicts, its negative controls, its files and its exit code."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from validation import __main__ as command
from validation import convergence, weak_order
from validation.case import Case, Result, Verdict, cases, table, write

LADDER = weak_order.LADDER[-3:]


@pytest.fixture(scope="module")
def result():
    """The weak-order case on its three smallest learning rates."""
    return weak_order.run(LADDER)


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


def test_table_marks_what_fails(result):
    text = table(result)
    assert text.count("fails as it must") == 9
    assert "FAILED" not in text
    wrong = Verdict("p", "s", "q", "2", "1.00", passed=False)
    assert "1.00 (2) !" in table(Result([wrong], {})) and "FAILED" in table(Result([wrong], {}))
    sleeping = Verdict("p", "s", "q", "2", "2.00", passed=True, control=True)
    assert "the control passes" in table(Result([sleeping], {}))


def test_evidence_is_readable(result, tmp_path):
    evidence, picture = write(weak_order.CASE, result, tmp_path / "new")
    record = json.loads(evidence.read_text(encoding="utf-8"))
    assert record["passed"] and len(record["verdicts"]) == len(result.verdicts)
    assert record["evidence"]["learning_rate"] == list(LADDER)
    for errors in record["evidence"]["errors"].values():
        found = errors["Langevin (T6)"]["mean"]
        assert len(found["absolute_error"]) == len(LADDER)
        assert found["slope"] == pytest.approx(np.mean(found["pairwise_order"]), abs=0.05)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_exit_code_and_names(monkeypatch, tmp_path):
    assert set(cases()) == {"weak-order"}
    good, bad = (Result([Verdict("p", "s", "q", "2", "2", passed=passed)], {}) for passed in (True, False))
    known = {"good": Case("good", "?", lambda: good), "bad": Case("bad", "?", lambda: bad)}
    monkeypatch.setattr(command, "cases", lambda: known)
    run = CliRunner().invoke
    assert run(command.app, ["--out", str(tmp_path), "--only", "good"]).exit_code == 0
    assert run(command.app, ["--out", str(tmp_path)]).exit_code == 1
    assert {path.name for path in tmp_path.iterdir()} == {"good.json", "bad.json"}
    unknown = run(command.app, ["--only", "ugly"])
    assert unknown.exit_code == 2 and "good, bad" in unknown.output


def test_slope_leaves_out_rounding():
    sizes = 0.2 / 2.0 ** np.arange(6)
    errors = 3 * sizes**2
    errors[-2:] = 1e-16
    assert convergence.slope(sizes, errors, errors > 1e-11, 4) == pytest.approx(2, abs=1e-12)
    assert convergence.pairwise(sizes, errors)[:3] == pytest.approx(2, abs=1e-12)
    with pytest.raises(ValueError, match="needs 3"):
        convergence.slope(sizes, errors, errors > 0.02, 4)
