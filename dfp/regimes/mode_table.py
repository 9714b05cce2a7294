"""The printed table of modes."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from dfp.regimes.epoch_map import EpochMultiplier
from dfp.results.tables import aligned

if TYPE_CHECKING:
    from dfp.regimes.mode_report import Modes


def _shown(value: float, error: float = 0.0) -> str:
    if np.isnan(value):
        return "none"
    if error == np.inf:
        return f"> {value:.3g}"
    text = "∞" if value == np.inf else "−∞" if value == -np.inf else f"{value:.4g}"
    return f"{text} ± {error:.0e}" if error > 0 else text


def _below(limit: float) -> str:
    if np.isnan(limit):
        return "at learning rates not known"
    return "at none" if limit == 0 else "at any" if limit == np.inf else f"below {limit:.4g}"


def text(report: "Modes", columns: tuple[tuple[str, str], ...], limit: int) -> str:
    """Return one line per mode, at most ``limit``, and a summary of the system."""
    errors = {"lyapunov_exponent": "lyapunov_error", "tail_index": "tail_index_error"}
    rows = [[head for _, head in columns] + ["regime", ""]]
    for mode in report[:limit]:
        cells = [_shown(getattr(mode, name), getattr(mode, errors[name]) if name in errors else 0.0)
                 for name, _ in columns]  # fmt: skip
        notes = [note for note, true in (("overshoots", mode.overshoots), ("oscillates", mode.oscillates)) if true]
        rows.append([*cells, mode.regime, ", ".join(notes)])
    lines = aligned(rows, right=range(len(columns)))
    if len(report) > limit:
        counts = Counter(mode.regime for mode in report)
        lines.append(f"… {len(report) - limit} more; of all: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    return "\n".join(lines + _summary(report))


def _summary(report: "Modes") -> list[str]:
    coupling = "coupled by curvature noise" if report.coupled else "uncoupled"
    lines = [
        f"modes              {len(report)}, {coupling}: the whole is {report.regime}",
        f"second moments     ρ = {report.spectral_radius:.6g} per step",
        f"Lyapunov exponent  {_shown(report.lyapunov_exponent, report.lyapunov_error)} per step",
        f"learning rate      {report.learning_rate:.4g}; variances are finite "
        f"{_below(report.largest_stable_learning_rate)}, in Langevin (T6) "
        f"{_below(report.langevin_largest_stable_learning_rate)}",
        f"continuous time    {report.embedding}",
    ]
    if report.at_step is not None:
        size = report.system.sgd.batch_size
        kept = f"learning rate {report.learning_rate:.4g}" + ("" if size is None else f" and batch size {size}")
        lines.insert(0, f"schedule           the {kept} of step {report.at_step}, kept at every step")
    lines += _epochs(report)
    if report.coupled and report.spectral_radius < 1:
        worst = float(np.nanmax(np.abs(report.diagonal_error)))
        lines.append(f"diagonal formula   off by up to {100 * worst:.2g} % in the stationary variances")
    return lines


def _epochs(report: "Modes") -> list[str]:
    steps = report.system.sgd.epoch
    if not steps:
        return []
    count = f"{steps} step{'s' * (steps > 1)}"
    lines = [f"epochs             of {count}, without replacement: ρ₂ and ℓ are per step, V_∞ at an epoch's end"]
    reasons = {mode.multiplier.obstacle for mode in report if isinstance(mode.multiplier, EpochMultiplier)}
    return lines + [f"tail index         not known: {reason}" for reason in reasons if reason]
