"""The variables of a report's file: where each is found in the report, with dimensions, unit and meaning."""

from dfp.networks.predictors import LABELS
from dfp.networks.stored import of_runs, variables

_SLOPE, _NOISE = "loss parameter-1", "loss2 parameter-2"
_MEASURED = variables(
    "measured.",
    ("checkpoint", "checkpoint", "parameter", "parameter", "parameters of the checkpoint"),
    ("directions", "directions", "parameter direction", "1", "directions"),
    ("flat", "flat", "direction", "1", "chosen as flat", "<i8"),
    ("helper", "helpers", "direction", "1", "added for flat ones", "<i8"),
    ("hessian", "hessian", "direction direction_2", "loss parameter-2", "mean Hessian"),
    ("residual", "residuals", "direction", "loss parameter-2", "residual of an eigenvector"),
    ("leak", "leak", "direction", "loss parameter-2", "leak from outside"),
    ("gradient", "gradient", "direction", _SLOPE, "mean gradient"),
    ("covariance", "covariance", "direction direction_2", _NOISE, "covariance of a sample's gradient"),
    ("table", "table", "direction direction_2", "loss2 parameter-4", "variance of a sample's Hessian"),
    ("row_noise", "row_noise", "direction", "loss2 parameter-4", "squared deviation of Hu of a sample"),
    ("coupling", "correlation", "direction", "loss2 parameter-3", "covariance of a sample's curvature and gradient"),
    ("sample_gradient", "sample_gradients", "sample direction", _SLOPE, "gradients of samples"),
    ("subspace", "subspace", "inside", "1", "directions of the exact finite sum, from 0", "<i8"),
    ("sample_hessian", "sample_hessians", "sample inside inside_2", "loss parameter-2", "Hessians of samples"),
    ("curvature_error", "errors.curvatures", "direction", "loss parameter-2", "standard error of the curvature"),
    ("gradient_error", "errors.gradient", "direction", _SLOPE, "standard error of the mean gradient"),
    ("gradient_noise_error", "errors.gradient_noise", "direction", _NOISE, "standard error of the gradient noise"),
    ("curvature_noise_error", "errors.curvature_noise", "direction", "loss2 parameter-4",
     "standard error of the curvature noise"),
)  # fmt: skip
_JUDGED = variables(
    "measured.diagnostics.",
    ("judged_sharp", "sharp", "direction", "1", "sharp", "<i8"),
    ("judged_flat", "flat", "direction", "1", "flat", "<i8"),
    ("silent", "silent", "direction", "1", "without noise", "<i8"),
    ("off_diagonal", "off_diagonal", "direction", "1", "off-diagonal over diagonal of the squared Hessian noise"),
    ("correlation", "correlation", "direction", "1", "correlation of curvature and gradient"),
    ("own_share", "own_share", "direction", "1", "own share of curvature noise"),
    ("third", "third", "direction", "loss parameter-3", "third derivative"),
    ("fourth", "fourth", "direction", "loss parameter-4", "fourth derivative"),
    ("held_out", "held_out", "direction", "1", "z-score of held-out minibatches"),
)
_PREDICTED = variables(
    "predictions.",
    *((f"{name}_mean", f"moments.{name}.mean", "step direction", "parameter", f"mean, {label}")
      for name, label in LABELS.items()),
    *((f"{name}_variance", f"moments.{name}.variance", "step direction", "parameter2", f"variance, {label}")
      for name, label in LABELS.items()),
    ("closure_covariance", "closure.covariance", "step direction direction_2", "parameter2", "covariance, closure"),
    ("closure_error", "closure.error", "step direction", "1", "relative standard error of the closure's variance"),
    ("noise_growth", "closure.noise_growth", "step", "1", "gradient noise over that of the checkpoint"),
    ("curvature_change", "closure.curvature_change", "step", "1", "relative change of the mean Hessian"),
)  # fmt: skip
REPORT = of_runs("runs.", "direction") | _MEASURED | _JUDGED | _PREDICTED
