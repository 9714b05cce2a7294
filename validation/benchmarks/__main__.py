"""All speed comparisons in one run, with verdicts: ``python -m validation.benchmarks [--quick] [--only PART]``.

Every alternative is a script run by the interpreter that has it, this one unless told otherwise:
``--python fplanck=/some/venv/bin/python``. Only ratios within one run count; run it on an idle machine.
"""

import argparse
import sys
import time
from functools import partial

from validation.benchmarks import throughput
from validation.benchmarks.contest import BY_HAND, PEERS, contest
from validation.benchmarks.explore import explore
from validation.benchmarks.growth import growth
from validation.benchmarks.machine import machine
from validation.benchmarks.plain import plain
from validation.benchmarks.startup import startup
from validation.benchmarks.steps import costs
from validation.benchmarks.verdict import Verdict, report
from validation.benchmarks.wells import wells

PARTS = ("W1", "W2", "W3", "W5", "W4", "W6", "costs", "growth", "plain", "wells", "startup", "explore")
_QUICK = ("W1", "W6", "costs")


def main(arguments: list[str] | None = None) -> None:
    """Run the parts asked for and print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m validation.benchmarks", description="Speed, with verdicts.")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke test of some parts: no verdict counts")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds per contender and workload")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH", help="interpreter of a peer")
    options = parser.parse_args(arguments)
    pythons = {name: path for name, _, path in (given.partition("=") for given in options.python)}
    unknown = set(pythons) - {*PEERS, *BY_HAND}
    if unknown:
        parser.error(f"--python {', '.join(sorted(unknown))}: peers are {', '.join((*PEERS, *BY_HAND))}")
    began, verdicts = time.perf_counter(), list[Verdict]()
    budget = 0.2 if options.quick else options.budget
    parts = {name: partial(contest, name, pythons, budget) for name in ("W1", "W2", "W3", "W5")} | {
        "W4": partial(throughput.contest, quick=options.quick),
        "W6": partial(machine, quick=options.quick),
        "costs": partial(costs, quick=options.quick),
        "growth": partial(growth, quick=options.quick),
        "plain": partial(plain, quick=options.quick),
        "wells": partial(wells, quick=options.quick),
        "startup": partial(startup, quick=options.quick),
        "explore": partial(explore, quick=options.quick),
    }
    for name in options.only or (_QUICK if options.quick else PARTS):
        verdicts += parts[name]()
        sys.stdout.flush()
    report(verdicts)
    print(f"\n{time.perf_counter() - began:.0f} s" + ("; quick: no verdict counts" if options.quick else ""))


if __name__ == "__main__":
    main()
