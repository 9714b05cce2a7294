"""The variables of predictions and reports: where each is found, with dimensions, unit and meaning."""

from dfp.networks.measured_variables import MEASURED
from dfp.networks.predictors import LABELS
from dfp.networks.stored import Entry, of_runs, variables

PREDICTED = variables(
    "",
    *((f"{name}_mean", f"moments.{name}.mean", "step direction", "parameter", f"mean, {label}")
      for name, label in LABELS.items()),
    *((f"{name}_variance", f"moments.{name}.variance", "step direction", "parameter2", f"variance, {label}")
      for name, label in LABELS.items()),
    ("closure_covariance", "closure.covariance", "step direction direction_2", "parameter2", "covariance, closure"),
    ("closure_error", "closure.error", "step direction", "1", "relative standard error of the closure's variance"),
    ("noise_growth", "closure.noise_growth", "step", "1", "gradient noise over that of the checkpoint"),
    ("curvature_change", "closure.curvature_change", "step", "1", "relative change of the mean Hessian"),
)  # fmt: skip


def _below(part: str, table: dict[str, Entry]) -> dict[str, Entry]:
    return {name: entry._replace(path=f"{part}.{entry.path}") for name, entry in table.items()}


REPORT = of_runs("runs.", "direction") | _below("measured", MEASURED) | _below("predictions", PREDICTED)
PREDICTIONS = variables("", ("step", "steps", "step", "1", "step n", "<i8")) | PREDICTED
