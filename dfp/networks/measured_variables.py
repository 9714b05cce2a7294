"""The variables of measurements: where each is found, with dimensions, unit and meaning."""

from dfp.networks.stored import variables

_SLOPE, _NOISE = "loss parameter-1", "loss2 parameter-2"
MEASURED = variables(
    "",
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
MEASURED |= variables(
    "diagnostics.",
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
