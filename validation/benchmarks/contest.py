"""The contest: run every contender on a workload, each in its own process, and tabulate time to an L1 error."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from validation.benchmarks.verdict import Verdict
from validation.benchmarks.workloads import TOLERANCES, WORKLOADS

_ROOT = Path(__file__).parents[2]

OURS = {"auto": "dfp, auto", "general": "dfp, FiniteVolume"}
PEERS = {
    "scikit_fem": "scikit-fem",
    "dedalus": "Dedalus",
    "fplanck": "fplanck",
    "py_pde": "py-pde",
    "pychangcooper": "pychangcooper",
    "fipy": "FiPy",
}
BY_HAND = {"by_hand": "written by hand"}
"""A careful script for this one problem: shown, but nothing that one installs, so not counted among the peers."""

# Our least ratios, (peer's time) / (ours): closed forms at 1e-3, by dimension; the general solver at 1e-3 and 1e-4.
_CLOSED = {"W1": 10.0, "W2": 100.0, "W3": 1000.0, "W5": 100.0}
_GENERAL = 3.0


@dataclass(frozen=True)
class Contender:
    """What one contender did on one workload."""

    label: str
    version: str
    rows: list[dict[str, float]]
    trouble: str = ""

    def seconds(self, tolerance: float) -> float:
        """Return the least warm time of a run that is within ``tolerance``; infinite if there was none."""
        return min((row["seconds"] for row in self.rows if row["error"] <= tolerance), default=float("inf"))


def run(module: str, label: str, workload: str, python: str, budget: float, *arguments: str) -> Contender:
    """Return what ``python -m module`` measures; what it lacks or how it failed is said, never skipped."""
    command = [python, "-m", module, *arguments, workload, "--budget", str(budget)]
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if module.endswith("dedalus") else {})
    limit, trouble = 4 * budget + 60, ""
    try:
        done = subprocess.run(
            command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
        output, code, error = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        code, error, trouble = 0, "", f"stopped after {limit:.0f} s"
    records = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if code:
        last = error.strip().splitlines()[-1] if error.strip() else f"exit status {code}"
        trouble = "not installed" if "No module named" in last else last[:80]
    version = records[0]["version"] if records else ""
    return Contender(label, version, records[1:], trouble)


def contest(workload: str, pythons: dict[str, str], budget: float) -> list[Verdict]:
    """Print the table of one workload and return the verdicts on it."""
    print(
        f"\n{workload}: {WORKLOADS[workload].title}; seconds to an L1 error (best warm run; budget {budget:g} s each)"
    )
    ours = {
        method: run("validation.benchmarks.ours", label, workload, sys.executable, budget, method)
        for method, label in OURS.items()
    }
    others = {
        name: run(f"validation.benchmarks.peers.{name}", label, workload, pythons.get(name, sys.executable), budget)
        for name, label in (PEERS | BY_HAND).items()
    }
    packages, by_hand = ([others[name] for name in names] for names in (PEERS, BY_HAND))
    _table(list(ours.values()), packages, by_hand)
    return _verdicts(workload, ours, packages)


def _table(ours: list[Contender], packages: list[Contender], by_hand: list[Contender]) -> None:
    print(f"  {'':<32}" + "".join(f"{tolerance:>10.0e}" for tolerance in TOLERANCES) + "   first run   remarks")
    for contender in (*ours, *packages, *by_hand):
        cells = "".join(f"{_shown(contender.seconds(tolerance)):>10}" for tolerance in TOLERANCES)
        first = f"{contender.rows[0]['first']:>12.3g}" if contender.rows else f"{'–':>12}"
        remark = contender.trouble or ("" if contender.rows else "cannot solve this")
        print(f"  {contender.label + ' ' + contender.version:<32.32}{cells}{first}   {remark}")
    for own in ours:
        ratios = [_ratio(_fastest(packages, tolerance), own.seconds(tolerance)) for tolerance in TOLERANCES]
        print(f"  {'fastest package / ' + own.label:<36.36}" + "".join(f"{ratio:>10}" for ratio in ratios)[4:])


def _fastest(contenders: list[Contender], tolerance: float) -> float:
    return min((contender.seconds(tolerance) for contender in contenders), default=float("inf"))


def _shown(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < float("inf") else "–"


def _ratio(other: float, own: float) -> str:
    return f"{other / own:.3g}" if other < float("inf") and own < float("inf") else "–"


def _verdicts(workload: str, ours: dict[str, Contender], peers: list[Contender]) -> list[Verdict]:
    closed, general = ours["auto"], ours["general"]
    reference = _fastest(peers, 1e-3)

    def against(own: Contender, tolerance: float, least: float) -> Verdict:
        goal = f"{workload} at {tolerance:.0e}, {own.label}: {least:g}× the fastest peer"
        return Verdict.at_least(goal, _fastest(peers, tolerance), own.seconds(tolerance), least)

    tight = Verdict.at_least(
        f"{workload}: 1e-10 by {closed.label} for less than a peer's 1e-3", reference, closed.seconds(1e-10), 1
    )
    looser = [against(general, tolerance, _GENERAL) for tolerance in ((1e-3,) if workload == "W5" else (1e-3, 1e-4))]
    return [against(closed, 1e-3, _CLOSED[workload]), tight, *looser]
