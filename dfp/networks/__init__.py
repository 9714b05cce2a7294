"""From a PyTorch model at a checkpoint to a held-out prediction of how SGD moves it (extra ``dfp[networks]``).

Names are imported when first used, so that PyTorch loads only for what needs it.

Examples
--------
>>> import dfp
>>> import torch
>>> _ = torch.manual_seed(0)
>>> x = torch.randn(32, 2, dtype=torch.float64)
>>> data = x, x.sum(1, keepdim=True)
>>> problem = dfp.networks.Problem(torch.nn.Linear(2, 1), lambda out, y: ((out - y) ** 2).mean(1), data)
>>> measured = dfp.networks.measure(problem, batch_size=8)
>>> print(measured.curvatures.shape)
(3,)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfp.networks.measurement import Measurement as Measurement
    from dfp.networks.measurement import measure as measure
    from dfp.networks.prediction import Predictions as Predictions
    from dfp.networks.prediction import predict as predict
    from dfp.networks.predictors import LABELS as LABELS
    from dfp.networks.problem import Problem as Problem
    from dfp.networks.rates import Diffusion as Diffusion
    from dfp.networks.rates import diffusion as diffusion
    from dfp.networks.reporting import Report as Report
    from dfp.networks.reporting import report as report
    from dfp.networks.running import trajectories as trajectories
    from dfp.networks.runs import Runs as Runs
    from dfp.networks.storage import load as load

_HOMES = {
    "LABELS": "predictors",
    "Diffusion": "rates",
    "Measurement": "measurement",
    "Predictions": "prediction",
    "Problem": "problem",
    "Report": "reporting",
    "Runs": "runs",
    "diffusion": "rates",
    "load": "storage",
    "measure": "measurement",
    "predict": "prediction",
    "report": "reporting",
    "trajectories": "running",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dfp.networks' has no attribute {name!r}")
    value = getattr(import_module(f"dfp.networks.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
