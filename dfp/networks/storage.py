"""Runs and reports from their files; ``dfp.load`` calls it."""

from typing import Any

from dfp.errors import FileFormatError
from dfp.networks import stored
from dfp.networks.closure import Closure
from dfp.networks.diagnostics import Diagnostics, PowerLaw
from dfp.networks.measurement import Measurement
from dfp.networks.prediction import Predictions
from dfp.networks.predictors import LABELS, Predicted, Rule
from dfp.networks.report_variables import REPORT
from dfp.networks.reporting import Report
from dfp.networks.runs import Runs
from dfp.results import hdf5
from dfp.results.files import load as load

_FLAGS = ("flat", "helpers")
_LAW_INTERVALS = ("gamma_interval", "epsilon_interval", "exponent_interval")
_OPTIONAL = ("third", "fourth", "held_out")


def read(root: hdf5.Stored) -> Runs | Report:
    """Return the result in the root of a file: runs or a report."""
    return read_report(root) if root.attribute("kind", "str") == "network report" else read_runs(root)


def read_runs(root: hdf5.Stored) -> Runs:
    """Return the runs in the root of a file."""
    table = stored.RUNS if "directions" in root else stored.ALL
    found = stored.read(root, table, table)
    return Runs(**({"directions": None} | found), **_numbers(root.json("record_json", dict)))


def read_report(root: hdf5.Stored) -> Report:
    """Return the report in the root of a file."""
    moments = {f"{name}_{kind}" for name in LABELS for kind in ("mean", "variance")}
    needed = set(REPORT) - set(_OPTIONAL) - moments
    record = root.json("record_json", dict)
    if record.get("closure") is None:
        needed -= {"closure_covariance", "closure_error", "noise_growth", "curvature_change"}
    found = stored.read(root, REPORT, needed)
    try:
        measured = _measurement(found, record)
        runs = Runs(directions=measured.directions, **_below(found, "runs."), **_numbers(record))
        return Report(measured, _predictions(found, record, runs), runs)
    except (KeyError, TypeError) as error:
        raise FileFormatError(f"lacks {error}; make it again.") from error


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    try:
        return {name: record[name] for name in stored.RUN_NUMBERS}
    except KeyError as error:
        raise FileFormatError(f"lacks {error}; make it again.") from error


def _below(found: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return what is directly below a prefix."""
    inner = {path.removeprefix(prefix): values for path, values in found.items() if path.startswith(prefix)}
    return {path: values for path, values in inner.items() if "." not in path}


def _measurement(found: dict[str, Any], record: dict[str, Any]) -> Measurement:
    law: dict[str, Any] = {name: tuple(v) if name in _LAW_INTERVALS else v for name, v in record["law"].items()}
    judged = _below(found, "measured.diagnostics.")
    judged |= {name: judged[name].astype(bool) for name in ("sharp", "flat", "silent")}
    nothing = judged["off_diagonal"][:0]
    diagnostics = Diagnostics(
        law=PowerLaw(**law), effective_rank=record["effective_rank"], commutator=record["commutator"],
        **(dict.fromkeys(_OPTIONAL, nothing) | judged),
    )  # fmt: skip
    own = _below(found, "measured.")
    own |= {name: own[name].astype(bool) for name in _FLAGS}
    return Measurement(
        source=None, errors=_below(found, "measured.errors."), diagnostics=diagnostics,
        batch_size=record["measured_batch_size"], samples=record["samples"], method=record["method"], **own,
    )  # fmt: skip


def _predictions(found: dict[str, Any], record: dict[str, Any], runs: Runs) -> Predictions:
    moments = {
        name: Predicted(**_below(found, f"predictions.moments.{name}."), note=note)
        for name, note in record["notes"].items()
    }
    closure = None
    if record["closure"] is not None:
        carried = moments["closure"]
        closure = Closure(carried.mean, carried.variance, **_below(found, "predictions.closure."), **record["closure"])
    rule = Rule(runs.learning_rate, runs.batch_size, runs.momentum, runs.nesterov, runs.replace)
    return Predictions(rule, runs.steps, moments, closure)
