"""Results of networks from their files, and what these hold; ``dfp.load`` and ``save`` call it."""

from collections.abc import Callable
from typing import Any

from dfp.errors import FileFormatError
from dfp.networks import stored
from dfp.networks.closure import Closure
from dfp.networks.diagnostics import Diagnostics, PowerLaw
from dfp.networks.measured_variables import MEASURED
from dfp.networks.measurement import Measurement
from dfp.networks.prediction import Predictions
from dfp.networks.predictors import LABELS, Predicted, Rule
from dfp.networks.rates import DIFFUSION, Diffusion
from dfp.networks.report_variables import PREDICTIONS, REPORT
from dfp.networks.reporting import Report
from dfp.networks.runs import Runs
from dfp.results import hdf5
from dfp.results.files import load as load
from dfp.results.schema import Column

_FLAGS = ("flat", "helpers")
_LAW_INTERVALS = ("gamma_interval", "epsilon_interval", "exponent_interval")
_OPTIONAL = ("third", "fourth", "held_out")


def columns(result: stored.Labelled) -> dict[str, Column]:
    """Return the variables of a result, coordinates first."""
    return dict(stored.packed(result, *result.kept())[0])


def attributes(result: stored.Labelled) -> dict[str, Any]:
    """Return the record of what is no array."""
    return dict(stored.packed(result, *result.kept())[1])


def read(root: hdf5.Stored) -> stored.Labelled:
    """Return the result in the root of a file.

    Raises
    ------
    FileFormatError
        If its record lacks something.
    """
    record = root.json("record_json", dict)
    try:
        return _READ[root.attribute("kind", "str")](root, record)
    except (KeyError, TypeError) as error:
        raise FileFormatError(f"lacks {error}; make it again.") from error


def _read_runs(root: hdf5.Stored, record: dict[str, Any]) -> Runs:
    table = stored.RUNS if "directions" in root else stored.ALL
    found = stored.read(root, table, table)
    return Runs(**({"directions": None} | found), **_numbers(record))


def _read_report(root: hdf5.Stored, record: dict[str, Any]) -> Report:
    found = stored.read(root, REPORT, set(REPORT) - _not_needed(record))
    measured, numbers = _measurement(_below(found, "measured."), record), _numbers(record)
    runs = Runs(directions=measured.directions, **_below(found, "runs."), **numbers)
    predicted = _predictions(_below(found, "predictions.") | {"steps": runs.steps}, record)
    return Report(measured, predicted, runs)


def _read_measurement(root: hdf5.Stored, record: dict[str, Any]) -> Measurement:
    return _measurement(stored.read(root, MEASURED, set(MEASURED) - set(_OPTIONAL)), record)


def _read_predictions(root: hdf5.Stored, record: dict[str, Any]) -> Predictions:
    return _predictions(stored.read(root, PREDICTIONS, set(PREDICTIONS) - _not_needed(record)), record)


def _read_diffusion(root: hdf5.Stored, record: dict[str, Any]) -> Diffusion:
    low, high = record["interval"]
    found = stored.read(root, DIFFUSION, DIFFUSION)
    return Diffusion(**found, exponent=record["exponent"], interval=(low, high), directions=record["directions"])


_READ: dict[str, Callable[[hdf5.Stored, dict[str, Any]], stored.Labelled]] = {
    "network runs": _read_runs, "network report": _read_report, "network measurement": _read_measurement,
    "network predictions": _read_predictions, "network diffusion": _read_diffusion,
}  # fmt: skip


def _not_needed(record: dict[str, Any]) -> set[str]:
    """Return the variables that not every report or prediction has."""
    moments = {f"{name}_{kind}" for name in LABELS for kind in ("mean", "variance")}
    closure = {"closure_covariance", "closure_error", "noise_growth", "curvature_change"}
    return moments | set(_OPTIONAL) | (closure if record["closure"] is None else set())


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in stored.RUN_NUMBERS}


def _below(found: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {path.removeprefix(prefix): values for path, values in found.items() if path.startswith(prefix)}


def _own(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is of no part."""
    return {path: values for path, values in found.items() if "." not in path}


def _measurement(found: dict[str, Any], record: dict[str, Any]) -> Measurement:
    law: dict[str, Any] = {name: tuple(v) if name in _LAW_INTERVALS else v for name, v in record["law"].items()}
    judged = _below(found, "diagnostics.")
    judged |= {name: judged[name].astype(bool) for name in ("sharp", "flat", "silent")}
    nothing = judged["off_diagonal"][:0]
    diagnostics = Diagnostics(
        law=PowerLaw(**law), effective_rank=record["effective_rank"], commutator=record["commutator"],
        **(dict.fromkeys(_OPTIONAL, nothing) | judged),
    )  # fmt: skip
    own = _own(found)
    own |= {name: own[name].astype(bool) for name in _FLAGS}
    return Measurement(
        source=None, errors=_below(found, "errors."), diagnostics=diagnostics,
        batch_size=record["measured_batch_size"], samples=record["samples"], method=record["method"], **own,
    )  # fmt: skip


def _predictions(found: dict[str, Any], record: dict[str, Any]) -> Predictions:
    moments = {
        name: Predicted(**_below(found, f"moments.{name}."), note=note) for name, note in record["notes"].items()
    }
    closure = None
    if record["closure"] is not None:
        carried = moments["closure"]
        closure = Closure(carried.mean, carried.variance, **_below(found, "closure."), **record["closure"])
    rule = Rule(**{name: record[name] for name in Rule._fields})
    return Predictions(rule, found["steps"], moments, closure)
